import { hashTag, multiplier } from './hash.js';
import type { TagView } from './types.js';

/** Tags that a set may have room for: as many as one lease can ever have requests in flight. */
const MAX_CAPACITY = 65_536;

/**
 * The tags of the requests in flight on one queue: a set of 64-bit numbers, each given as two unsigned 32-bit words.
 *
 * Open addressing with linear probing in a table that is at most half full, so that a search ends soon; deleting shifts later tags back, so
 * that no tombstones gather and a long-lived queue stays as fast as a new one. Allocates nothing after construction.
 */
export class TagSet implements TagView {
  /** Most tags at a time. */
  readonly capacity: number;
  readonly #mask: number;
  readonly #shift: number;
  readonly #first: number;
  readonly #second: number;
  /** Two words of each slot, low and high. */
  readonly #words: Uint32Array;
  readonly #used: Uint8Array;
  #size = 0;

  /**
   * A set for `capacity` tags (1 to 65536). `seed` is 32 random bits that clients do not know, so that none can aim for collisions.
   * Throws RangeError for a capacity out of range.
   */
  constructor(capacity: number, seed: number) {
    if (!Number.isInteger(capacity) || capacity < 1 || capacity > MAX_CAPACITY) {
      throw new RangeError(`capacity ${capacity} is not a whole number from 1 to ${MAX_CAPACITY}`);
    }
    this.capacity = capacity;
    // The upper bits of the hash choose the slot: 2^n slots, the least n with 2^n >= 2 x capacity.
    this.#shift = Math.clz32(2 * capacity - 1);
    const slots = 2 ** (32 - this.#shift);
    this.#mask = slots - 1;
    this.#first = multiplier(seed);
    this.#second = multiplier(this.#first);
    this.#words = new Uint32Array(2 * slots);
    this.#used = new Uint8Array(slots);
  }

  get size(): number {
    return this.#size;
  }

  has(low: number, high: number): boolean {
    return this.#find(low, high) >= 0;
  }

  /** False if the tag is there already. Throws RangeError when the set is full, which admission has to prevent. */
  add(low: number, high: number): boolean {
    const found = this.#find(low, high);
    if (found >= 0) return false;
    if (this.#size >= this.capacity) throw new RangeError(`more than ${this.capacity} tags in flight`);
    this.#put(~found, low, high);
    this.#size += 1;
    return true;
  }

  /** False if the tag is not there. */
  delete(low: number, high: number): boolean {
    const found = this.#find(low, high);
    if (found < 0) return false;
    this.#close(found);
    this.#size -= 1;
    return true;
  }

  clear(): void {
    this.#used.fill(0);
    this.#size = 0;
  }

  #home(low: number, high: number): number {
    return hashTag(low, high, this.#first, this.#second) >>> this.#shift;
  }

  /** The slot of a tag, or the complement of the free slot where it would go. Ends because half of the slots are free. */
  #find(low: number, high: number): number {
    const words = this.#words;
    let slot = this.#home(low, high);
    while (this.#used[slot] !== 0) {
      if (words[2 * slot] === low && words[2 * slot + 1] === high) return slot;
      slot = (slot + 1) & this.#mask;
    }
    return ~slot;
  }

  #put(slot: number, low: number, high: number): void {
    this.#words[2 * slot] = low;
    this.#words[2 * slot + 1] = high;
    this.#used[slot] = 1;
  }

  /** Empties a slot, and moves back into the gap each later tag of the run that may lie there: not before its home. */
  #close(gap: number): void {
    const words = this.#words;
    const mask = this.#mask;
    let hole = gap;
    for (let slot = (gap + 1) & mask; this.#used[slot] !== 0; slot = (slot + 1) & mask) {
      const low = words[2 * slot];
      const high = words[2 * slot + 1];
      const fromHome = (slot - this.#home(low, high)) & mask;
      const fromHole = (slot - hole) & mask;
      if (fromHome >= fromHole) {
        this.#put(hole, low, high);
        hole = slot;
      }
    }
    this.#used[hole] = 0;
  }
}
