/**
 * The 60-second start of README.md, command by command as it stands there: a real file goes into alice's share and back while bob works on the same
 * controller, 100 MB of it or more, and is still there after the server was started again.
 */
import { createHash } from 'node:crypto';
import { createReadStream, mkdirSync, readFileSync, realpathSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { MAIN, ROOT, type Process, type Result, type SpawnOptions, type Workspace, workspace } from '../support/processes.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { FULL, fullOnly } from '../support/tier.js';
import { MIB, childrenOf, sdk } from '../support/server.js';
import { Workload } from '../support/workload.js';

/** The least that is copied, in one file or two. */
const LEAST_BYTES = 100e6;
/** A few seconds are enough where nothing else is going on. */
const TIMEOUT_MS = 300_000;
const BOB_SEED = 77;
const BOB_WINDOW = 512 * MIB;
const BLOCK = 4096;

const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
const section = /\n## 60 seconds\n([^]*?)\n## /.exec(readme)?.[1] ?? '';

/** Lines of the section's shell blocks, without comments. */
const commands = [...section.matchAll(/```sh\n([^]*?)```/g)]
  .flatMap(([, block]) => block.split('\n'))
  .map((line) => line.replace(/ # .*$/, '').trim())
  .filter(Boolean);
const [install, start] = commands[0].split(' && ');
const others = commands.slice(1);
const startOnQemu = /`(npm start -- --backing qemu)`/.exec(section)?.[1] ?? '';

/** `npm` and `npx` as they are in a clone of the package after `npm ci`, for a folder elsewhere. `run` is what "npm start" runs. */
const npm = (run: string): string => `#!/bin/sh
case "$1" in
  ci) test -f "${MAIN}" ;;
  start) shift; test "$1" != "--" || shift; exec ${run} "$@" ;;
  *) exit 64 ;;
esac
`;
const NPX = `#!/bin/sh
test "$1" = ringwarden || exit 64
shift
exec "${process.execPath}" "${MAIN}" "$@"
`;

/** Options of a shell whose PATH begins with the stand-ins for npm and npx, and with the `node` that runs this test. */
function shell(space: Workspace): SpawnOptions {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: Readonly<Record<string, string>> };
  const [node, file, ...rest] = scripts['start'].split(' ');
  expect(node).toBe('node');
  const folder = space.path('bin');
  mkdirSync(folder);
  const run = [`"${process.execPath}"`, `"${join(ROOT, file)}"`, ...rest].join(' ');
  writeFileSync(join(folder, 'npm'), npm(run), { mode: 0o755 });
  writeFileSync(join(folder, 'npx'), NPX, { mode: 0o755 });
  return { env: { PATH: [folder, dirname(process.execPath), process.env['PATH']].join(delimiter) } };
}

function sha256(path: string, options: { start?: number; end?: number } = {}): Promise<string> {
  const hash = createHash('sha256');
  return new Promise((resolve, reject) => {
    createReadStream(path, options)
      .on('data', (data) => hash.update(data))
      .on('error', reject)
      .on('end', () => resolve(hash.digest('hex')));
  });
}

class Start {
  readonly space = workspace();
  readonly #shell = shell(this.space);

  async run(command: string): Promise<Result> {
    const result = await this.space.run('sh', ['-c', command], this.#shell);
    expect(result, command).toMatchObject({ status: 0 });
    return result;
  }

  /** Starts the server and waits until it says that it is ready. */
  async serve(command: string): Promise<Process> {
    const server = this.space.spawn('sh', ['-c', `exec ${command}`], this.#shell);
    await server.says(/^Ringwarden .* is ready\.$/m);
    return server;
  }

  async stop(server: Process): Promise<void> {
    server.kill('SIGTERM');
    expect(await server.ended, server.words).toEqual({ status: 0, signal: null });
    expect(server.stderr).not.toMatch(/ (WARN|ERROR) /);
  }
}

const second = { offset: 256 * MIB, file: 'second-copy' };

async function startAndCopy(serve: string): Promise<void> {
  const here = new Start();
  const { space } = here;
  const node = realpathSync(process.execPath);
  const { size } = statSync(node);
  const sum = await sha256(node);
  await here.run(install);
  let server = await here.serve(serve);
  const engines = childrenOf(server.pid);

  const socket = space.path('ringwarden-data/ringwarden.sock');
  const bob = await sdk.connect({ tenant: 'bob', socket });
  const device = await bob.openDevice('nvme0');
  const workload = new Workload(device.share('data'), { seed: BOB_SEED, lanes: 2 });
  let before = 0;
  // The demonstration brings its own server, and has tests of its own.
  for (const command of others.filter((each) => !each.includes(' demo'))) {
    const { stdout } = await here.run(command);
    if (command.includes(' copy ')) {
      expect(stdout).toContain(sum);
      expect(workload.requests, 'bob works meanwhile').toBeGreaterThan(before);
    } else expect(stdout).toMatch(/^nvme0\/data +nvme +512 MiB/m);
    before = workload.requests;
  }
  expect(await sha256(space.path('copy-of-node'))).toBe(sum);
  // Node's program has less than 100 MB, in some of its versions: then once more, to another place and at the same time.
  const copies = Math.ceil(LEAST_BYTES / size);
  expect(copies).toBeLessThanOrEqual(2);
  const there = `nvme0/data@${second.offset}`;
  await here.run(`npx ringwarden copy "$(which node)" ${there} --tenant alice`);
  await here.run(`npx ringwarden copy ${there} ${second.file} --length ${size} --tenant alice`);
  expect(await sha256(space.path(second.file))).toBe(sum);
  await workload.stop();
  expect(workload.mismatches).toEqual([]);
  await bob.close();
  await here.stop(server);
  for (const pid of engines) expect(() => process.kill(pid, 0), 'nothing that the server started is left').toThrow('ESRCH');

  // Other programs find the bytes at the blocks that were granted: alice's window begins at 0, bob's at 512 MiB.
  const image = space.path('ringwarden-data/nvme0.img');
  expect(await sha256(image, { start: 0, end: size - 1 })).toBe(sum);
  expect(await sha256(image, { start: second.offset, end: second.offset + size - 1 })).toBe(sum);
  await readByQemu(space, image, node, size);

  server = await here.serve(serve);
  const again = await here.run(`npx ringwarden copy nvme0/data - --length ${size} --tenant alice | sha256sum`);
  expect(again.stdout).toContain(sum);
  const later = await sdk.connect({ tenant: 'bob', socket });
  await workload.verify((await later.openDevice('nvme0')).share('data'));
  expect(workload.mismatches).toEqual([]);
  await later.close();
  await here.stop(server);
}

const hasTools = ['qemu-img', 'qemu-io'].every((tool) => spawnSync(tool, ['--version']).status === 0);

/** The same with QEMU's own tools, where they are installed. */
async function readByQemu(space: Workspace, image: string, node: string, size: number): Promise<void> {
  if (!hasTools) return;
  const whole = Math.floor(size / BLOCK);
  const dd = await space.run('qemu-img', ['dd', '-f', 'raw', '-O', 'raw', `bs=${BLOCK}`, `count=${whole}`, `if=${image}`, 'of=by-qemu']);
  expect(dd).toMatchObject({ status: 0 });
  expect(await sha256(space.path('by-qemu'))).toBe(await sha256(node, { start: 0, end: whole * BLOCK - 1 }));
  // The last blocks of bob's window were never written.
  const beyond = await space.run('qemu-io', ['-r', '-f', 'raw', '-c', `read -P 0 ${2 * BOB_WINDOW - MIB} ${MIB}`, image]);
  expect(beyond).toMatchObject({ status: 0 });
  expect(beyond.stdout).not.toMatch(/verification failed/i);
}

const byTools = hasTools ? ', and qemu-img reads it from the image' : ' (not read by qemu-img: apt-get install qemu-utils)';

describe('60 seconds', { timeout: TIMEOUT_MS }, () => {
  it('is a section of README.md with the commands that are run here', () => {
    expect(install).toBe('npm ci');
    expect(start).toBe('npm start');
    expect(startOnQemu).not.toBe('');
    expect(others.map((command) => /^npx ringwarden (\w+)/.exec(command)?.[1])).toEqual(['list', 'copy', 'copy', 'demo']);
  });

  it(`copies a real file on the embedded controller${byTools}`, () => startAndCopy(start));

  it.skipIf(!hasQemu || !FULL)(`copies a real file on the controller of ${qemuName}${byTools}${fullOnly}`, () => startAndCopy(startOnQemu));
});
