/**
 * Who asked for the command in each slot of a queue pair, and what it holds until it ends. Kept in one place, in flat arrays, with nothing that points
 * into client memory.
 */
import type { DeviceDomain } from '../../hw/dma/index.js';
import type { ClientQueue } from './client-queue.js';

export class RequestTable {
  /** The queue to answer on; undefined once the request was answered otherwise (abandoned) and only its memory is still held. */
  readonly queue: (ClientQueue | undefined)[];
  /** The queue that asked, for accounting. */
  readonly asker: (ClientQueue | undefined)[];
  readonly domain: (DeviceDomain | undefined)[];
  /** Region slot in the domain, or -1. */
  readonly region: Int32Array;
  readonly tagLow: Uint32Array;
  readonly tagHigh: Uint32Array;
  readonly cookie: Int32Array;
  readonly generation: Uint32Array;
  readonly operation: Uint8Array;
  readonly share: Uint16Array;
  readonly lba: Float64Array;
  readonly blocks: Uint32Array;
  readonly bytes: Uint32Array;
  readonly handle: Uint32Array;
  /**
   * Flushes that wait for the same command: the next slot of the chain, or -1. A follower's slot is claimed and has no command of its own.
   */
  readonly follower: Int32Array;
  /** Slot of the last flush that the device was not told of yet, or -1; another flush of the same queue and namespace joins it. */
  unrungFlush = -1;
  /** 1 while the request is being given up after a timeout. */
  readonly timedOut: Uint8Array;

  constructor(capacity: number) {
    this.queue = Array.from({ length: capacity }, () => undefined);
    this.asker = Array.from({ length: capacity }, () => undefined);
    this.domain = Array.from({ length: capacity }, () => undefined);
    this.region = new Int32Array(capacity).fill(-1);
    this.tagLow = new Uint32Array(capacity);
    this.tagHigh = new Uint32Array(capacity);
    this.cookie = new Int32Array(capacity);
    this.generation = new Uint32Array(capacity);
    this.operation = new Uint8Array(capacity);
    this.share = new Uint16Array(capacity);
    this.lba = new Float64Array(capacity);
    this.blocks = new Uint32Array(capacity);
    this.bytes = new Uint32Array(capacity);
    this.handle = new Uint32Array(capacity);
    this.follower = new Int32Array(capacity).fill(-1);
    this.timedOut = new Uint8Array(capacity);
  }
}
