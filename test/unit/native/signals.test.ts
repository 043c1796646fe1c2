import { closeSync, mkdtempSync, openSync, readlinkSync, rmdirSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';

import { Epoll, shm } from '../../../src/native/shm.js';
import { FULL_COUNTER, counterOf, makeWritesBlock } from '../../support/hostile-eventfd.js';
import { O_NONBLOCK, descriptorCount, openFlags, resultOf, thread } from './support.js';

const SECOND = 1_000_000;
/** Longer than any test. */
const NEVER = 1_000 * SECOND;

const signals: number[] = [];
const descriptors: number[] = [];
afterEach(() => {
  for (const id of signals.splice(0)) shm().signalEnd(id);
  for (const fd of descriptors.splice(0)) shm().close(fd);
});

/** An eventfd of a client that is bound, and the client's end of it. */
function bound(microseconds = 0, events = 0): { id: number; fd: number } {
  const passed = shm().eventfd();
  const fd = shm().duplicate(passed);
  descriptors.push(fd);
  const id = shm().signalBind(passed, microseconds, events);
  signals.push(id);
  return { id, fd };
}

/** Takes signals until there were `count` of them, and no more. */
async function taken(fd: number, count: number): Promise<void> {
  let seen = 0;
  await expect.poll(() => (seen += shm().eventfdTake(fd))).toBe(count);
}

/** The thread has seen everything that was raised or ended before. Twice, as it may have been in the middle of looking. */
async function seenByThread(): Promise<void> {
  for (let turn = 0; turn < 2; turn++) {
    shm().signalRaise(mark, 1);
    await taken(markFd, 1);
  }
}
const markFd = shm().eventfd();
const mark = shm().signalBind(shm().duplicate(markFd), 0, 0);

describe('a signal', () => {
  test('wakes whoever waits for the eventfd, from any thread', async () => {
    const { id, fd } = bound();
    const epoll = shm().epollCreate();
    descriptors.push(epoll);
    shm().epollControl(epoll, 'add', fd, Epoll.in, 7);
    const worker = thread(`parentPort.postMessage(shm.signalRaise(data, 3));`, id);
    expect(shm().epollWait(epoll, new Int32Array(2), 10 * SECOND)).toBe(1);
    expect(await resultOf(worker)).toBe(true);
    expect(shm().eventfdTake(fd)).toBe(1);
    expect(shm().signalCounters(id)).toEqual({ events: 3, signals: 1 });
  });

  test('goes to its own eventfd', async () => {
    const all = Array.from({ length: 200 }, () => bound());
    for (const [index, { id }] of all.entries()) if (index % 3 === 0) shm().signalRaise(id, 1);
    for (const [index, { fd }] of all.entries()) await taken(fd, index % 3 === 0 ? 1 : 0);
  });

  test('is not lost, however often and from wherever it is raised', async () => {
    const many = Array.from({ length: 8 }, () => bound());
    const workers = [0, 1].map(() =>
      thread(
        `let raised = 0;
         for (let round = 0; round < 20_000; round++) raised += shm.signalRaise(data[round % 8], 1) ? 1 : 0;
         parentPort.postMessage(raised);`,
        many.map(({ id }) => id),
      ),
    );
    expect(await Promise.all(workers.map(resultOf))).toEqual([20_000, 20_000]);
    await seenByThread();
    for (const { id, fd } of many) {
      const counters = shm().signalCounters(id);
      expect(counters?.events).toBe(5_000);
      // Each one that was made came, and one came after the last event.
      await taken(fd, counters?.signals ?? -1);
      expect(counters?.signals).toBeGreaterThan(0);
    }
  });

  test('comes at once, then not sooner than it may', async () => {
    const { id, fd } = bound(NEVER);
    shm().signalRaise(id, 1);
    await taken(fd, 1);
    for (let event = 0; event < 100; event++) shm().signalRaise(id, 1);
    await seenByThread();
    expect(shm().eventfdTake(fd)).toBe(0);
    expect(shm().signalCounters(id)).toEqual({ events: 101, signals: 1 });
  });

  test('comes sooner once enough events wait', async () => {
    const { id, fd } = bound(NEVER, 10);
    shm().signalRaise(id, 1);
    await taken(fd, 1);
    shm().signalRaise(id, 9);
    await seenByThread();
    expect(shm().eventfdTake(fd)).toBe(0);
    shm().signalRaise(id, 1);
    await taken(fd, 1);
  });

  test('comes for the last events, too, when its time has passed', async () => {
    const { id, fd } = bound(SECOND / 50, 10);
    for (let round = 1; round <= 3; round++) {
      shm().signalRaise(id, 1);
      await taken(fd, 1);
    }
    expect(shm().signalCounters(id)).toEqual({ events: 3, signals: 3 });
  });
});

describe('whatever a client does', () => {
  test('a full counter of a blocking eventfd holds up nobody', async () => {
    const [hostile, other] = [bound(), bound()];
    makeWritesBlock(hostile.fd);
    expect([openFlags(hostile.fd) & O_NONBLOCK, counterOf(hostile.fd)]).toEqual([0, FULL_COUNTER]);
    for (let round = 1; round <= 50; round++) {
      expect(shm().signalRaise(hostile.id, 1)).toBe(true);
      shm().signalRaise(other.id, 1);
      await taken(other.fd, 1);
    }
    // The kernel's own signals fill it up to the very end, and go on.
    expect(counterOf(hostile.fd)).toBe(FULL_COUNTER + 1n);
    expect(shm().signalCounters(hostile.id)).toEqual({ events: 50, signals: 50 });
  });

  test('an eventfd that it closed is signalled to nobody', async () => {
    const { id, fd } = bound();
    descriptors.splice(descriptors.indexOf(fd), 1);
    shm().close(fd);
    expect(shm().signalRaise(id, 1)).toBe(true);
    await seenByThread();
  });

  test('a descriptor of another kind is refused, and stays the caller\u2019s', () => {
    const [left, right] = shm().socketpair();
    const folder = mkdtempSync(join(tmpdir(), 'ringwarden-'));
    const path = join(folder, 'anon_inode:[eventfd]');
    const others = [
      left,
      right,
      shm().epollCreate(),
      shm().memfdCreate('anon_inode:[eventfd]', 4096),
      openSync(path, 'w'),
      openSync(folder, 'r'),
      openSync('/dev/null', 'r'),
      openSync('/proc/self/stat', 'r'),
    ];
    for (const fd of others) {
      expect(() => shm().signalBind(fd, 0, 0), readlinkSync(`/proc/self/fd/${fd}`)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
      closeSync(fd);
    }
    expect(() => shm().signalBind(left, 0, 0)).toThrow('EINVAL');
    unlinkSync(path);
    rmdirSync(folder);
  });
});

describe('an id that was ended', () => {
  test('raises nothing, ends nothing, and closes its descriptor', async () => {
    await seenByThread();
    const before = descriptorCount();
    const { id } = bound();
    expect(shm().signalEnd(id)).toBe(true);
    expect([shm().signalRaise(id, 1), shm().signalEnd(id), shm().signalCounters(id)]).toEqual([false, false, undefined]);
    await seenByThread();
    // The client's end is left.
    await expect.poll(() => descriptorCount()).toBe(before + 1);
  });

  test('does not come to stand for the next one in its place', async () => {
    const first = bound();
    shm().signalEnd(first.id);
    await seenByThread();
    let next = bound();
    while (next.id % 4096 !== first.id % 4096) next = bound();
    expect(next.id).not.toBe(first.id);
    expect(shm().signalRaise(first.id, 1)).toBe(false);
    await seenByThread();
    expect(shm().eventfdTake(next.fd)).toBe(0);
  });

  test('leaves nothing: ten thousand, with events that wait', async () => {
    await seenByThread();
    const before = descriptorCount();
    for (let round = 0; round < 100; round++) {
      const ids = Array.from({ length: 100 }, () => shm().signalBind(shm().eventfd(), NEVER, 0));
      for (const id of ids) shm().signalRaise(id, 2);
      for (const id of ids) shm().signalEnd(id);
    }
    await expect.poll(() => descriptorCount()).toBe(before);
  });

  test('has made room: 4096 are bound at once, and one more is refused', async () => {
    await seenByThread();
    const ids = Array.from({ length: 4095 }, () => shm().signalBind(shm().eventfd(), 0, 0));
    const more = shm().eventfd();
    descriptors.push(more);
    expect(() => shm().signalBind(more, 0, 0)).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
    for (const id of ids) shm().signalEnd(id);
    await vi.waitFor(() => expect(() => bound()).not.toThrow(), { timeout: 20_000 });
  });
});

test('a descriptor is closed elsewhere', async () => {
  await seenByThread();
  const before = descriptorCount();
  expect(shm().closeElsewhere(shm().eventfd(), 0)).toBe(true);
  await expect.poll(() => descriptorCount()).toBe(before);
});
