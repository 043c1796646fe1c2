/** The first experience, and what the server's process is like: commands as a user types them, in one folder. */
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { chownSync, cpSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Process, type Workspace, MAIN, ROOT, workspace } from '../support/processes.js';
import { Server, WINDOW_BYTES, configuration, device, serve, tenant } from '../support/server.js';

const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');

/** What a command prints with `-o json`, and nothing else. */
async function json(space: Workspace, ...args: string[]): Promise<unknown> {
  const { status, stdout, stderr } = await space.ringwarden([...args, '-o', 'json']);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(stdout);
}

async function done(space: Workspace, ...args: string[]): Promise<void> {
  const { status, stderr } = await space.ringwarden(args);
  expect({ status, stderr }).toEqual({ status: 0, stderr: expect.any(String) });
}

async function sample(space: Workspace): Promise<Process> {
  const server = space.spawn(process.execPath, [MAIN, 'serve', '--sample']);
  await server.says(/Ctrl-C stops the server/);
  return server;
}

describe('serve --sample', () => {
  it('makes what it needs, says what to try, and keeps what was written over a restart', async () => {
    const space = workspace();
    const server = await sample(space);
    expect(statSync(space.path('ringwarden-data')).mode & 0o777).toBe(0o700);
    const commands = [...server.stdout.matchAll(/^ {2}npx ringwarden (.*)$/gm)].map(([, command]) => command);
    expect(commands).toEqual(['list --tenant alice', 'copy "$(command -v node)" nvme0/data --tenant alice', 'status']);

    // Commands find the sockets by themselves, from the same folder.
    expect(await json(space, 'list', '--tenant', 'alice')).toMatchObject({
      tenant: 'alice',
      isolation: 'none',
      devices: [{ name: 'nvme0', shares: [{ name: 'data', blocks: 131_072 }] }],
    });
    expect(await space.ringwarden(['list'])).toMatchObject({ status: 1, stderr: expect.stringMatching(/do: name the tenant with --tenant/) });
    writeFileSync(space.path('file'), randomBytes(3_000_000));
    writeFileSync(space.path('other'), randomBytes(100_000));
    await done(space, 'copy', 'file', 'nvme0/data', '--tenant', 'alice');
    await done(space, 'copy', 'other', 'nvme0/data', '--tenant', 'bob');

    expect(await json(space, 'status')).toMatchObject({
      devices: [{ name: 'nvme0', backing: 'emulated' }],
      tenants: [{ name: 'alice' }, { name: 'bob' }],
    });
    expect(await json(space, 'stats', 'nvme0')).toMatchObject([
      { device: 'nvme0', tenant: 'alice' },
      { device: 'nvme0', tenant: 'bob' },
    ]);
    expect(await json(space, 'trace', 'alice')).toEqual(expect.arrayContaining([expect.objectContaining({ operation: 'write', code: 'ok' })]));
    expect(await json(space, 'show', 'nvme0', '--log', 'smart')).toMatchObject({ critical_warning: [] });
    expect(await json(space, 'inspect', 'engines')).toMatchObject({ nvme0: expect.any(Object) });
    const { stdout: metrics } = await space.ringwarden(['stats', '--prometheus']);
    expect(metrics).toMatch(/^ringwarden_requests_total\{device="nvme0",tenant="alice",operation="write"\} [1-9]/m);

    server.kill('SIGINT');
    expect(await server.ended).toEqual({ status: 0, signal: null });
    expect(readdirSync(space.path('ringwarden-data')).toSorted()).toEqual(['nvme0.img', 'ringwarden.jsonc', 'state']);

    const again = await sample(space);
    await done(space, 'copy', 'nvme0/data', 'back', '--length', '3000000', '--tenant', 'alice');
    await done(space, 'copy', 'nvme0/data', 'back2', '--length', '100000', '--tenant', 'bob');
    expect([sha256(space.path('back')), sha256(space.path('back2'))]).toEqual([sha256(space.path('file')), sha256(space.path('other'))]);
    again.kill('SIGTERM');
    expect(await again.ended).toEqual({ status: 0, signal: null });
  });
});

