/** Entries and completions on rings in shared memory, data in a region that this process has mapped: no message, and mostly no system call. */
import { shm } from '../native/shm.js';
import { Operation } from '../protocol/index.js';
import type { Carrier, RingIndices } from './carrier.js';
import { malformed, refusal } from './errors.js';
import type { Request } from './request.js';
import type { SharedRing } from './shared-ring.js';
import type { StagingMemory } from './staging-memory.js';

export interface RingCarrierOptions {
  readonly ring: SharedRing;
  readonly staging: StagingMemory;
  readonly depth: number;
  /** Whether a request that was given up may still be worked on (queues that are shared): its memory is then never used again. */
  readonly outlives: boolean;
  /** Entries were sent. */
  readonly onSent: () => void;
  /** The rings were taken away. */
  readonly onRevoked: () => void;
  readonly onEnd: () => void;
}

export class RingCarrier implements Carrier {
  readonly words: Uint32Array;
  readonly flag = 0;
  readonly submit = 0;
  readonly region: number;
  count = 0;
  offset = 0;
  readonly #options: RingCarrierOptions;
  readonly #ring: SharedRing;
  readonly #staging: StagingMemory;
  /** Of each slot: where its data lie in the staging memory, and how many; 0 bytes where it has none. */
  readonly #offsets: Float64Array;
  readonly #lengths: Uint32Array;
  #ended = false;

  constructor(options: RingCarrierOptions) {
    this.#options = options;
    this.#ring = options.ring;
    this.#staging = options.staging;
    this.words = options.ring.words;
    this.region = options.staging.region;
    this.#offsets = new Float64Array(options.depth);
    this.#lengths = new Uint32Array(options.depth);
  }

  reserve(request: Request, length: number, retry: () => void): boolean {
    if (!request.inline) return true;
    const offset = this.#staging.take(length, retry);
    if (offset >= 0) {
      this.offset = offset;
      return true;
    }
    if (length > this.#staging.bytes.length - this.#staging.lost) {
      // What was lost to requests that were given up does not come back on this lease.
      request.fail(refusal(`${request.name} in ${request.place}`, 'stagingFull', length));
    }
    return false;
  }

  add(request: Request, slot: number, length: number): number {
    this.#lengths[slot] = request.inline ? length : 0;
    this.#offsets[slot] = this.offset;
    if (request.inline && request.operation !== Operation.read && request.memory !== undefined) {
      this.#staging.bytes.set(request.memory.subarray(request.taken, request.taken + length), this.offset);
    }
    this.count++;
    return this.#ring.next();
  }

  send(): void {
    this.count = 0;
    this.#ring.commit();
    this.#options.onSent();
  }

  arrived(): void {
    throw malformed('completions in a message, of a queue that has shared rings');
  }

  take(completions: BigUint64Array, most: number): number {
    if (this.#ended) return 0;
    const count = this.#ring.take(completions, most);
    if (count >= 0) return count;
    this.#options.onRevoked();
    return 0;
  }

  deliver(request: Request, slot: number, at: number, length: number): void {
    const offset = this.#offsets[slot];
    // Nobody waits for the data of an aborted request.
    request.memory?.set(this.#staging.bytes.subarray(offset, offset + length), at);
  }

  release(slot: number, uncertain: boolean): void {
    const length = this.#lengths[slot];
    if (length === 0) return;
    this.#lengths[slot] = 0;
    this.#staging.give(this.#offsets[slot], length, uncertain && this.#options.outlives);
  }

  wake(): void {
    this.#staging.wake();
  }

  indices(): RingIndices | undefined {
    return this.#ended ? undefined : this.#ring.indices();
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#ring.end();
    shm().unmap(this.#staging.bytes.buffer as ArrayBuffer);
    this.#options.onEnd();
  }
}
