/** What this process holds, as the kernel tells it; and threads that use the addon while their event loop stands still. */
import { once } from 'node:events';
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';

/** Lines of /proc/self/maps that belong to the memory file `name`. */
export function mappingsOf(name: string): string[] {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes(`/memfd:${name} `));
}

/** Descriptors of this process that lead to a memory file, a socket, an eventfd or an epoll instance. */
export function descriptorCount(): number {
  // The folder's own descriptor is among the names, and gone when it is looked at.
  return readdirSync('/proc/self/fd').filter((name) => {
    try {
      return /^(\/memfd:|socket:|anon_inode:)/.test(readlinkSync(`/proc/self/fd/${name}`));
    } catch {
      return false;
    }
  }).length;
}

/** Flags of an open file, as open(2) has them. */
export function openFlags(fd: number): number {
  const line = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')
    .split('\n')
    .find((text) => text.startsWith('flags:'));
  return parseInt(line?.slice('flags:'.length) ?? '', 8);
}

export const O_CLOEXEC = 0o2000000;
export const O_NONBLOCK = 0o4000;

/** Collects garbage until `done()`, at most 50 times; lets finalizers run in between. */
export async function collectUntil(done: () => boolean): Promise<boolean> {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  for (let i = 0; i < 50 && !done(); i++) {
    gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return done();
}

/** Path of the addon, for programs that load it by themselves. */
export const addon = fileURLToPath(new URL('../../../build/shm.node', import.meta.url));

/**
 * A thread that runs `code` with `shm` (the addon), `data` and `parentPort` in scope. Native code is loaded by its path: workers here have no
 * TypeScript.
 */
export function thread(code: string, data?: unknown): Worker {
  const prologue = `const { workerData, parentPort } = require('node:worker_threads'); const shm = require(workerData.addon); const data = workerData.data;`;
  return new Worker(`${prologue}\n${code}`, { eval: true, workerData: { addon, data } });
}

/** The one message that a thread posts before it ends; throws what it threw. */
export async function resultOf(worker: Worker): Promise<unknown> {
  const [[message]] = await Promise.all([once(worker, 'message'), once(worker, 'exit')]);
  return message;
}
