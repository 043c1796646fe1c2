/** The clients of `admit.mjs`: takes what was completed and writes the next batch of every tenant, each time it is told to. */
import { workerData } from 'node:worker_threads';
import { ENTRY_HALVES, ENTRY_WORDS, Operation, packEntry } from '../dist/protocol/index.js';
import { Channel } from '../dist/server/engine/channel.js';
import { BATCH, GENERATION, REGIONS, SHARE_BLOCKS, TENANTS, leaseOf, regionOf } from './admit-shape.mjs';

/** Entries that each tenant has ready; taken in turn. */
const READY = 1024;
/** One in so many asks for blocks beyond its share. */
const REFUSED = 100;
const PAGE_BYTES = 4096;

const { memories, turns } = workerData;
const nobody = { wakeEngine() {} };
const channels = memories.map((memory, index) => new Channel(index, memory, { push: () => true }, nobody));
const completion = new BigUint64Array(4);

let state = 0x2545_f491;
function below(limit) {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % limit;
}

const entries = channels.map((_, tenant) => {
  const words = new Uint32Array(READY * ENTRY_WORDS);
  for (let index = 0; index < READY; index++) {
    packEntry(words, index * ENTRY_WORDS, {
      operation: below(2) === 0 ? Operation.read : Operation.write,
      flags: 0,
      share: 0,
      generation: GENERATION,
      tag: BigInt(index),
      lba: BigInt(below(REFUSED) === 0 ? SHARE_BLOCKS : below(SHARE_BLOCKS - 1)),
      blocks: 2,
      region: regionOf(below(REGIONS)),
      offset: BigInt(below(8) * PAGE_BYTES),
      length: 2 * PAGE_BYTES,
      lease: leaseOf(tenant),
      queue: 0,
    });
  }
  return new BigUint64Array(words.buffer);
});

for (let turn = 1; ; turn++) {
  Atomics.wait(turns, 0, turn - 1);
  const first = (turn * BATCH) % READY;
  for (let tenant = 0; tenant < TENANTS; tenant++) {
    const channel = channels[tenant];
    while (channel.take(completion, 0) >= 0);
    for (let index = 0; index < BATCH; index++) channel.push(entries[tenant], (first + index) * ENTRY_HALVES, 0);
    channel.commit();
  }
  Atomics.store(turns, 1, turn);
}
