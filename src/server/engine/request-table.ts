/**
 * Who asked for the command in each slot of a queue pair, and what it holds until it ends. Kept in one place, in flat arrays, with nothing that points
 * into client memory.
 */
import { Code } from '../../protocol/index.js';
import type { ClientQueue } from './client-queue.js';

/** Of each slot, words that only the answer needs; in one array, because that is what the hot path touches. */
export const REQUEST_WORDS = 16;
export const RequestWord = {
  tagLow: 0,
  tagHigh: 1,
  cookie: 2,
  generation: 3,
  /** As in the entry: operation (7:0), share (31:16). */
  head: 4,
  lbaLow: 5,
  lbaHigh: 6,
  blocks: 7,
  bytes: 8,
  /** The region's handle. */
  handle: 9,
} as const;

export class RequestTable {
  /** The queue to answer on; undefined once the request was answered otherwise (abandoned) and only its memory is still held. */
  readonly queue: (ClientQueue | undefined)[];
  /** The queue that asked, for accounting. */
  readonly asker: (ClientQueue | undefined)[];
  /** Region slot in the domain of the asker's lease, or -1. */
  readonly region: Int32Array;
  /** {@link RequestWord} of slot s from `s * REQUEST_WORDS` on. */
  readonly words: Uint32Array;
  /**
   * Flushes that wait for the same command: the next slot of the chain, or -1. A follower's slot is claimed and has no command of its own.
   */
  readonly follower: Int32Array;
  /** Slot of the last flush that the device was not told of yet, or -1; another flush of the same queue and namespace joins it. */
  unrungFlush = -1;
  /** What requests are told whose commands the device ends because their queue is deleted or they are aborted. */
  endCode: number = Code.reset;
  /** 1 while the request is being given up after a timeout. */
  readonly timedOut: Uint8Array;

  constructor(capacity: number) {
    this.queue = Array.from({ length: capacity }, () => undefined);
    this.asker = Array.from({ length: capacity }, () => undefined);
    this.region = new Int32Array(capacity).fill(-1);
    this.words = new Uint32Array(capacity * REQUEST_WORDS);
    this.follower = new Int32Array(capacity).fill(-1);
    this.timedOut = new Uint8Array(capacity);
  }
}
