/** The demonstration as people run it, on every device model that there is; and that it notices when something does get through. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CATALOGUE } from '../../src/cli/demo/catalogue.js';
import type { MediatedWorld } from '../../src/cli/demo/mediated/world.js';
import { fullOnly } from '../support/tier.js';
import { type Attack, harmless, notApplicable, refused } from '../../src/cli/demo/types.js';

const MAIN = fileURLToPath(new URL('../../dist/program/ringwarden.js', import.meta.url));
/** The compiled demonstration: its server is the compiled server beside it. */
const built = async <Module>(path: string): Promise<Module> =>
  (await import(new URL(`../../dist/cli/demo/${path}.js`, import.meta.url).href)) as Module;

const findProgram = (name: string): string | undefined =>
  (process.env['PATH'] ?? '')
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Everything that a run leaves in the folder for temporary files would be seen there. */
let temporary: string;
beforeAll(() => {
  temporary = mkdtempSync(join(tmpdir(), 'demo-test-'));
});
afterAll(() => rmSync(temporary, { recursive: true }));

function demo(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [MAIN, 'demo', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TMPDIR: temporary, ...environment },
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.once('close', (status) => resolve({ status, stdout, stderr }));
  });
}

/** Ids of the processes whose command line names something in `folder`. */
function processesWith(folder: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((id) => {
      try {
        return readFileSync(`/proc/${id}/cmdline`, 'utf8').includes(`${folder}/`);
      } catch {
        return false; // it ended in between
      }
    })
    .map(Number);
}

interface Report {
  backing: string;
  workload: { tenants: number; requests: number; bytes: number; mismatches: number };
  attacks: { id: string; requirement: string; raw: string; mediated: string; code: string }[];
  escapes: number;
}

const DAMAGES = ['corrupted', 'leaked', 'crashed', 'stalled'];

function checkReport(report: Report, backing: string): void {
  expect(Object.keys(report)).toEqual(['backing', 'workload', 'attacks', 'escapes']);
  expect(report.backing).toBe(backing);
  expect(Object.keys(report.workload)).toEqual(['tenants', 'requests', 'bytes', 'mismatches']);
  expect(report.workload).toMatchObject({ tenants: 2, mismatches: 0 });
  expect(report.workload.requests).toBeGreaterThan(100);
  expect(report.workload.bytes).toBeGreaterThan(1_000_000);
  expect(report.escapes).toBe(0);
  expect(report.attacks.map(({ id }) => id)).toEqual(CATALOGUE.map(({ id }) => id));
  for (const attack of report.attacks) {
    expect(Object.keys(attack)).toEqual(['id', 'requirement', 'raw', 'mediated', 'code']);
    expect([...DAMAGES, 'not-applicable']).toContain(attack.raw);
    expect(['refused', 'faulted', 'harmless']).toContain(attack.mediated);
    expect(attack.code === '', attack.id).toBe(attack.mediated === 'harmless');
  }
  for (const damage of DAMAGES) expect(report.attacks.map(({ raw }) => raw)).toContain(damage);
}

describe('ringwarden demo', () => {
  test('shows damage with raw access, and none through the server', async () => {
    const { status, stdout, stderr } = await demo(['--json', '--seconds', '1']);
    expect(stderr).toBe('');
    expect(status).toBe(0);
    checkReport(JSON.parse(stdout) as Report, 'emulated');
    expect(readdirSync(temporary)).toEqual([]);
  });

  const qemu = findProgram('qemu-system-x86_64');
  const title = "shows the same with QEMU's device models";
  const why = qemu === undefined ? ' (needs the package qemu-system-x86)' : fullOnly;
  test.skipIf(why !== '')(`${title}${why}`, async () => {
    const file = join(temporary, 'report.json');
    const { status, stdout } = await demo(['--backing', 'qemu', '--json', file, '--seconds', '1']);
    expect(stdout).toContain('Nothing got through.');
    expect(status).toBe(0);
    checkReport(JSON.parse(readFileSync(file, 'utf8')) as Report, 'qemu');
    rmSync(file);
    expect(readdirSync(temporary)).toEqual([]);
  });

  test('runs one attack, as a table', async () => {
    const { status, stdout } = await demo(['--only', 'dma-write', '--seconds', '0']);
    expect(stdout).toMatch(/^dma-write .* R41 +corrupted +refused +unknownRegion$/m);
    expect(stdout).toContain('isolation: none');
    expect(status).toBe(0);
  });

  test('lists the attacks without running them', async () => {
    const { status, stdout } = await demo(['--list']);
    expect(stdout.trim().split('\n')).toHaveLength(CATALOGUE.length);
    expect(status).toBe(0);
  });

  test('knows which attacks there are', async () => {
    const { status, stderr } = await demo(['--only', 'no-such-attack']);
    expect(stderr).toContain('--list');
    expect(status).toBe(2);
  });

  test('leaves nothing behind when it is interrupted', async () => {
    const child = spawn(process.execPath, [MAIN, 'demo', '--seconds', '60'], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, TMPDIR: temporary },
    });
    // The first row: server, tenants and device are all there.
    await new Promise<void>((resolve) => {
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        if (text.includes('dma-write')) resolve();
      });
    });
    const ended = new Promise((resolve) => child.once('close', (_status, signal) => resolve(signal)));
    const [folder] = readdirSync(temporary);
    const servers = processesWith(join(temporary, folder));
    expect(servers).toHaveLength(1);
    child.kill('SIGINT');
    expect(await ended).toBe('SIGINT');
    expect(readdirSync(temporary)).toEqual([]);
    await expect.poll(() => processesWith(join(temporary, folder)), { timeout: 10_000 }).toEqual([]);
  });

  test('says what to install when QEMU is not there', async () => {
    const programs = join(temporary, 'programs');
    mkdirSync(programs);
    const setpriv = findProgram('setpriv');
    if (setpriv !== undefined) symlinkSync(setpriv, join(programs, 'setpriv'));
    const { status, stdout, stderr } = await demo(['--backing', 'qemu', '--json'], { PATH: programs });
    rmSync(programs, { recursive: true });
    expect(stderr).toMatch(setpriv === undefined ? /util-linux/ : /qemu-system-x86/);
    expect(stdout).toBe('');
    expect(status).toBe(2);
    expect(readdirSync(temporary)).toEqual([]);
  });
});

