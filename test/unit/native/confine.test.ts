/** What a process is after `confine`: each in a process of its own, because there is no way back. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const run = promisify(execFile);
const ADDON = fileURLToPath(new URL('../../../build/shm.node', import.meta.url));
const CAP_SYS_PTRACE = 2 ** 19;
/** Set and reached by no signal: what Node's thread that waits for SIGUSR1 keeps. */
const NODES_OWN = 1;

/** Runs `work` after `confine(bits, programs, functions)`, with a worker that began before; returns what it returns. */
async function confined(work: string, bits = 0, programs = false, functions = false): Promise<unknown> {
  const script = `
    const { readdirSync, readFileSync, promises } = require('node:fs');
    const { Worker } = require('node:worker_threads');
    const shm = require(${JSON.stringify(ADDON)});
    (async () => {
      await promises.readFile('/proc/self/status'); // begins the threads of libuv's pool
      const before = new Worker('setInterval(() => {}, 1000)', { eval: true });
      await new Promise((resolve) => before.once('online', resolve));
      const result = shm.confine(${bits}, ${programs}, ${functions});
      const code = (attempt) => { try { attempt(); return 'worked'; } catch (error) { return error.code; } };
      console.log(JSON.stringify(await (async () => { ${work} })()));
      process.exit();
    })();`;
  const { stdout } = await run(process.execPath, ['-e', script]);
  return JSON.parse(stdout);
}

interface Thread {
  readonly permitted: string;
  readonly bounding: string;
  readonly inheritable: string;
  readonly ambient: string;
  readonly noNewPrivileges: string;
  readonly seccomp: string;
}

const THREADS = `
  const after = new Worker('setInterval(() => {}, 1000)', { eval: true });
  await new Promise((resolve) => after.once('online', resolve));
  const threads = readdirSync('/proc/self/task').map((thread) => {
    const text = readFileSync('/proc/self/task/' + thread + '/status', 'utf8');
    const field = (name) => new RegExp('^' + name + ':\\\\s*(\\\\S+)', 'm').exec(text)[1];
    return { permitted: field('CapPrm'), bounding: field('CapBnd'), inheritable: field('CapInh'), ambient: field('CapAmb'), noNewPrivileges: field('NoNewPrivs'), seccomp: field('Seccomp') };
  });
  return { result, threads };`;

const isRoot = process.getuid?.() === 0;

describe('confine', () => {
  it('reaches every thread, those that began before and those that begin after', async () => {
    const { result, threads } = (await confined(THREADS, CAP_SYS_PTRACE)) as { result: object; threads: Thread[] };
    expect(threads.length).toBeGreaterThan(10);
    expect(threads.filter(({ noNewPrivileges, seccomp }) => noNewPrivileges !== '1' || seccomp !== '2')).toEqual([]);
    const kept = isRoot ? '0000000000080000' : '0000000000000000';
    const others = threads.filter(({ permitted }) => permitted !== kept);
    expect(others.length).toBeLessThanOrEqual(NODES_OWN);
    expect(result).toEqual({ unreached: others.length, filter: true });
    for (const { permitted, inheritable, ambient, bounding } of threads) {
      if (permitted !== kept) continue;
      expect([inheritable, ambient]).toEqual(['0000000000000000', '0000000000000000']);
      if (isRoot) expect(bounding).toBe(kept);
    }
  });

  it('forbids what a running server never does', async () => {
    const work = `
      const { spawnSync } = require('node:child_process');
      const { connect } = require('node:net');
      const tcp = await new Promise((resolve) => connect(9, '127.0.0.1').once('error', (error) => resolve(error.code)));
      return {
        program: spawnSync('true').error.code,
        execute: code(() => shm.execute('true', ['true'], [], shm.eventfd())),
        tcp,
        user: code(() => process.setuid(process.getuid())),
        groups: code(() => process.setgid(process.getgid())),
      };`;
    expect(await confined(work)).toEqual({ program: 'EPERM', execute: 'EPERM', tcp: 'EPERM', user: 'EPERM', groups: 'EPERM' });
  });

  it('leaves what a running server does', async () => {
    const work = `
      const { mkdtempSync, rmSync, writeFileSync } = require('node:fs');
      const { createServer, connect } = require('node:net');
      const folder = mkdtempSync(require('node:os').tmpdir() + '/ringwarden-');
      writeFileSync(folder + '/file', 'text');
      const server = createServer((socket) => socket.end('served'));
      await new Promise((resolve) => server.listen(folder + '/socket', resolve));
      const served = await new Promise((resolve) => connect(folder + '/socket').on('data', (data) => resolve(String(data))));
      const memory = shm.map(shm.memfdCreate('confined', 4096), 0, 4096, true).byteLength;
      rmSync(folder, { recursive: true });
      return { served, memory, code: code(() => shm.socketpair()) };`;
    expect(await confined(work)).toEqual({ served: 'served', memory: 4096, code: 'worked' });
  });

  it('lets a server start programs that needs them, and these are confined as well', async () => {
    const work = `return require('node:child_process').spawnSync('grep', ['-E', '^(CapPrm|NoNewPrivs|Seccomp):', '/proc/self/status']).stdout.toString();`;
    expect(await confined(work, 0, true)).toMatch(/^CapPrm:\s+0{16}\nNoNewPrivs:\s+1\nSeccomp:\s+2\n$/);
  });

  it('lets a server hear of functions that go and come only if it drives any', async () => {
    const work = `const device = require(${JSON.stringify(ADDON.replace('shm.node', 'device.node'))}); return code(() => device.openUevents());`;
    expect(await confined(work, 0, false, true)).toBe('worked');
    expect(await confined(work)).toBe('EPERM');
  });

  it('can be repeated, and only takes away', async () => {
    const work = `shm.confine(${CAP_SYS_PTRACE}, true, true); return /CapPrm:\\s*(\\S+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1];`;
    expect(await confined(work)).toBe('0000000000000000');
  });
});
