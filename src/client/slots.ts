/** The requests in flight on one queue, by slot. A tag is the slot (low word) and a sequence number that changes with each use (high word). */
import type { Request } from './request.js';

export class Slots {
  readonly capacity: number;
  readonly requests: (Request | undefined)[];
  /** Of the part in flight: high word of its tag, bytes of data, where they lie in the request's memory, blocks, number of the submit. */
  readonly sequences: Uint32Array;
  readonly bytes: Uint32Array;
  readonly at: Float64Array;
  readonly lbas: Float64Array;
  readonly blocks: Uint32Array;
  readonly submits: Float64Array;
  readonly #free: Uint16Array;
  #freeCount: number;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.requests = Array.from({ length: capacity });
    this.sequences = new Uint32Array(capacity);
    this.bytes = new Uint32Array(capacity);
    this.at = new Float64Array(capacity);
    this.lbas = new Float64Array(capacity);
    this.blocks = new Uint32Array(capacity);
    this.submits = new Float64Array(capacity);
    this.#free = Uint16Array.from({ length: capacity }, (_, index) => capacity - 1 - index);
    this.#freeCount = capacity;
  }

  get free(): number {
    return this.#freeCount;
  }

  /** Takes a slot; only when one is free. */
  take(request: Request): number {
    const slot = this.#free[--this.#freeCount];
    this.requests[slot] = request;
    this.sequences[slot]++;
    return slot;
  }

  /** The request of a tag in flight; undefined for any other tag. */
  find(low: number, high: number): Request | undefined {
    return low < this.capacity && this.sequences[low] === high ? this.requests[low] : undefined;
  }

  give(slot: number): void {
    this.requests[slot] = undefined;
    this.#free[this.#freeCount++] = slot;
  }
}
