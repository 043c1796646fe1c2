/** Which lease hears of which vector, and what that costs. */
import { beforeEach, expect, test, vi } from 'vitest';
import type { Interrupts } from '../../../src/hw/backing.js';
import type { EnginePost } from '../../../src/server/engine/control.js';
import { InterruptForwarder } from '../../../src/server/engine/interrupts.js';
import type { ClientQueue } from '../../../src/server/engine/client-queue.js';
import type { Lease } from '../../../src/server/engine/lease.js';

const fired = new Uint32Array(16);
const interrupts = { available: 16, total: 0, fired } as unknown as Interrupts & { total: number; fired: Uint32Array };
const alone = vi.fn((vector: number) => vector !== SHARED_VECTOR);
const SHARED_VECTOR = 15;
let told: unknown[];
let forwarder: InterruptForwarder;
beforeEach(() => {
  interrupts.total = 0;
  interrupts.fired = fired.fill(0);
  told = [];
  const post = { event: (_name: string, args: unknown) => told.push(args) } as unknown as EnginePost;
  forwarder = new InterruptForwarder(interrupts, post, alone);
});

/** A lease whose queue `n` has a queue pair with the n-th hardware vector. */
const lease = (handle: number, kind: string, ...vectors: number[]): Lease =>
  ({ handle, kind, queues: vectors.map((vector, queue) => ({ lease: handle, queue, pair: { vector } })) }) as unknown as Lease;
const queueOf = (owner: Lease, queue = 0): ClientQueue => owner.queues[queue] as ClientQueue;
const fire = (vector: number, count = 1): void => {
  fired[vector] += count;
  interrupts.total += count;
};
const turn = (): unknown[] => {
  forwarder.turn();
  return told.splice(0);
};

test('a turn on which nothing happens looks at no binding and at no counter', () => {
  for (let handle = 1; handle <= 100; handle++) forwarder.tellSession(lease(handle, 'own', 1 + (handle % 8)), 0, true);
  turn();
  alone.mockClear();
  const counters = vi.fn(() => fired);
  Object.defineProperty(interrupts, 'fired', { get: counters, configurable: true });
  for (let count = 0; count < 10; count++) expect(turn()).toEqual([]);
  Object.defineProperty(interrupts, 'fired', { value: fired, writable: true });
  expect(counters).not.toHaveBeenCalled();
  expect(alone).not.toHaveBeenCalled();
});

test('messages of a lease\u2019s own pair are counted, whether they come before its completions or after', () => {
  const [a, b] = [lease(1, 'own', 3), lease(2, 'own', 4)];
  fire(3, 7);
  forwarder.tellSession(a, 0, true);
  forwarder.tellSession(b, 0, true);
  fire(3, 2);
  expect(turn()).toEqual([[1, 0, 2]]);
  forwarder.completed(queueOf(a));
  expect(turn()).toEqual([]);
  fire(3);
  fire(4);
  expect(turn()).toEqual([
    [1, 0, 1],
    [2, 0, 1],
  ]);
  // Enabled again: counters start again.
  fired.fill(0);
  fire(3);
  expect(turn()).toEqual([[1, 0, 1]]);
});

test('where a vector is not the lease\u2019s alone, only its own completions count', () => {
  const [a, b] = [lease(1, 'own', SHARED_VECTOR), lease(2, 'shared', 5)];
  for (const each of [a, b]) forwarder.tellSession(each, 0, true);
  fire(SHARED_VECTOR, 5);
  fire(5, 5);
  expect(turn()).toEqual([]);
  forwarder.completed(queueOf(a));
  forwarder.completed(queueOf(b));
  forwarder.completed(queueOf(b));
  expect(turn()).toEqual([
    [1, 0, 1],
    [2, 0, 2],
  ]);
  expect(turn()).toEqual([]);
});

test('what an earlier user of a vector got is not told to the next', () => {
  const a = lease(1, 'own', 3);
  forwarder.tellSession(a, 0, true);
  fire(6, 40);
  // A reset of the lease gave its queue another pair.
  Object.assign(queueOf(a), { pair: { vector: 6 } });
  expect(turn()).toEqual([]);
  fire(6);
  forwarder.completed(queueOf(a));
  expect(turn()).toEqual([[1, 0, 1]]);
  fire(6, 3);
  expect(turn()).toEqual([[1, 0, 3]]);
});

test('a vector that is unbound, or whose lease has ended, is not told', () => {
  const [a, b] = [lease(1, 'own', 3, 4), lease(2, 'own', 5)];
  for (const [each, vector] of [
    [a, 0],
    [a, 1],
    [b, 0],
  ] as const)
    forwarder.tellSession(each, vector, true);
  forwarder.completed(queueOf(b));
  forwarder.tellSession(a, 0, false);
  forwarder.release(2);
  for (const vector of [3, 4, 5]) fire(vector);
  expect(turn()).toEqual([[1, 1, 1]]);
});
