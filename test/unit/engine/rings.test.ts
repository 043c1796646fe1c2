import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { COMPLETION_WORDS, CompletionRing, CompletionWord, ENTRY_WORDS, RequestRing } from '../../../src/protocol/index.js';
import { DeviceDomain } from '../../../src/hw/dma/index.js';
import { Channel, createChannelMemory } from '../../../src/server/engine/channel.js';
import { ClientQueue } from '../../../src/server/engine/client-queue.js';
import { Counters, TenantStatistics } from '../../../src/server/engine/counters.js';
import { IdRing } from '../../../src/server/engine/id-ring.js';
import { Lease } from '../../../src/server/engine/lease.js';
import type { Signals } from '../../../src/server/engine/signals.js';
import { TenantState } from '../../../src/server/engine/tenant-state.js';

function makeLease(): Lease {
  const statistics = new TenantStatistics(new Counters().memory(0));
  return new Lease({
    handle: 7,
    tenant: new TenantState(0, 'a', 1, { operations: 0, bytes: 0 }, statistics),
    session: 1,
    domainId: 1,
    domain: new DeviceDomain(),
    mode: 'shared',
    kind: 'own',
    maxQueues: 4,
    grant: { shares: [], maxInFlight: 64 },
    windows: [],
    generation: 1,
  });
}

/** The same memory as 64-bit halves. */
const halvesOf = (words: Uint32Array): BigUint64Array => new BigUint64Array(words.buffer);
/** Pushes `entry`, and takes the next request into it. */
const push = (channel: Channel, entry: Uint32Array, cookie: number): void => channel.push(halvesOf(entry), 0, cookie);
const take = (queue: ClientQueue, entry: Uint32Array): number => queue.take(halvesOf(entry), 0);

function makeQueue(entries: number) {
  const memory = createChannelMemory(entries);
  const activations = IdRing.create(16);
  let wakes = 0;
  const signals = { wakeEngine: () => wakes++ } as unknown as Signals;
  const queue = new ClientQueue(makeLease(), 0, 3, memory, 12345);
  const channel = new Channel(3, memory, activations, signals);
  return { memory, activations, queue, channel, wakes: () => wakes };
}

describe('the ring of numbers', () => {
  test('gives each number once, in order, and again only after it was taken', () => {
    const ring = IdRing.create(8);
    expect(ring.push(5)).toBe(true);
    expect(ring.push(2)).toBe(true);
    expect(ring.push(5)).toBe(false);
    expect([ring.pop(), ring.pop(), ring.pop()]).toEqual([5, 2, -1]);
    expect(ring.push(5)).toBe(true);
    expect(ring.empty()).toBe(false);
    expect(ring.pop()).toBe(5);
    expect(ring.empty()).toBe(true);
  });

  test('behaves like a set with an order, whatever is done to it', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -1, max: 7 }), { maxLength: 200 }), (steps) => {
        const ring = IdRing.create(8);
        const model: number[] = [];
        for (const step of steps) {
          if (step < 0) expect(ring.pop()).toBe(model.shift() ?? -1);
          else if (ring.push(step)) model.push(step);
          else expect(model).toContain(step);
        }
      }),
    );
  });
});

describe('a queue between two threads', () => {
  test('carries requests one way and completions with their cookies the other', () => {
    const { queue, channel, activations } = makeQueue(4);
    const words = new Uint32Array(ENTRY_WORDS).map((_, index) => index * 3);
    push(channel, words, 42);
    expect(queue.available()).toBe(0);
    channel.commit();
    expect(activations.pop()).toBe(3);
    expect(queue.available()).toBe(1);
    const entry = new Uint32Array(ENTRY_WORDS);
    expect(take(queue, entry)).toBe(42);
    expect([...entry]).toEqual([...words]);
    queue.complete(entry, 42, 0, 0, 0, 0, 0, 4096);
    const completion = new Uint32Array(COMPLETION_WORDS);
    expect(channel.take(halvesOf(completion), 0)).toBe(-1);
    queue.publishCompletions();
    expect(channel.take(halvesOf(completion), 0)).toBe(42);
    expect([...completion]).toEqual([6, 9, 0, 0, 0, 0, 3, 4096]);
    expect(channel.take(halvesOf(completion), 0)).toBe(-1);
  });

  test('does not wake an engine that polls the queue', () => {
    const { queue, channel, wakes, activations } = makeQueue(4);
    queue.awake();
    push(channel, new Uint32Array(ENTRY_WORDS), 0);
    channel.commit();
    expect(wakes()).toBe(0);
    expect(activations.empty()).toBe(true);
    expect(queue.sleep()).toBe(false);
  });

  test('has room for as many requests as the ring is long until their completions are taken', () => {
    const { queue, channel } = makeQueue(2);
    const words = new Uint32Array(ENTRY_WORDS);
    push(channel, words, 0);
    push(channel, words, 1);
    expect(channel.room()).toBe(0);
    expect(() => push(channel, words, 2)).toThrow(RangeError);
    channel.commit();
    take(queue, words);
    queue.complete(words, 0, 0, 0, 0, 0, 0, 0);
    queue.publishCompletions();
    expect(channel.room()).toBe(0);
    channel.take(halvesOf(new Uint32Array(COMPLETION_WORDS)), 0);
    expect(channel.room()).toBe(1);
  });

  test.each([
    ['a tail further than the ring is long', RequestRing.requestTail, 5],
    ['a tail that goes back', RequestRing.requestTail, -1],
    ['a tail half way round', RequestRing.requestTail, 0x8000_0000 | 0],
    ['a completion head beyond what was written', RequestRing.completionHead, 1],
    ['a completion head that goes back', RequestRing.completionHead, -1],
  ])('takes %s for a broken contract', (_name, word, value) => {
    const { queue, memory } = makeQueue(4);
    Atomics.store(new Int32Array(memory.requests), word, value);
    expect(queue.available()).toBe(-1);
  });

  test('takes no request without a free slot for its answer', () => {
    const { queue, memory } = makeQueue(2);
    const indices = new Int32Array(memory.requests);
    Atomics.store(indices, RequestRing.requestTail, 2);
    const entry = new Uint32Array(ENTRY_WORDS);
    for (let index = 0; index < 2; index++) {
      expect(queue.available()).toBe(2 - index);
      take(queue, entry);
      queue.complete(entry, 0, 0, 0, 0, 0, 0, 0);
    }
    Atomics.store(indices, RequestRing.requestTail, 4);
    expect(queue.available()).toBe(0);
    Atomics.store(indices, RequestRing.completionHead, 1);
    expect(queue.available()).toBe(1);
  });

  test('goes on across the wrap of the free-running indices', () => {
    const { queue, channel, memory } = makeQueue(4);
    const entry = new Uint32Array(ENTRY_WORDS);
    const completion = new Uint32Array(COMPLETION_WORDS);
    for (let round = 0; round < 1000; round++) {
      entry[2] = round;
      push(channel, entry, round);
      channel.commit();
      expect(queue.available()).toBe(1);
      expect(take(queue, entry)).toBe(round);
      queue.complete(entry, round, 0, 0, 0, 0, 0, 0);
      queue.publishHead();
      queue.publishCompletions();
      expect(channel.take(halvesOf(completion), 0)).toBe(round);
      expect(completion[CompletionWord.tagLow]).toBe(round);
    }
    expect(new Int32Array(memory.completions)[CompletionRing.requestHead]).toBe(1000);
  });
});
