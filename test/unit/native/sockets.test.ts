import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { shm } from '../../../src/native/shm.js';
import { Lingering } from '../../support/lingering.js';
import { descriptorCount, O_CLOEXEC, O_NONBLOCK, openFlags } from './support.js';

let left = 0;
let right = 0;
let closed: Set<number>;
const bytes = new Uint8Array(64);
beforeEach(() => {
  [left, right] = shm().socketpair();
  closed = new Set();
});
afterEach(() => {
  for (const fd of [left, right]) if (!closed.has(fd)) shm().close(fd);
});
function closeEnd(fd: number): void {
  closed.add(fd);
  shm().close(fd);
}

test('a pair is close-on-exec and non-blocking', () => {
  for (const fd of [left, right]) expect(openFlags(fd) & (O_CLOEXEC | O_NONBLOCK)).toBe(O_CLOEXEC | O_NONBLOCK);
});

test('bytes arrive at their place, and nothing else is touched', () => {
  expect(shm().receive(right, bytes, 0, 64)).toBe(-1);
  expect(shm().send(left, Buffer.from('0123456789'), 2, 5)).toBe(5);
  bytes.fill(0x2e);
  expect(shm().receive(right, bytes, 10, 3)).toBe(3);
  expect(shm().receive(right, bytes, 20, 30)).toBe(2);
  expect(Buffer.from(bytes.subarray(8, 24)).toString()).toBe('..234.......56..');
});

test('what is looked at stays, however many pieces it came in', () => {
  expect(shm().peek(right, bytes, 0, 64)).toBe(-1);
  bytes.fill(0x2e);
  for (const piece of ['012', '34', '5']) shm().send(left, Buffer.from(piece), 0, piece.length);
  expect([shm().peek(right, bytes, 0, 64), shm().peek(right, bytes, 10, 4)]).toEqual([6, 4]);
  expect(Buffer.from(bytes.subarray(0, 14)).toString('latin1')).toBe('012345....0123');
  expect(shm().receive(right, bytes, 0, 2)).toBe(2);
  expect([shm().peek(right, bytes, 20, 20), Buffer.from(bytes.subarray(20, 24)).toString()]).toEqual([4, '2345']);
  closeEnd(left);
  expect(shm().receive(right, bytes, 0, 64)).toBe(4);
  expect(shm().peek(right, bytes, 0, 64)).toBe(0);
});

test('connects to a Unix socket, or says why not and keeps nothing', async () => {
  const path = join(mkdtempSync(join(tmpdir(), 'ringwarden-connect-')), 'socket');
  const before = descriptorCount();
  expect(() => shm().connect(path)).toThrow(expect.objectContaining({ code: 'ENOENT', syscall: 'connect' }));
  expect(() => shm().connect('x'.repeat(108))).toThrow(RangeError);
  expect(() => shm().connect('')).toThrow(RangeError);
  expect(descriptorCount()).toBe(before);
  const server = createServer((socket) => socket.end('hello'));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const fd = shm().connect(path);
  expect(openFlags(fd) & (O_CLOEXEC | O_NONBLOCK)).toBe(O_CLOEXEC | O_NONBLOCK);
  expect(shm().peerCredentials(fd)).toEqual({ pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() });
  let got = -1;
  while (got === -1) {
    await new Promise((resolve) => setImmediate(resolve));
    got = shm().receive(fd, bytes, 0, 5);
  }
  expect(Buffer.from(bytes.subarray(0, got)).toString()).toBe('hello');
  shm().close(fd);
  await new Promise((resolve) => server.close(resolve));
  expect(() => shm().connect(path)).toThrow(expect.objectContaining({ code: 'ENOENT' }));
  rmSync(dirname(path), { recursive: true });
});

test('the end of the stream is 0, and writing to a peer that is gone is EPIPE', () => {
  shm().send(left, bytes, 0, 4);
  closeEnd(left);
  expect([shm().receive(right, bytes, 0, 64), shm().receive(right, bytes, 0, 64)]).toEqual([4, 0]);
  expect(() => shm().send(right, bytes, 0, 1)).toThrow(expect.objectContaining({ code: 'EPIPE', syscall: 'send' }));
});

test('a full socket takes no more, without waiting, and loses nothing', () => {
  const chunk = new Uint8Array(65536).fill(7);
  let sent = 0;
  for (let taken = 0; (taken = shm().send(left, chunk, 0, chunk.length)) !== -1;) sent += taken;
  expect(sent).toBeGreaterThan(0);
  expect(shm().sendDescriptors(left, bytes, [right])).toBe(-1);
  let received = 0;
  for (let got = 0; (got = shm().receive(right, chunk, 0, chunk.length)) > 0;) received += got;
  expect(received).toBe(sent);
});

test('shared memory can be sent and received into', () => {
  const shared = new Uint8Array(new SharedArrayBuffer(8)).fill(5);
  expect(shm().send(left, shared, 0, 8)).toBe(8);
  const into = new Uint8Array(new SharedArrayBuffer(8));
  expect(shm().receive(right, into, 0, 8)).toBe(8);
  expect([...into]).toEqual([...shared]);
});