/** An attack that cheats: it does through the server, with the victim's own token, what no attacker can. */
const cheat = (id: string, mediated: (world: MediatedWorld) => Promise<void>): Attack => ({
  id,
  title: id,
  requirement: 'R41',
  expected: { raw: 'not-applicable', mediated: [harmless] },
  raw: notApplicable('it is no attack'),
  mediated: async (world) => {
    await mediated(world);
    return harmless;
  },
});

describe('the harness', () => {
  const run = async (attacks: readonly Attack[]) => {
    const { runDemo } = await built<typeof import('../../src/cli/demo/run.js')>('run');
    const { escapes, succeeded } = await built<typeof import('../../src/cli/demo/judge.js')>('judge');
    const report = await runDemo({
      backing: 'emulated',
      attacks,
      seconds: 0,
      onStart: () => undefined,
      onResult: () => undefined,
      onWait: () => undefined,
    });
    return { report, escapes: escapes(report), succeeded: succeeded(report) };
  };

  test('notices blocks and memory that changed, and bytes that leaked', async () => {
    const attacks = [
      cheat('one block', async ({ alice }) => alice.share.write(alice.share.size - 512, Buffer.alloc(512))),
      cheat('one byte of memory', async ({ bob }) => bob.regions[1].write(4_095, Buffer.alloc(1))),
      cheat('a leak in a message', async (world) => {
        const attacker = await world.connect();
        await attacker.hello('alice', world.server.tokens.alice);
        await attacker.must('setDomain', { domain: world.alice.domain });
        await attacker.must('readMemory', { region: world.alice.regions[0].region, offset: 100, length: 128 });
      }),
      cheat('a leak to own blocks', async (world) => {
        const foothold = await world.foothold();
        const secret = world.alice.canaries[0].expected.subarray(0, 512);
        await foothold.attacker.must('writeMemory', { region: foothold.region, offset: 0, data: secret });
        await foothold.request({ operation: 2, blocks: 1 });
      }),
    ];
    const { report, ...verdict } = await run(attacks);
    expect(report.results.map(({ mediated }) => mediated)).toEqual(['ESCAPED', 'ESCAPED', 'ESCAPED', 'ESCAPED']);
    const [blocks, memory, message, share] = report.results.map(({ findings }) => findings.join());
    expect(blocks).toContain("alice's blocks below the attacker's changed at byte 65024");
    expect(memory).toContain("bob's memory 2 changed at byte 4095");
    expect(message).toContain('a message to the attacker holds bytes of alice');
    expect(share).toContain('the share to the attacker holds bytes of alice');
    expect(verdict).toEqual({ escapes: 5, succeeded: false });
  });

  test('notices that the others were disturbed', async () => {
    const attacks = [
      cheat('data of the workload', async ({ bob }) => {
        for (let at = 65_536; at < bob.share.size; at += 65_536) await bob.share.writeZeroes(at, 65_536);
      }),
      cheat('a reset', async ({ alice }) => alice.device.reset()),
    ];
    const { report, succeeded } = await run(attacks);
    expect(report.workload.mismatches).toBeGreaterThan(0);
    expect(report.results[1].findings.join()).toContain('alice was told of reset');
    expect(report.results[1].mediated).toBe('ESCAPED');
    expect(succeeded).toBe(false);
  });

  test('notices that the server ended', async () => {
    const attacks = [cheat('the end of the server', async ({ server }) => server.kill()), cheat('no more', async () => undefined)];
    const { report, succeeded } = await run(attacks);
    expect(report.results).toHaveLength(1);
    expect(report.results[0].mediated).toBe('ESCAPED');
    expect(succeeded).toBe(false);
  });

  test('takes an answer that it did not expect for a failure', async () => {
    const refusal: Attack = {
      ...cheat('a refusal', async () => undefined),
      mediated: async (world) => (await world.foothold()).request({ region: 1 }),
    };
    const { report, ...verdict } = await run([refusal]);
    expect(report.results[0]).toMatchObject({
      mediated: 'refused',
      code: 'unknownRegion',
      findings: [expect.stringContaining('accepted was expected')],
    });
    expect(verdict).toEqual({ escapes: 0, succeeded: false });
    expect((await run([{ ...refusal, expected: { raw: 'not-applicable', mediated: [refused('unknownRegion')] } }])).succeeded).toBe(true);
  });
});
