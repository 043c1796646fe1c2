import { afterEach, beforeEach, expect, test } from 'vitest';

import { Epoll, shm } from '../../../src/native/shm.js';
import { O_CLOEXEC, O_NONBLOCK, openFlags, resultOf, thread } from './support.js';

let epoll = 0;
let event = 0;
const out = new Int32Array(16);
beforeEach(() => {
  epoll = shm().epollCreate();
  event = shm().eventfd();
  out.fill(-7);
});
afterEach(() => {
  shm().close(epoll);
  shm().close(event);
});

test('an eventfd counts signals, and gives them once', () => {
  expect(shm().eventfdTake(event)).toBe(0);
  expect([shm().eventfdSignal(event), shm().eventfdSignal(event)]).toEqual([true, true]);
  expect([shm().eventfdTake(event), shm().eventfdTake(event)]).toEqual([2, 0]);
  expect(openFlags(event) & (O_CLOEXEC | O_NONBLOCK)).toBe(O_CLOEXEC | O_NONBLOCK);
});

test('epoll writes pairs of data and events', () => {
  shm().epollControl(epoll, 'add', event, Epoll.in, 0x7fff_ffff);
  expect(shm().epollWait(epoll, out, 0)).toBe(0);
  expect(out[0]).toBe(-7);
  shm().eventfdSignal(event);
  expect(shm().epollWait(epoll, out, -1)).toBe(1);
  expect([...out.subarray(0, 3)]).toEqual([0x7fff_ffff, Epoll.in, -7]);
});

test('level-triggered stays, edge-triggered comes once', () => {
  shm().eventfdSignal(event);
  shm().epollControl(epoll, 'add', event, Epoll.in, 1);
  expect([shm().epollWait(epoll, out, 0), shm().epollWait(epoll, out, 0)]).toEqual([1, 1]);
  shm().epollControl(epoll, 'modify', event, Epoll.in | Epoll.edge, 2);
  expect([shm().epollWait(epoll, out, 0), out[0], shm().epollWait(epoll, out, 0)]).toEqual([1, 2, 0]);
  shm().eventfdSignal(event);
  expect(shm().epollWait(epoll, out, 0)).toBe(1);
  shm().epollControl(epoll, 'delete', event, 0, 0);
  shm().eventfdSignal(event);
  expect(shm().epollWait(epoll, out, 0)).toBe(0);
});

test('no more pairs than there is room for; the others come later', () => {
  const events = Array.from({ length: 5 }, () => shm().eventfd());
  events.forEach((fd, i) => {
    shm().epollControl(epoll, 'add', fd, Epoll.in, i);
    shm().eventfdSignal(fd);
  });
  const seen = new Set<number>();
  const narrow = new Int32Array(5); // two pairs and a half
  for (let i = 0; i < 3; i++) {
    expect(shm().epollWait(epoll, narrow, 0)).toBe(2);
    for (const at of [0, 2]) seen.add(narrow[at]);
    expect(narrow[4]).toBe(0);
  }
  expect([...seen].sort()).toEqual([0, 1, 2, 3, 4]); // prettier-ignore
  for (const fd of events) shm().close(fd);
});

test('a timeout in microseconds is kept, and may be huge', () => {
  const start = performance.now();
  expect(shm().epollWait(epoll, out, 2500)).toBe(0);
  expect(performance.now() - start).toBeGreaterThanOrEqual(2.5); // it may be later, never earlier
  shm().eventfdSignal(event);
  shm().epollControl(epoll, 'add', event, Epoll.in, 3);
  expect(shm().epollWait(epoll, out, Number.MAX_SAFE_INTEGER)).toBe(1);
});

test('mistakes of epoll_ctl say what they are', () => {
  shm().epollControl(epoll, 'add', event, Epoll.in, 1);
  const failure = (code: string) => expect.objectContaining({ code, syscall: 'epoll_ctl' });
  expect(() => shm().epollControl(epoll, 'add', event, Epoll.in, 1)).toThrow(failure('EEXIST'));
  expect(() => shm().epollControl(epoll, 'add', epoll, Epoll.in, 1)).toThrow(failure('EINVAL'));
  shm().epollControl(epoll, 'delete', event, 0, 0);
  expect(() => shm().epollControl(epoll, 'delete', event, 0, 0)).toThrow(failure('ENOENT'));
});

test('a thread that waits for ever is woken by another', async () => {
  const answer = shm().eventfd();
  const waiting = thread(
    `const out = new Int32Array(2); const ep = shm.epollCreate(); shm.epollControl(ep, 'add', data.event, 1, 9);
     shm.eventfdSignal(data.answer); const n = shm.epollWait(ep, out, -1); shm.close(ep);
     parentPort.postMessage([n, out[0], shm.eventfdTake(data.event)]);`,
    { event, answer },
  );
  shm().epollControl(epoll, 'add', answer, Epoll.in, 1);
  while (shm().epollWait(epoll, out, 0) === 0) await new Promise((resolve) => setImmediate(resolve));
  shm().eventfdSignal(event);
  expect(await resultOf(waiting)).toEqual([1, 9, 1]);
  shm().close(answer);
});