test('descriptors pass as duplicates, close-on-exec, in their order', () => {
  const files = [1, 2, 3].map((page) => shm().memfdCreate('passed', page * 4096));
  expect(shm().sendDescriptors(left, Buffer.from('abc'), files)).toBe(3);
  for (const fd of files) shm().close(fd);
  const got = shm().receiveDescriptors(right, bytes, 16);
  expect(got).toEqual({ bytes: 3, descriptors: [expect.any(Number), expect.any(Number), expect.any(Number)], truncated: false });
  got.descriptors.forEach((fd, i) => {
    expect(openFlags(fd) & O_CLOEXEC).toBe(O_CLOEXEC);
    const buffer = shm().map(fd, i * 4096, 4096, true); // only a file of i + 1 pages has this one ...
    expect(() => shm().map(fd, (i + 1) * 4096, 4096, true)).toThrow(RangeError); // ... and not the next
    shm().unmap(buffer);
    shm().close(fd);
  });
});

test.each([0, 1, 3])('of 4 descriptors %i are kept, the others closed', async (most) => {
  const before = descriptorCount();
  shm().sendDescriptors(left, bytes, [left, left, left, left]);
  const got = shm().receiveDescriptors(right, bytes, most);
  expect(got.truncated).toBe(true);
  expect(got.descriptors).toHaveLength(most);
  await expect.poll(() => descriptorCount()).toBe(before + most);
  for (const fd of got.descriptors) shm().close(fd);
});

test('descriptors that arrive at a plain receive are not kept', async () => {
  const before = descriptorCount();
  shm().sendDescriptors(left, bytes, [left, right]);
  expect(shm().receive(right, bytes, 0, 64)).toBe(64);
  await expect.poll(() => descriptorCount()).toBe(before);
});

test('descriptors that take for ever to close keep nobody waiting, and each user can have a few of them', async () => {
  const uid = process.getuid?.() ?? 0;
  const before = descriptorCount();
  const files = await Promise.all(Array.from({ length: 20 }, () => Lingering.make()));
  for (const { fd } of files) {
    shm().sendDescriptors(left, bytes, [fd]);
    shm().close(fd);
    expect(shm().receive(right, bytes, 0, 64)).toBe(64);
  }
  await expect.poll(() => shm().canCloseElsewhere(uid)).toBe(false);
  expect(shm().canCloseElsewhere(uid + 1)).toBe(true);
  expect(shm().closeElsewhere(shm().eventfd(), uid)).toBe(false);
  expect(shm().closeElsewhere(shm().eventfd(), uid + 1)).toBe(true);
  for (const file of files) file.end();
  await expect.poll(() => shm().canCloseElsewhere(uid)).toBe(true);
  await expect.poll(() => descriptorCount()).toBe(before);
});

test('a socket that refuses descriptors is one to which none can be sent, where the kernel can do that', () => {
  if (!shm().refuseDescriptors(right)) return;
  expect(() => shm().sendDescriptors(left, bytes, [left])).toThrow(expect.objectContaining({ code: 'EPERM' }));
  expect(shm().send(left, bytes, 0, 64)).toBe(64);
  expect(shm().sendDescriptors(right, bytes, [left])).toBe(64);
  expect(shm().receive(left, bytes, 0, 64)).toBe(64);
});

test('receiving descriptors: nothing there, bytes alone, the end', () => {
  expect(shm().receiveDescriptors(right, bytes, 4)).toEqual({ bytes: -1, descriptors: [], truncated: false });
  shm().send(left, bytes, 0, 9);
  expect(shm().receiveDescriptors(right, bytes, 4)).toEqual({ bytes: 9, descriptors: [], truncated: false });
  closeEnd(left);
  expect(shm().receiveDescriptors(right, bytes, 4)).toEqual({ bytes: 0, descriptors: [], truncated: false });
});

test('the peer of a pair is this process', () => {
  expect(shm().peerCredentials(left)).toEqual({ pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() });
});

test('what is no socket has no peer and no bytes', () => {
  const file = shm().memfdCreate('plain', 4096);
  expect(() => shm().peerCredentials(file)).toThrow(expect.objectContaining({ code: 'ENOTSOCK', syscall: 'getsockopt' }));
  expect(() => shm().receive(file, bytes, 0, 1)).toThrow(expect.objectContaining({ code: 'ENOTSOCK', syscall: 'recvmsg' }));
  shm().close(file);
});

test('a lock belongs to an open file: its duplicate shares it, another open does not', () => {
  const file = shm().memfdCreate('locked', 4096);
  const copy = shm().duplicate(file);
  const other = openSync(`/proc/self/fd/${file}`, 'r+');
  expect([shm().lock(file), shm().lock(copy), shm().lock(other)]).toEqual([true, true, false]);
  shm().close(file);
  expect(shm().lock(other)).toBe(false);
  shm().close(copy);
  expect(shm().lock(other)).toBe(true);
  closeSync(other);
});
