import type { DeviceDomain } from './domain.js';

const FIRST_SLOTS = 16;

/** The regions that the requests of a queue may name, as the validator looks at them. */
export class RegionIndex {
  /** Two words of each slot: the handle of its usable region, or 0; and its bytes. Replaced by a longer array when it grows; read it through the index. */
  words = new Uint32Array(2 * FIRST_SLOTS);
  readonly #domain: DeviceDomain;

  constructor(domain: DeviceDomain) {
    this.#domain = domain;
  }

  /** What the client has under `handle`, whether or not requests may still use it. */
  clientBuffer(handle: number): ArrayBuffer | undefined {
    return this.#domain.clientBuffer(handle);
  }

  set(slot: number, handle: number, bytes: number): void {
    if (2 * slot >= this.words.length) this.#grow(slot + 1);
    this.words[2 * slot] = handle;
    this.words[2 * slot + 1] = bytes;
  }

  #grow(slots: number): void {
    const words = new Uint32Array(2 ** Math.ceil(Math.log2(2 * slots)));
    words.set(this.words);
    this.words = words;
  }
}
