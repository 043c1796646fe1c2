/**
 * The requests of a queue pair: in each slot the entry that was judged and whose command the device has, and who asked for it. In the engine's heap, with
 * nothing that points into client memory.
 */
import { Code, ENTRY_WORDS } from '../../protocol/index.js';
import type { ClientQueue } from './client-queue.js';

export class RequestTable {
  /** Of each slot its entry, copied from the client's ring to where it stays until it is answered. Of a free slot whatever was there before. */
  readonly entries: readonly Uint32Array[];
  /** The same memory as 64-bit halves, eight of each slot. */
  readonly halves: BigUint64Array;
  /** The queue that asked, until the device is done with the command; undefined of a free slot. */
  readonly asker: (ClientQueue | undefined)[];
  /** 1 once the request was given up: it was answered, and only its memory is still held. */
  readonly abandoned: Uint8Array;
  /** What comes back with the answer, for the other side of the ring. */
  readonly cookie: Int32Array;
  /** Region slot in the domain of the asker's lease, or -1. */
  readonly region: Int32Array;
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
    const words = new ArrayBuffer(capacity * ENTRY_WORDS * 4);
    this.halves = new BigUint64Array(words);
    this.entries = Array.from({ length: capacity }, (_, slot) => new Uint32Array(words, slot * ENTRY_WORDS * 4, ENTRY_WORDS));
    this.asker = Array.from({ length: capacity }, () => undefined);
    this.abandoned = new Uint8Array(capacity);
    this.cookie = new Int32Array(capacity);
    this.region = new Int32Array(capacity).fill(-1);
    this.follower = new Int32Array(capacity).fill(-1);
    this.timedOut = new Uint8Array(capacity);
  }

  /** The queue that waits for an answer to the request in `slot`; undefined when there is no request, or it was answered otherwise. */
  waiting(slot: number): ClientQueue | undefined {
    return this.abandoned[slot] === 1 ? undefined : this.asker[slot];
  }
}
