import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';

import { Seal, shm } from '../../../src/native/shm.js';
import { addon, collectUntil, mappingsOf, O_CLOEXEC, openFlags, resultOf, thread } from './support.js';

const opened: number[] = [];
/** A memory file that is closed after the test. */
function memoryFile(name: string, bytes: number): number {
  const fd = shm().memfdCreate(name, bytes);
  opened.push(fd);
  return fd;
}
afterEach(() => {
  for (const fd of opened.splice(0)) shm().close(fd);
});

/** First address of a line of /proc/self/maps. */
const addressOf = (line: string | undefined) => line?.split('-')[0];

test('a memory file is zero, has its size, may be sealed and is closed on exec', () => {
  const fd = memoryFile('fresh', 12288);
  const buffer = shm().map(fd, 0, 12288, true);
  expect(buffer.byteLength).toBe(12288);
  expect(new Uint8Array(buffer).every((byte) => byte === 0)).toBe(true);
  expect(shm().getSeals(fd)).toBe(0);
  expect(openFlags(fd) & O_CLOEXEC).toBe(O_CLOEXEC);
  shm().unmap(buffer);
});

test('mappings of a file share their bytes, at their offsets', () => {
  const fd = memoryFile('shared', 8192);
  const all = new Uint8Array(shm().map(fd, 0, 8192, true));
  const second = new Uint8Array(shm().map(fd, 4096, 4096, false));
  all[4096] = 0xa5;
  all[8191] = 0x5a;
  expect([second[0], second[4095]]).toEqual([0xa5, 0x5a]);
  expect(mappingsOf('shared').map((line) => line.split(' ')[1]).sort()).toEqual(['r--s', 'rw-s']); // prettier-ignore
  shm().unmap(second.buffer);
  shm().unmap(all.buffer);
});

test('a mapping lies inside its file', () => {
  const fd = memoryFile('inside', 8192);
  for (const [offset, bytes] of [
    [0, 8193],
    [4096, 4097],
    [8192, 1],
    [12288, 4096],
    [2 ** 52, 2 ** 52],
    [0, Number.MAX_SAFE_INTEGER],
  ]) {
    expect(() => shm().map(fd, offset, bytes, true)).toThrow(RangeError);
  }
  expect(() => shm().map(fd, 512, 512, true)).toThrow(/multiple of 4096/);
  expect(mappingsOf('inside')).toEqual([]);
});

test('what may not be mapped says so', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ringwarden-'));
  const path = join(folder, 'file');
  writeFileSync(path, Buffer.alloc(4096));
  const fd = openSync(path, 'r');
  expect(() => shm().map(fd, 0, 4096, true)).toThrow(expect.objectContaining({ code: 'EACCES', syscall: 'mmap' }));
  closeSync(fd);
  rmSync(folder, { recursive: true });
});

test('unmap detaches every view and takes the memory away, once', () => {
  const buffer = shm().map(memoryFile('unmapped', 4096), 0, 4096, true);
  const views = [new Uint8Array(buffer), new Int32Array(buffer, 64, 4)];
  shm().unmap(buffer);
  expect([buffer.byteLength, ...views.map((view) => view.length)]).toEqual([0, 0, 0]);
  expect(mappingsOf('unmapped')).toEqual([]);
  expect(() => shm().unmap(buffer)).toThrow(TypeError);
});

test('a buffer that somebody else made is not unmapped', () => {
  const foreign = new ArrayBuffer(4096);
  expect(() => shm().unmap(foreign)).toThrow(TypeError);
  expect(foreign.byteLength).toBe(4096);
});

test('a mapping stays with its thread', () => {
  const buffer = shm().map(memoryFile('moved', 4096), 0, 4096, true);
  let copy = new ArrayBuffer(4096);
  try {
    copy = structuredClone(buffer, { transfer: [buffer] }); // Node 20 copies, later ones throw
  } catch (error) {
    expect(error).toMatchObject({ name: 'DataCloneError' });
  }
  new Uint8Array(buffer)[7] = 7;
  expect([new Uint8Array(copy)[7], buffer.byteLength]).toEqual([0, 4096]);
  expect(() => shm().unmap(copy)).toThrow(TypeError);
  shm().unmap(buffer);
});

test('a buffer that is collected is unmapped', async () => {
  const fd = memoryFile('collected', 4096);
  (() => {
    new Uint8Array(shm().map(fd, 0, 4096, true))[0] = 1;
  })();
  expect(await collectUntil(() => mappingsOf('collected').length === 0)).toBe(true);
});

test('the late finalizer of an unmapped buffer leaves the next mapping at that address alone', async () => {
  const fd = memoryFile('reused', 4096);
  let met = 0;
  const live: ArrayBuffer[] = [];
  for (let i = 0; i < 200; i++) {
    const first = shm().map(fd, 0, 4096, true);
    const address = addressOf(mappingsOf('reused').at(-1));
    shm().unmap(first);
    live.push(shm().map(fd, 0, 4096, true));
    if (mappingsOf('reused').some((line) => addressOf(line) === address)) met++;
  }
  expect(met).toBeGreaterThan(0); // the kernel did give an address twice
  await collectUntil(() => false);
  const pages = mappingsOf('reused').reduce((sum, line) => {
    const [from, to] = line
      .split(' ')[0]
      .split('-')
      .map((hex) => parseInt(hex, 16));
    return sum + (to - from) / 4096;
  }, 0);
  expect(pages).toBe(live.length);
  for (const buffer of live) shm().unmap(buffer);
  expect(mappingsOf('reused')).toEqual([]);
});

