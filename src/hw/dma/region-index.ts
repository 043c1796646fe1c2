import type { DeviceDomain } from './domain.js';

const FIRST_SLOTS = 16;

/** The regions that the requests of a queue may name, as the validator looks at them. */
export class RegionIndex {
  /** Of each slot: the handle of its usable region, or 0. Replaced by a longer array when it grows; read it through the index. */
  handles = new Uint32Array(FIRST_SLOTS);
  /** Bytes of each region. */
  bytes = new Float64Array(FIRST_SLOTS);
  readonly #domain: DeviceDomain;

  constructor(domain: DeviceDomain) {
    this.#domain = domain;
  }

  /** What the client has under `handle`, whether or not requests may still use it. */
  clientBuffer(handle: number): ArrayBuffer | undefined {
    return this.#domain.clientBuffer(handle);
  }

  set(slot: number, handle: number, bytes: number): void {
    if (slot >= this.handles.length) this.#grow(slot + 1);
    this.handles[slot] = handle;
    this.bytes[slot] = bytes;
  }

  #grow(slots: number): void {
    const length = 2 ** Math.ceil(Math.log2(slots));
    const handles = new Uint32Array(length);
    handles.set(this.handles);
    const bytes = new Float64Array(length);
    bytes.set(this.bytes);
    this.bytes = bytes;
    this.handles = handles;
  }
}
