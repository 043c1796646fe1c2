/** The NVMe driver alone in one process, on QEMU's controller: no server, no validation, no client. It polls and never sleeps. */
import { PageTable, createMemoryFile } from '../dist/hw/dma/index.js';
import { openBacking, prepareBacking } from '../dist/hw/backings.js';
import { NvmOpcode, NvmeDriver, submitTransfer } from '../dist/hw/nvme/index.js';
import { systemClock } from '../dist/hw/task.js';
import { shm } from '../dist/native/shm.js';
import { answerCalls } from './child.mjs';

const BLOCK_BYTES = 4096;
const QUEUE_ENTRIES = 64;
const NAMESPACE = 1;
const MIB = 2 ** 20;

let prepared;
let backing;
let driver;
let pair;
let memory;
let table;

function run(task) {
  for (;;) {
    const step = task.next();
    if (step.done) return step.value;
    backing.poll();
    driver.poll();
  }
}

answerCalls({
  async open(bytes) {
    const drives = [{ bytes: 1024 * MIB, blockBytes: BLOCK_BYTES, content: 'memory' }];
    prepared = await prepareBacking({ kind: 'qemu', drives, mdts: 7, queuePairs: 32, vectors: 33, serial: 'bench' });
    backing = await openBacking(prepared.handle);
    driver = new NvmeDriver(backing, { vectorsCeiling: 64, queuePairsCeiling: 128 });
    run(driver.open());
    pair = run(driver.createPair(QUEUE_ENTRIES));
    memory = run(backing.attach(createMemoryFile('bench', bytes), bytes, { owner: 'bench' }));
    table = PageTable.of(memory);
  },

  /** Reads of a block each, a second: `depth` batches of `requests` in flight, a doorbell for each batch. */
  rate(milliseconds, depth, requests) {
    const blocks = memory.bytes / BLOCK_BYTES;
    let next = 0;
    let failed = 0;
    let completed = 0;
    const sink = {
      completed(_pair, _slot, status) {
        completed++;
        if (status !== 0) failed++;
      },
    };
    const submitBatch = () => {
      const now = systemClock();
      for (let index = 0; index < requests; index++) {
        const block = next++ % blocks;
        submitTransfer(pair, NvmOpcode.read, NAMESPACE, block, 1, false, table, 0, block * BLOCK_BYTES, BLOCK_BYTES, now);
      }
      pair.ring();
    };
    const start = systemClock() + milliseconds / 5;
    const end = start + milliseconds;
    let before = -1;
    let now;
    while ((now = systemClock()) < end) {
      if (before < 0 && now >= start) before = completed;
      while (pair.count <= (depth - 1) * requests) submitBatch();
      // QEMU may be waiting for this very processor.
      if (backing.poll() + pair.reap(sink) === 0) shm().yieldProcessor();
    }
    const done = completed - before;
    while (pair.count > 0) {
      backing.poll();
      pair.reap(sink);
    }
    if (failed > 0) throw new Error(`${failed} reads failed`);
    return done / (milliseconds / 1000);
  },

  async close() {
    run(driver.close());
    backing.dispose();
    await prepared.dispose();
  },
});