test('seals: no shrinking, no growing, then no new way to write', () => {
  const fd = memoryFile('sealed', 4096);
  shm().addSeals(fd, Seal.shrink | Seal.grow);
  const before = new Uint8Array(shm().map(fd, 0, 4096, true));
  expect(() => shm().addSeals(fd, Seal.write)).toThrow(expect.objectContaining({ code: 'EBUSY', syscall: 'fcntl' }));
  shm().addSeals(fd, Seal.futureWrite | Seal.seal);
  expect(shm().getSeals(fd)).toBe(Seal.shrink | Seal.grow | Seal.futureWrite | Seal.seal);

  before[0] = 42;
  expect(() => shm().map(fd, 0, 4096, true)).toThrow(expect.objectContaining({ code: 'EPERM', syscall: 'mmap' }));
  const reader = new Uint8Array(shm().map(fd, 0, 4096, false));
  expect(reader[0]).toBe(42);
  expect(() => shm().addSeals(fd, Seal.write)).toThrow(expect.objectContaining({ code: 'EPERM' }));
  shm().unmap(before.buffer);
  shm().unmap(reader.buffer);
});

test('seals are refused outside their bits, and on files that have none', () => {
  expect(() => shm().addSeals(memoryFile('bits', 4096), 0x20)).toThrow(RangeError);
  expect(() => shm().getSeals(0x7fff_ffff)).toThrow(expect.objectContaining({ code: 'EBADF' }));
  const event = shm().eventfd();
  opened.push(event);
  expect(() => shm().getSeals(event)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
});

test('a thread maps what another made; what it leaves behind is unmapped when it ends', async () => {
  const fd = memoryFile('threads', 4096);
  const mine = new Uint8Array(shm().map(fd, 0, 4096, true));
  const threads = [0, 1, 2, 3].map((i) =>
    thread(
      `const kept = new Uint8Array(shm.map(data.fd, 0, 4096, true));
       for (let i = 0; i < 500; i++) { const b = shm.map(data.fd, 0, 4096, true); new Uint8Array(b)[data.at] = i; shm.unmap(b); }
       kept[data.at] = 0x80 + data.at; parentPort.postMessage(kept.length);`,
      { fd, at: i },
    ),
  );
  expect(await Promise.all(threads.map(resultOf))).toEqual([4096, 4096, 4096, 4096]);
  expect([...mine.subarray(0, 4)]).toEqual([0x80, 0x81, 0x82, 0x83]);
  expect(mappingsOf('threads')).toHaveLength(1);
  shm().unmap(mine.buffer);
});

test('a guarded mapping of a file that is truncated reads as zeroes, and others are as they were', () => {
  const fd = memoryFile('guarded', 8192);
  const bytes = new Uint8Array(shm().map(fd, 0, 8192, true));
  const other = memoryFile('unharmed', 4096);
  const unharmed = new Uint8Array(shm().map(other, 0, 4096, true));
  for (const view of [bytes, unharmed]) view.fill(7);
  shm().guard(bytes.buffer);
  shm().guard(bytes.buffer);
  ftruncateSync(fd, 0);
  expect([bytes[0], bytes[4095], Atomics.load(new Int32Array(bytes.buffer), 1024)]).toEqual([0, 0, 0]);
  expect(unharmed[4095]).toBe(7);
  // What took the place of the pages is nobody else's, and goes with the mapping.
  ftruncateSync(fd, 8192);
  expect(bytes[0]).toBe(0);
  for (const view of [bytes, unharmed]) shm().unmap(view.buffer);
  expect(mappingsOf('guarded')).toEqual([]);
});

test('a guard ends with its mapping: the next fault there ends the process', () => {
  const program = `const { ftruncateSync } = require('node:fs');
    const shm = require(${JSON.stringify(addon)});
    const fd = shm.memfdCreate('gone', 4096);
    const first = shm.map(fd, 0, 4096, false);
    shm.guard(first);
    shm.unmap(first);
    const second = new Uint8Array(shm.map(fd, 0, 4096, false));
    ftruncateSync(fd, 0);
    console.log(second[0]);`;
  const { signal, stdout } = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' });
  expect([signal, stdout]).toEqual(['SIGBUS', '']);
});

test('a file that is opened once more for reading cannot be written, and outlives the thread that opened it', async () => {
  const file = memoryFile('once more', 4096);
  const fd = (await resultOf(thread(`parentPort.postMessage(shm.openReadOnly(data));`, file))) as number;
  opened.push(fd);
  expect(openFlags(fd) & (O_CLOEXEC | 0o3)).toBe(O_CLOEXEC);
  expect(() => shm().map(fd, 0, 4096, true)).toThrow('EACCES');
  shm().unmap(shm().map(fd, 0, 4096, false));
  expect(() => shm().addSeals(fd, Seal.shrink)).toThrow('EPERM');
});
