/** A program with the SDK over shared memory: reads of 4 KiB into a mapped region, and every byte that was read is checked. */
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '../dist/client/index.js';
import { answerCalls } from './child.mjs';
import { percentile, rate } from './measure.mjs';
import { mostPerSecond, openLoop } from './open-loop.mjs';
import { BLOCK_BYTES, checkBlock, checkEnds, patterned } from './pattern.mjs';

const BLOCKS = 256;
const QUEUE_ENTRIES = 256;
/** Batches that take turns for the same memory. */
const VARIANTS = 5;

const expected = patterned(BLOCKS);
let client;
let device;
let share;
let region;
let memory;
let words;

/** Another block each time, so that what an earlier read left in the region is never right. */
const blockOf = (turn) => (turn * 61) % BLOCKS;

/** Reads of `requests` blocks to the lane's part of the region. */
function batchOf(lane, variant, requests) {
  const batch = share.batch();
  const blocks = Array.from({ length: requests }, (_, index) => blockOf(variant * requests + index));
  for (const [index, block] of blocks.entries()) batch.readInto(region, (lane * requests + index) * BLOCK_BYTES, block * BLOCK_BYTES, BLOCK_BYTES);
  return { batch, blocks };
}

/** Runs `work` with a function that reads a block and then calls what it was given. Throws what went wrong with any of the reads. */
async function withReads(work) {
  const places = Array.from({ length: region.bytes / BLOCK_BYTES }, (_, index) => index * BLOCK_BYTES);
  /** Reads that were asked for while all the memory was in use, from `next` on. */
  const late = [];
  let next = 0;
  let failure;
  let turn = 0;
  const read = async (place, ended) => {
    const block = blockOf(turn++);
    try {
      await share.readInto(region, place, block * BLOCK_BYTES, BLOCK_BYTES);
      ended();
      checkEnds(words, place, block);
    } catch (error) {
      failure ??= error;
      ended();
    }
    if (next < late.length) void read(place, late[next++]);
    else places.push(place);
  };
  const result = await work((ended) => {
    if (places.length > 0) void read(places.pop(), ended);
    else late.push(ended);
  });
  if (failure !== undefined) throw failure;
  return result;
}

answerCalls({
  async open(socket, tenant, { poll = 'busy', regionBlocks = 64 } = {}) {
    client = await connect({ socket, tenant, transport: 'shm' });
    device = await client.openDevice('nvme0', { queueEntries: QUEUE_ENTRIES, poll });
    share = device.share();
    region = await client.allocate(regionBlocks * BLOCK_BYTES);
    memory = Buffer.from((await region.map()).buffer);
    words = new Uint32Array(memory.buffer);
    await share.write(0, expected);
  },

  /** Percentiles in microseconds of reads one after the other; `pause` milliseconds between them. */
  async roundTrips(count, pause = 0) {
    const taken = [];
    const warm = Math.ceil(count / 10);
    for (let turn = 0; turn < warm + count; turn++) {
      if (pause > 0) await sleep(pause);
      const block = blockOf(turn);
      const start = performance.now();
      await share.readInto(region, 0, block * BLOCK_BYTES, BLOCK_BYTES);
      const end = performance.now();
      checkBlock(memory, 0, expected, block);
      if (turn >= warm) taken.push((end - start) * 1000);
    }
    taken.sort((a, b) => a - b);
    return { p50: percentile(taken, 0.5), p99: percentile(taken, 0.99) };
  },

  /**
   * Reads a second: `depth` batches of `requests` under way. Each is made beforehand and sent again and again, in turns with others for the same memory. Of
   * every read the first and the last word are checked, and all of it of one in a batch, or (`whole`) of every one.
   */
  async rate(milliseconds, depth, requests, whole = false) {
    const lanes = Array.from({ length: depth }, (_, lane) => Array.from({ length: VARIANTS }, (_, variant) => batchOf(lane, variant, requests)));
    return rate(milliseconds, depth, requests, async (lane, turn) => {
      const { batch, blocks } = lanes[lane][turn % VARIANTS];
      await batch.submit();
      const first = lane * requests;
      for (let index = 0; index < requests; index++) {
        if (whole || index === turn % requests) checkBlock(memory, (first + index) * BLOCK_BYTES, expected, blocks[index]);
        else checkEnds(words, (first + index) * BLOCK_BYTES, blocks[index]);
      }
    });
  },

  /** Reads a second, each on its own, with `depth` under way. */
  most: (milliseconds, depth) => withReads((send) => mostPerSecond(milliseconds, depth, send)),

  /** Percentiles of reads that are due `rate` times a second, each on its own. */
  openLoop: (milliseconds, rate) => withReads((send) => openLoop(milliseconds, rate, send)),
});
