/** The client's end of a queue's rings in shared memory: `protocol/ring.ts`. */
import {
  COMPLETION_HALVES,
  CompletionRing,
  ENTRY_WORDS,
  RING_HEADER_HALVES,
  RING_HEADER_WORDS,
  RequestRing,
  completionRingBytes,
  copyCompletion,
  requestRingBytes,
} from '../protocol/index.js';
import { shm } from '../native/shm.js';
import type { RingIndices } from './carrier.js';

export class SharedRing {
  readonly entries: number;
  /** The request memory; `next` says where the next entry goes. */
  readonly words: Uint32Array;
  readonly #buffers: readonly ArrayBuffer[];
  readonly #requestIndices: Int32Array;
  readonly #completions: BigUint64Array;
  readonly #completionIndices: Int32Array;
  readonly #mask: number;
  readonly #wakeServer: () => void;
  #tail = 0;
  #head = 0;

  /** Maps both files; the descriptors stay the caller's. `wakeServer` sends a byte on the doorbell. */
  constructor(entries: number, requests: number, completions: number, wakeServer: () => void) {
    const native = shm();
    const requestBuffer = native.map(requests, 0, requestRingBytes(entries), true);
    const completionBuffer = native.map(completions, 0, completionRingBytes(entries), false);
    // The server takes it back by truncation, and at any time.
    native.guard(completionBuffer);
    this.entries = entries;
    this.#buffers = [requestBuffer, completionBuffer];
    this.words = new Uint32Array(requestBuffer);
    this.#requestIndices = new Int32Array(requestBuffer);
    this.#completions = new BigUint64Array(completionBuffer);
    this.#completionIndices = new Int32Array(completionBuffer);
    this.#mask = entries - 1;
    this.#wakeServer = wakeServer;
  }

  /** Index of the words of the next entry. Never more than `entries` requests are in flight, so there is room. */
  next(): number {
    const at = RING_HEADER_WORDS + (this.#tail & this.#mask) * ENTRY_WORDS;
    this.#tail = (this.#tail + 1) | 0;
    return at;
  }

  /** Shows the server what was added. */
  commit(): void {
    Atomics.store(this.#requestIndices, RequestRing.requestTail, this.#tail);
    if (Atomics.load(this.#completionIndices, CompletionRing.needsWakeup) === 1) this.#wakeServer();
  }

  /** Copies completions, at most `most`, and gives their slots back. -1 when the memory is no longer that of the ring: it was taken back. */
  take(into: BigUint64Array, most: number): number {
    const there = (this.#tailNow() - this.#head) | 0;
    const count = Math.min(there, most);
    if (count <= 0) return there < 0 || there > this.entries ? -1 : 0;
    for (let index = 0; index < count; index++) {
      const slot = (this.#head + index) & this.#mask;
      copyCompletion(into, index * COMPLETION_HALVES, this.#completions, RING_HEADER_HALVES + slot * COMPLETION_HALVES);
    }
    // Memory that is taken back reads as zeroes: what was copied counts only if it was there until now.
    const still = (this.#tailNow() - this.#head) | 0;
    if (there > this.entries || still < count || still > this.entries) return -1;
    this.#head = (this.#head + count) | 0;
    Atomics.store(this.#requestIndices, RequestRing.completionHead, this.#head);
    this.#sayThereIsRoom();
    return count;
  }

  /** Whether there is something to take, or the memory is gone. */
  get ready(): boolean {
    return this.#tailNow() !== this.#head;
  }

  /** About to wait for the doorbell, or not any more. */
  sleep(asleep: boolean): void {
    Atomics.store(this.#requestIndices, RequestRing.needsWakeup, asleep ? 1 : 0);
  }

  indices(): RingIndices {
    const [requests, completions] = [this.#requestIndices, this.#completionIndices];
    return {
      requestTail: Atomics.load(requests, RequestRing.requestTail) >>> 0,
      requestHead: Atomics.load(completions, CompletionRing.requestHead) >>> 0,
      completionTail: Atomics.load(completions, CompletionRing.completionTail) >>> 0,
      completionHead: Atomics.load(requests, RequestRing.completionHead) >>> 0,
      clientSleeps: Atomics.load(requests, RequestRing.needsWakeup) === 1,
      serverSleeps: Atomics.load(completions, CompletionRing.needsWakeup) === 1,
    };
  }

  end(): void {
    for (const buffer of this.#buffers) shm().unmap(buffer);
  }

  #tailNow(): number {
    return Atomics.load(this.#completionIndices, CompletionRing.completionTail);
  }

  /** The server may have stopped for want of completion slots. */
  #sayThereIsRoom(): void {
    const indices = this.#completionIndices;
    if (Atomics.load(indices, CompletionRing.needsWakeup) === 1 && Atomics.load(indices, CompletionRing.requestHead) !== this.#tail)
      this.#wakeServer();
  }
}
