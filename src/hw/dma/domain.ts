/**
 * The regions of one domain as one device sees them: what the validator looks at, what translation reads, and what is in flight.
 *
 * A handle is `slot | sequence << 16`. The slot is an index, so a lookup costs the same with one region and with thousands.
 */
import type { DmaMemory } from '../backing.js';
import { Copies } from './copies.js';
import { PageTable, SPAN_WORDS, Span } from './page-table.js';
import { RegionIndex } from './region-index.js';

export class DeviceDomain {
  /** What sessions may name on behalf of their clients: all usable regions, their staging memory among them. */
  readonly all = new RegionIndex(this);
  /** What clients may name on rings of their own: usable regions that are nobody's staging memory. */
  readonly clients = new RegionIndex(this);
  /** What translation reads: of each slot with memory, the bus addresses of its pages. */
  readonly pages = new PageTable();
  /** Regions that the device does not reach itself; undefined in a domain without any. */
  copies: Copies | undefined;
  /** Memory of each slot; present from `add` to `remove`, longer than the handle is usable. */
  readonly memory: (DmaMemory | undefined)[] = [];
  /** Regions whose memory is here. */
  count = 0;
  /** Bytes of those that are not usable any more. */
  closedBytes = 0;
  /** Of each slot with memory: its handle. */
  readonly #given: number[] = [];
  /** Slots with staging memory, slots that are held, and slots that are closed for good. */
  readonly #staging = new Set<number>();
  readonly #held = new Set<number>();
  readonly #closed = new Set<number>();

  /** Makes a region usable under `handle`. `staging`: by sessions alone. */
  add(handle: number, memory: DmaMemory, staging = false): void {
    const slot = handle & 0xffff;
    if (this.memory[slot] !== undefined) throw new Error(`region slot ${slot} is taken`);
    this.memory[slot] = memory;
    this.pages.add(slot, memory);
    this.#given[slot] = handle;
    this.count++;
    if (staging) this.#staging.add(slot);
    this.#show(slot);
  }

  /** The memory of `handle` is a copy of what the client has: its mapping here, and the file of the copy, both ours from now on. */
  addCopy(handle: number, client: ArrayBuffer, fd: number): void {
    const memory = this.find(handle);
    if (memory === undefined) throw new Error(`region ${handle} has no memory`);
    this.copies ??= new Copies();
    this.copies.add(handle & 0xffff, client, memory, fd);
  }

  /** What the client has under `handle`. */
  clientBuffer(handle: number): ArrayBuffer | undefined {
    return this.copies?.clientBuffer(handle & 0xffff) ?? this.find(handle)?.buffer;
  }

  /** The memory under `handle`, whether or not requests may still use it. */
  find(handle: number): DmaMemory | undefined {
    const slot = handle & 0xffff;
    return this.#given[slot] === handle ? this.memory[slot] : undefined;
  }

  /** Requests in flight that use the region in `slot`. */
  inFlight(slot: number): number {
    return this.pages.spans[SPAN_WORDS * slot + Span.inFlight];
  }

  /** One request more, or less, uses the region in `slot`. Hot path. */
  countInFlight(slot: number, change: 1 | -1): void {
    this.pages.spans[SPAN_WORDS * slot + Span.inFlight] += change;
  }

  /** No new request may use the region until {@link release}. */
  hold(handle: number): void {
    const slot = handle & 0xffff;
    if (this.find(handle) === undefined || this.#closed.has(slot)) return;
    this.#held.add(slot);
    this.#hide(slot);
  }

  /** A region that was held is usable again. */
  release(handle: number): void {
    const slot = handle & 0xffff;
    if (this.find(handle) === undefined || this.#closed.has(slot)) return;
    this.#held.delete(slot);
    this.#show(slot);
  }

  /** No new request may use the region from now on. */
  close(handle: number): void {
    const slot = handle & 0xffff;
    const memory = this.find(handle);
    if (memory === undefined || this.#closed.has(slot)) return;
    this.#closed.add(slot);
    this.#hide(slot);
    this.closedBytes += memory.bytes;
  }

  /** Forgets the region, once nothing is in flight on it. */
  remove(handle: number): void {
    const slot = handle & 0xffff;
    const memory = this.find(handle);
    if (memory === undefined) return;
    const inFlight = this.inFlight(slot);
    if (inFlight !== 0) throw new Error(`region slot ${slot} has ${inFlight} requests in flight`);
    this.close(handle);
    this.closedBytes -= memory.bytes;
    this.memory[slot] = undefined;
    this.pages.remove(slot);
    this.copies?.remove(slot);
    this.#given[slot] = 0;
    for (const set of [this.#staging, this.#held, this.#closed]) set.delete(slot);
    this.count--;
  }

  #show(slot: number): void {
    const bytes = this.memory[slot]?.bytes ?? 0;
    this.all.set(slot, this.#given[slot], bytes);
    if (!this.#staging.has(slot)) this.clients.set(slot, this.#given[slot], bytes);
  }

  #hide(slot: number): void {
    this.all.set(slot, 0, 0);
    this.clients.set(slot, 0, 0);
  }
}
