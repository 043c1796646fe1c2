import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';

import { shm } from '../../../src/native/shm.js';
import { descriptorCount, mappingsOf, resultOf, thread } from './support.js';

/** Ignores the failure that it asks for. */
function failing(call: () => unknown): void {
  expect(call).toThrow();
}

/** Everything once, with the failures that come after something was taken. */
function round(): void {
  const file = shm().memfdCreate('leaks', 8192);
  const buffer = shm().map(file, 0, 8192, true);
  failing(() => shm().map(file, 8192, 4096, true));
  shm().unmap(buffer);
  failing(() => shm().unmap(buffer));
  const [left, right] = shm().socketpair();
  shm().sendDescriptors(left, new Uint8Array(4), [file, right]);
  const got = shm().receiveDescriptors(right, new Uint8Array(8), 1);
  shm().sendDescriptors(left, new Uint8Array(4), [file]); // still in flight when both ends close
  const epoll = shm().epollCreate();
  const event = shm().eventfd();
  shm().epollControl(epoll, 'add', event, 1, 1);
  for (const fd of [...got.descriptors, file, left, right, epoll, event]) shm().close(fd);
}

test('a thousand rounds leave no descriptor and no mapping', async () => {
  const before = descriptorCount();
  for (let i = 0; i < 1000; i++) round();
  await expect.poll(() => descriptorCount()).toBe(before);
  expect(mappingsOf('leaks')).toEqual([]);
});

test('threads leave nothing but their descriptors, which they were told to close', async () => {
  const before = descriptorCount();
  const threads = readdirSync('/proc/self/task').length;
  const code = `for (let i = 0; i < 50; i++) { const fd = shm.memfdCreate('leaks', 4096); shm.map(fd, 0, 4096, true); shm.close(fd); }
    shm.createWaker(() => {}); parentPort.postMessage(0); process.exit();`;
  for (let i = 0; i < 5; i++) await resultOf(thread(code));
  expect(mappingsOf('leaks')).toEqual([]);
  expect(descriptorCount()).toBe(before);
  expect(readdirSync('/proc/self/task').length).toBe(threads);
});
