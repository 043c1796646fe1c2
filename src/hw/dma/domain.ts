/**
 * The regions of one domain as one device sees them: what the validator looks at, what translation reads, and what is in flight.
 *
 * A handle is `slot | sequence << 16`. The slot is an index, so a lookup costs the same with one region and with thousands.
 */
import type { DmaMemory } from '../backing.js';

const FIRST_SLOTS = 16;

export class DeviceDomain {
  /** Of each slot: the handle of its usable region, or 0. Replaced by a longer array when it grows; read it through the domain. */
  handles = new Uint32Array(FIRST_SLOTS);
  /** Bytes of each region. */
  bytes = new Float64Array(FIRST_SLOTS);
  /** Requests in flight that use the region in each slot. */
  inFlight = new Int32Array(FIRST_SLOTS);
  /** Memory of each slot; present from `add` to `remove`, longer than the handle is usable. */
  readonly memory: (DmaMemory | undefined)[] = [];
  /** Regions whose memory is here. */
  count = 0;
  /** Bytes of those that are not usable any more. */
  closedBytes = 0;
  /** Of each slot with memory: its handle. */
  readonly #given: number[] = [];

  /** Makes a region usable under `handle`. */
  add(handle: number, memory: DmaMemory): void {
    const slot = handle & 0xffff;
    this.#grow(slot + 1);
    if (this.memory[slot] !== undefined) throw new Error(`region slot ${slot} is taken`);
    this.memory[slot] = memory;
    this.#given[slot] = handle;
    this.count++;
    this.bytes[slot] = memory.bytes;
    this.inFlight[slot] = 0;
    this.handles[slot] = handle;
  }

  /** The memory under `handle`, whether or not requests may still use it. */
  find(handle: number): DmaMemory | undefined {
    const slot = handle & 0xffff;
    return this.#given[slot] === handle ? this.memory[slot] : undefined;
  }

  /** No new request may use the region from now on. */
  close(handle: number): void {
    const slot = handle & 0xffff;
    if (handle === 0 || this.handles[slot] !== handle) return;
    this.handles[slot] = 0;
    this.closedBytes += this.bytes[slot];
  }

  /** Forgets the region, once nothing is in flight on it. */
  remove(handle: number): void {
    const slot = handle & 0xffff;
    if (this.find(handle) === undefined) return;
    if (this.inFlight[slot] !== 0) throw new Error(`region slot ${slot} has ${this.inFlight[slot]} requests in flight`);
    this.close(handle);
    this.closedBytes -= this.bytes[slot];
    this.bytes[slot] = 0;
    this.memory[slot] = undefined;
    this.#given[slot] = 0;
    this.count--;
  }

  #grow(slots: number): void {
    if (slots <= this.handles.length) return;
    const length = 2 ** Math.ceil(Math.log2(slots));
    const handles = new Uint32Array(length);
    handles.set(this.handles);
    this.handles = handles;
    const bytes = new Float64Array(length);
    bytes.set(this.bytes);
    this.bytes = bytes;
    const inFlight = new Int32Array(length);
    inFlight.set(this.inFlight);
    this.inFlight = inFlight;
  }
}
