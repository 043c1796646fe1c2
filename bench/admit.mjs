/**
 * What a validated request costs the engine, without a device and without threads of its own: the entry is copied, judged, and written as an NVMe command
 * with two PRPs; then its completion is checked and posted. Another thread writes the entries: for 64 tenants with 64 regions each, at random, one in a
 * hundred to be refused.
 */
import { Worker } from 'node:worker_threads';
import { DeviceDomain } from '../dist/hw/dma/index.js';
import { QueuePair } from '../dist/hw/nvme/index.js';
import { ALL_OPERATIONS, Right } from '../dist/protocol/index.js';
import { createChannelMemory } from '../dist/server/engine/channel.js';
import { ClientQueue } from '../dist/server/engine/client-queue.js';
import { TenantStatistics, createStatisticsMemory } from '../dist/server/engine/counters.js';
import { inlineRequestPath } from '../dist/server/engine/inlining.js';
import { Lease } from '../dist/server/engine/lease.js';
import { RequestPath } from '../dist/server/engine/request-path.js';
import { RequestTable } from '../dist/server/engine/request-table.js';
import { TenantState } from '../dist/server/engine/tenant-state.js';
import { shm } from '../dist/native/shm.js';
import { BATCH, GENERATION, REGIONS, REGION_BYTES, SHARE_BLOCKS, TENANTS, leaseOf, regionOf } from './admit-shape.mjs';
import { answerCalls } from './child.mjs';

const PAGE_BYTES = 4096;
const RING_ENTRIES = 64;
const PAIR_ENTRIES = 1024;
/** Tenants whose batches fit into the queue pair together. */
const GROUP = 16;
const SUBMISSION_DOORBELL = 0x1008;

const queues = [];
const path = new RequestPath(performance.timeOrigin);
const device = makeDevice();
let writer;

/** Memory with made-up bus addresses: nobody does DMA here. */
function memoryOf(bytes, address, buffer = new ArrayBuffer(0)) {
  const pages = bytes / PAGE_BYTES;
  return { bytes, buffer, pageLow: Uint32Array.from({ length: pages }, (_, page) => address + page * PAGE_BYTES), pageHigh: new Uint32Array(pages) };
}

function sliceOf(bytes, address) {
  const buffer = new ArrayBuffer(bytes);
  const memory = memoryOf(bytes, address, buffer);
  return {
    bytes,
    memory,
    offset: 0,
    busLow: address,
    busHigh: 0,
    u8: new Uint8Array(buffer),
    u32: new Uint32Array(buffer),
    u64: new BigUint64Array(buffer),
  };
}

/** A queue pair, and what a device would do with it: `complete` ends every command that was rung. */
function makeDevice() {
  const memory = {
    submission: sliceOf(PAIR_ENTRIES * 64, 0x10_0000),
    completion: sliceOf(PAIR_ENTRIES * 16, 0x20_0000),
    lists: sliceOf(PAIR_ENTRIES * PAGE_BYTES, 0x40_0000),
  };
  const [commands, completions] = [memory.submission.u32, memory.completion.u32];
  let [rung, head, tail, phase] = [0, 0, 0, 1];
  const bar = {
    write32(offset, value) {
      if (offset === SUBMISSION_DOORBELL) rung = value;
    },
  };
  const complete = () => {
    while (head !== rung) {
      const identifier = commands[head * 16] >>> 16;
      head = (head + 1) % PAIR_ENTRIES;
      completions[tail * 4 + 2] = head | (1 << 16);
      completions[tail * 4 + 3] = identifier | (phase << 16);
      tail = (tail + 1) % PAIR_ENTRIES;
      if (tail === 0) phase ^= 1;
    }
  };
  return { pair: new QueuePair(bar, 0, 1, PAIR_ENTRIES, -1, memory), complete };
}

function makeQueue(index) {
  const rates = { operations: 0, bytes: 0 };
  const tenant = new TenantState(index, `tenant${index}`, 100, rates, new TenantStatistics(createStatisticsMemory()));
  const domain = new DeviceDomain();
  for (let region = 0; region < REGIONS; region++) {
    domain.add(regionOf(region), memoryOf(REGION_BYTES, 0x1000_0000 + (index * REGIONS + region) * REGION_BYTES));
  }
  const share = { blocks: SHARE_BLOCKS, blockShift: 12, access: Right.read | Right.write, operations: ALL_OPERATIONS, maxBlocks: 32 };
  const lease = new Lease({
    handle: leaseOf(index),
    tenant,
    session: index,
    domainId: index,
    domain,
    mode: 'shared',
    kind: 'shared',
    maxQueues: 1,
    grant: { shares: [share], maxInFlight: 1024 },
    windows: [{ namespace: 1, firstBlock: index * SHARE_BLOCKS }],
    generation: GENERATION,
  });
  const memory = createChannelMemory(RING_ENTRIES);
  const queue = new ClientQueue(lease, 0, index, memory, 0x1234_5678 + index);
  queue.pair = device.pair;
  queues.push(queue);
  return memory;
}

function submitGroup(first) {
  for (let index = first; index < first + GROUP; index++) {
    const queue = queues[index];
    const requests = queue.available();
    queue.prefetch(requests);
    for (let left = requests; left > 0; left--) path.takeOne(queue);
    queue.publishHead();
  }
  path.ring(device.pair);
}

function completeGroup() {
  device.pair.reap(path);
  for (const queue of path.dirty) queue.publishCompletions();
  path.dirty.length = 0;
}

/** The other thread takes the completions and writes the next batch of every tenant. */
function nextBatches(turn) {
  Atomics.store(writer.turns, 0, turn);
  Atomics.notify(writer.turns, 0);
  while (Atomics.load(writer.turns, 1) !== turn) shm().yieldProcessor();
}

answerCalls({
  async open() {
    inlineRequestPath();
    path.tables.set(device.pair, new RequestTable(device.pair.capacity));
    const memories = Array.from({ length: TENANTS }, (_, index) => makeQueue(index));
    const turns = new Int32Array(new SharedArrayBuffer(8));
    const worker = new Worker(new URL('admit-writer.mjs', import.meta.url), { workerData: { memories, turns } });
    worker.unref();
    writer = { turns };
  },

  /** Nanoseconds for a request: all of it, and its first half. */
  cost(count) {
    let [submitting, completing] = [0, 0];
    let done = 0;
    let turn = Atomics.load(writer.turns, 1);
    for (; done < count; done += TENANTS * BATCH) {
      nextBatches(++turn);
      for (let first = 0; first < TENANTS; first += GROUP) {
        path.now = performance.now();
        const start = performance.now();
        submitGroup(first);
        const submitted = performance.now();
        device.complete();
        const completed = performance.now();
        completeGroup();
        submitting += submitted - start;
        completing += performance.now() - completed;
      }
    }
    return { submit: (submitting * 1e6) / done, all: ((submitting + completing) * 1e6) / done };
  },

  /** Nanoseconds for a system call. */
  getppid(count) {
    const start = performance.now();
    shm().getppid(count);
    return ((performance.now() - start) * 1e6) / count;
  },
});
