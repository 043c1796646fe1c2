/** A program with the SDK, as tenants write them. */
import { connect } from '../dist/client/index.js';
import { answerCalls } from './child.mjs';
import { percentile, rate, roundTrips } from './measure.mjs';

const BLOCK_BYTES = 4096;
/** Requests of one benchmark stay within so many bytes of the share, which are written first. */
const AREA_BYTES = 4 << 20;
const BLOCKS = AREA_BYTES / BLOCK_BYTES;
const QUEUE_ENTRIES = 512;

let share;
let region;
const clients = [];

async function openShare(socket, tenant) {
  // What is measured here is the way of messages.
  const client = await connect({ socket, tenant, transport: 'socket' });
  clients.push(client);
  const device = await client.openDevice('nvme0', { queueEntries: QUEUE_ENTRIES });
  return { client, share: device.share() };
}

/** Offset of the next block of a lane, so that no two requests of a lane in a row are for the same one. */
const offsetOf = (lane, turn) => ((lane * 61 + turn) % BLOCKS) * BLOCK_BYTES;

answerCalls({
  async open(socket, tenant) {
    const opened = await openShare(socket, tenant);
    share = opened.share;
    region = await opened.client.allocate(AREA_BYTES);
    await share.write(0, Buffer.alloc(AREA_BYTES, 0x5a));
  },

  async roundTrips(count) {
    const taken = await roundTrips(count, () => share.flush());
    return { p50: percentile(taken, 0.5), p99: percentile(taken, 0.99) };
  },

  /**
   * Write Zeroes of one block each: a command of its own on the device, and no data anywhere. A lane sends the same batch again and again, as the echo's
   * client does with its message.
   */
  batches(milliseconds, depth, requests) {
    const batches = Array.from({ length: depth }, (_, lane) => {
      const batch = share.batch();
      for (let index = 0; index < requests; index++) batch.writeZeroes(AREA_BYTES + offsetOf(lane, index), BLOCK_BYTES);
      return batch;
    });
    return rate(milliseconds, depth, requests, (lane) => batches[lane].submit());
  },

  /** Reads of a block each, `depth` of them under way; the data travel in the messages. */
  reads: (milliseconds, depth) => rate(milliseconds, depth, 1, (lane, turn) => share.read(offsetOf(lane, turn), BLOCK_BYTES)),

  /** Batches of reads into a region, whose data do not travel. */
  regionReads: (milliseconds, depth, requests) =>
    rate(milliseconds, depth, requests, (lane, turn) => {
      const batch = share.batch();
      for (let index = 0; index < requests; index++) {
        batch.readInto(region, (lane * requests + index) * BLOCK_BYTES, offsetOf(lane, turn * requests + index), BLOCK_BYTES);
      }
      return batch.submit();
    }),

  /** Each of the tenants connects, opens a queue, and reads a block. */
  async openAll(socket, tenants) {
    for (const tenant of tenants) {
      const { share } = await openShare(socket, tenant);
      await share.read(0, BLOCK_BYTES);
    }
  },
});
