/** The engine alone, in this process and without threads, on the stepped embedded controller: what a request costs there. */
import { MessageChannel } from 'node:worker_threads';
import { createMemoryFile } from '../dist/hw/dma/index.js';
import { openBacking, prepareBacking } from '../dist/hw/backings.js';
import { systemClock } from '../dist/hw/task.js';
import { shm } from '../dist/native/shm.js';
import { ALL_OPERATIONS, ENTRY_HALVES, ENTRY_WORDS, Operation, Right, packEntry } from '../dist/protocol/index.js';
import { Channel, createChannelMemory } from '../dist/server/engine/channel.js';
import { createStatisticsMemory } from '../dist/server/engine/counters.js';
import { Engine } from '../dist/server/engine/engine.js';
import { IdRing } from '../dist/server/engine/id-ring.js';
import { createMethods } from '../dist/server/engine/methods.js';
import { Signals } from '../dist/server/engine/signals.js';
import { answerCalls } from './child.mjs';

const BLOCK_BYTES = 4096;
const REGION = 0x0100_0001;
const REGION_BYTES = 2 ** 20;
const BATCH = 32;
const SETTINGS = { name: 'nvme0', leaseBase: 0, vectorsCeiling: 64, queuePairsCeiling: 128, commandTimeout: 10_000, spinMicroseconds: 0 };

let engine;
let channel;
const batches = {};
const completion = new Uint32Array(8);
const completionHalves = new BigUint64Array(completion.buffer);

function run(task) {
  for (;;) {
    const step = task.next();
    if (step.done) return step.value;
    engine.turn();
  }
}

function batchOf(fields) {
  const words = new Uint32Array(BATCH * ENTRY_WORDS);
  for (let index = 0; index < BATCH; index++) {
    const common = { flags: 0, share: 0, tag: BigInt(index), lba: BigInt(index), blocks: 1, region: 0, offset: 0n, length: 0 };
    packEntry(words, index * ENTRY_WORDS, { ...common, ...fields(index) });
  }
  return new BigUint64Array(words.buffer);
}

answerCalls({
  async open() {
    const prepared = await prepareBacking({ kind: 'emulated', namespaces: [{ bytes: 2 ** 26, blockBytes: BLOCK_BYTES }] });
    const engineWake = shm().eventfd();
    const signals = new Signals({ words: new SharedArrayBuffer(256), engineWake, mainWaker: shm().createWaker(() => {}) });
    const activations = IdRing.create(64);
    engine = new Engine(
      await openBacking(prepared.handle),
      SETTINGS,
      new MessageChannel().port2,
      signals,
      activations,
      IdRing.create(64),
      systemClock,
    );
    const methods = createMethods(engine);
    run(engine.device.probe());
    const share = { name: 'data', namespace: 1, firstBlock: 0, blocks: 4096, access: Right.read | Right.write, operations: ALL_OPERATIONS };
    const tenant = { tenant: 0, tenantName: 'bench', weight: 100, rates: { operations: 0, bytes: 0 }, session: 0, domain: 0 };
    const { lease, generation } = run(
      methods.openLease({ ...tenant, mode: 'shared', queues: 'shared', shares: [share], maxInFlight: 1024, maxQueues: 1 }, createStatisticsMemory()),
    );
    const memory = createChannelMemory(256);
    const { queue } = run(methods.openQueue(lease, 0, memory, 0x1234_5678));
    channel = new Channel(0, memory, activations, signals);
    run(methods.attachRegion(0, REGION, createMemoryFile('bench', REGION_BYTES), REGION_BYTES, 'bench', 'client', 'direct'));
    const to = { generation, lease, queue };
    const data = (index) => ({ ...to, region: REGION, offset: BigInt(index * BLOCK_BYTES), length: BLOCK_BYTES });
    batches.read = batchOf((index) => ({ ...data(index), operation: Operation.read }));
    batches.writeZeroes = batchOf(() => ({ ...to, operation: Operation.writeZeroes }));
    // The medium has these blocks.
    const writes = batchOf((index) => ({ ...data(index), operation: Operation.write }));
    batches.write = writes;
  },

  /** Nanoseconds for a request of a kind, in batches of 32, from the request ring to the completion ring and out of it. */
  cost(kind, count) {
    const entries = batches[kind];
    const start = performance.now();
    for (let done = 0; done < count; done += BATCH) {
      for (let index = 0; index < BATCH; index++) channel.push(entries, index * ENTRY_HALVES, 0);
      channel.commit();
      for (let taken = 0; taken < BATCH;) {
        engine.turn();
        while (channel.take(completionHalves, 0) >= 0) {
          if ((completion[2] & 0xffff) !== 0) throw new Error(`a request ended with code ${completion[2] & 0xffff}`);
          taken++;
        }
      }
    }
    return ((performance.now() - start) * 1e6) / count;
  },

  /** Nanoseconds for a system call. */
  getppid(count) {
    const start = performance.now();
    shm().getppid(count);
    return ((performance.now() - start) * 1e6) / count;
  },
});
