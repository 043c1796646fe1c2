/** The main thread's end of a queue: an in-process ring pair of the layout in `protocol/ring.ts`, in memory that both threads share. */
import {
  COMPLETION_HALVES,
  CompletionRing,
  ENTRY_HALVES,
  RING_HEADER_HALVES,
  RequestRing,
  completionRingBytes,
  copyCompletion,
  copyEntry,
  requestRingBytes,
} from '../../protocol/index.js';
import type { QueueChannel } from './api.js';
import type { CompletionWatch } from './completion-watch.js';
import type { IdRing } from './id-ring.js';
import type { Signals } from './signals.js';

/** What both ends share. `cookies` beside the rings carry a number of the producer's to the completion. */
export interface ChannelMemory {
  readonly entries: number;
  readonly requests: ArrayBufferLike;
  readonly completions: ArrayBufferLike;
  readonly requestCookies: ArrayBufferLike;
  readonly completionCookies: ArrayBufferLike;
}

export function createChannelMemory(entries: number): ChannelMemory {
  return {
    entries,
    requests: new SharedArrayBuffer(requestRingBytes(entries)),
    completions: new SharedArrayBuffer(completionRingBytes(entries)),
    requestCookies: new SharedArrayBuffer(entries * 4),
    completionCookies: new SharedArrayBuffer(entries * 4),
  };
}

export class Channel implements QueueChannel {
  readonly entries: number;
  onCompletions: () => void = () => {};
  readonly #id: number;
  readonly #activations: IdRing;
  readonly #signals: Signals;
  #watch: CompletionWatch | undefined;
  readonly #requests: BigUint64Array;
  readonly #requestIndices: Int32Array;
  readonly #completions: BigUint64Array;
  readonly #completionIndices: Int32Array;
  readonly #requestCookies: Int32Array;
  readonly #completionCookies: Int32Array;
  readonly #mask: number;
  #tail = 0;
  #completionHead = 0;
  /** Completions up to here were seen to be there. */
  #knownTail = 0;
  /** Pushed and not yet taken back: no more than the ring is long. */
  #outstanding = 0;

  /** `watch` is told of what goes out and comes back. */
  constructor(id: number, memory: ChannelMemory, activations: IdRing, signals: Signals, watch?: CompletionWatch) {
    this.entries = memory.entries;
    this.#id = id;
    this.#activations = activations;
    this.#signals = signals;
    this.#watch = watch;
    this.#requests = new BigUint64Array(memory.requests);
    this.#requestIndices = new Int32Array(memory.requests);
    this.#completions = new BigUint64Array(memory.completions);
    this.#completionIndices = new Int32Array(memory.completions);
    this.#requestCookies = new Int32Array(memory.requestCookies);
    this.#completionCookies = new Int32Array(memory.completionCookies);
    this.#mask = memory.entries - 1;
  }

  room(): number {
    return this.entries - this.#outstanding;
  }

  push(entries: BigUint64Array, at: number, cookie: number): void {
    if (this.#outstanding === this.entries) throw new RangeError('no room in the request ring');
    const slot = this.#tail & this.#mask;
    copyEntry(this.#requests, RING_HEADER_HALVES + slot * ENTRY_HALVES, entries, at);
    this.#requestCookies[slot] = cookie;
    this.#tail = (this.#tail + 1) | 0;
    this.#outstanding++;
    this.#watch?.pushed();
  }

  commit(): void {
    this.#publishHead();
    Atomics.store(this.#requestIndices, RequestRing.requestTail, this.#tail);
    this.#wake();
    this.#watch?.start();
  }

  take(completions: BigUint64Array, at: number): number {
    if (this.#completionHead === this.#knownTail && !this.#look()) return -1;
    const slot = this.#completionHead & this.#mask;
    copyCompletion(completions, at, this.#completions, RING_HEADER_HALVES + slot * COMPLETION_HALVES);
    const cookie = this.#completionCookies[slot];
    this.#completionHead = (this.#completionHead + 1) | 0;
    this.#outstanding--;
    this.#watch?.taken(1);
    return cookie;
  }

  /** Whether there are completions to take. Called when those that were known are taken: the engine gets their slots back. */
  #look(): boolean {
    this.#publishHead();
    // Requests may have been waiting for these slots.
    if (Atomics.load(this.#completionIndices, CompletionRing.requestHead) !== this.#tail) this.#wake();
    this.#knownTail = Atomics.load(this.#completionIndices, CompletionRing.completionTail);
    return this.#completionHead !== this.#knownTail;
  }

  /** The engine no longer polls a queue that says so: it has to be told. */
  #wake(): void {
    if (Atomics.load(this.#completionIndices, CompletionRing.needsWakeup) !== 1) return;
    this.#activations.push(this.#id);
    this.#signals.wakeEngine();
  }

  /** Gives the engine the slots of all completions that were taken. */
  #publishHead(): void {
    Atomics.store(this.#requestIndices, RequestRing.completionHead, this.#completionHead);
  }

  /** The queue is gone: nobody looks out for what was not answered. */
  end(): void {
    this.#watch?.taken(this.#outstanding);
    this.#watch = undefined;
  }
}