describe('an image of which nobody knows whose data it holds', () => {
  const config = (share = {}): object => configuration({ devices: [device({}, { image: 'disk.img' })], tenants: [tenant('alice', 0, {}, share)] });
  const refused = async (space: Workspace): Promise<void> => {
    const before = sha256(space.path('disk.img'));
    const server = serve(space, space.file('ringwarden.json', config()));
    expect(await server.ended).toEqual({ status: 2, signal: null });
    expect(server.stderr).toMatch(
      /ringwarden\.json:\d+:\d+: tenants\[0\]\.shares\[0\]: nobody knows whose data .*disk\.img holds here; say "keepData": true to give it to "alice"/,
    );
    expect(sha256(space.path('disk.img'))).toBe(before);
  };
  const written = async (space: Workspace): Promise<Buffer> => {
    const data = randomBytes(4096);
    writeFileSync(space.path('data'), data);
    const server = await Server.start(space, space.file('ringwarden.json', config()));
    await done(space, 'copy', 'data', 'nvme0/data', '--tenant', 'alice', '--socket', space.path('server.sock'));
    await server.stop();
    return data;
  };

  it('because the state folder was lost, is not given away before the configuration says what becomes of it', async () => {
    const space = workspace();
    const data = await written(space);
    rmSync(space.path('state'), { recursive: true });
    await refused(space);
    const server = await Server.start(space, space.file('ringwarden.json', config({ keepData: true })));
    await server.stop();
    expect(readFileSync(space.path('disk.img')).subarray(0, 4096)).toEqual(data);

    rmSync(space.path('state'), { recursive: true });
    const wiping = await Server.start(space, space.file('ringwarden.json', config({ keepData: false })));
    await wiping.stop();
    expect(
      readFileSync(space.path('disk.img'))
        .subarray(0, WINDOW_BYTES)
        .every((byte) => byte === 0),
    ).toBe(true);
  });

  it('because another one was put in its place, is not either', async () => {
    const space = workspace();
    await written(space);
    cpSync(space.path('disk.img'), space.path('copy.img'));
    rmSync(space.path('disk.img'));
    cpSync(space.path('copy.img'), space.path('disk.img'));
    await refused(space);
  });
});

describe('the process of the server', () => {
  it('cannot make code of text, in any thread that it starts', async () => {
    const script = `
      import { Worker } from 'node:worker_threads';
      const { harden } = await import(${JSON.stringify(join(ROOT, 'dist', 'server', 'harden.js'))});
      harden();
      const attempts = {
        new: () => new Function('return 1'),
        call: () => Function('return 1'),
        constructor: () => (() => 1).constructor('return 1'),
        builtin: () => [].map.constructor('return 1'),
        async: () => (async () => 1).constructor('return 1'),
        generator: () => (function* () {}).constructor('yield 1'),
        asyncGenerator: () => (async function* () {}).constructor('yield 1'),
        eval: () => eval('1'),
        indirect: () => (0, eval)('1'),
        reflect: () => Reflect.construct(Function, ['return 1']),
        undo: () => { Object.defineProperty(globalThis, 'Function', { value: 1 }); },
      };
      const outcome = (attempt) => { try { attempt(); return 'worked'; } catch (error) { return error.name; } };
      const results = Object.fromEntries(Object.entries(attempts).map(([name, attempt]) => [name, outcome(attempt)]));
      const inWorker = 'import { parentPort } from "node:worker_threads"; try { new Function("1"); parentPort.postMessage("worked"); } catch (error) { parentPort.postMessage(error.name); }';
      const worker = new Worker(inWorker, { eval: true });
      worker.on('message', (message) => console.log(JSON.stringify({ ...results, worker: message, instance: (() => 1) instanceof Function })));
    `;
    const { stdout, stderr } = await workspace().run(process.execPath, ['--input-type=module', '-e', script]);
    expect(stderr).toBe('');
    const { undo, instance, ...results } = JSON.parse(stdout) as Record<string, unknown>;
    expect(Object.keys(results)).toHaveLength(11);
    expect(new Set(Object.values(results))).toEqual(new Set(['EvalError']));
    expect([undo, instance]).toEqual(['TypeError', true]);
  });

  const isRoot = process.getuid?.() === 0;
  /** As root, the server is run by another user: of a process of root, the check below would hold in any case. */
  const under = isRoot ? ['setpriv', '--reuid', '4242', '--regid', '4242', '--clear-groups', '--'] : [];
  const [command, ...rest] = [...under, process.execPath, MAIN, '--version'];
  const canRun = spawnSync(command, rest).status === 0;
  it.skipIf(!canRun)(
    `is not dumpable, and its state is its own${canRun ? '' : ' (skipped: as root, needs setpriv and a folder that others can enter)'}`,
    async () => {
      const space = workspace();
      if (isRoot) chownSync(space.folder, 4242, 4242);
      const server = await Server.start(space, configuration(), { under });
      // The kernel gives the files in /proc of a process that is not dumpable to root, and those of any other to its user (proc(5)).
      expect(statSync(`/proc/${server.ready.pid}/maps`).uid).toBe(0);
      expect(statSync(space.path('state')).mode & 0o777).toBe(0o700);
      expect((await server.stop()).status).toBe(0);
    },
  );
});
