/**
 * The engine's end of a queue of a lease. What the other side writes (tail, completion head) is checked by movement against occupancy; what is
 * decided with (indices, capacities) lives here, in the engine's heap.
 */
import {
  COMPLETION_WORDS,
  Code,
  CompletionRing,
  CompletionWord,
  ENTRY_WORDS,
  RING_HEADER_WORDS,
  RequestRing,
  copyEntry,
} from '../../protocol/index.js';
import { TagSet, type LeaseState } from '../../validator/index.js';
import type { QueuePair } from '../../hw/nvme/index.js';
import type { ChannelMemory } from './channel.js';
import type { Lease } from './lease.js';

export class ClientQueue implements LeaseState {
  /** Index in the lease. */
  readonly queue: number;
  /** The lease's handle. */
  readonly lease: number;
  readonly owner: Lease;
  /** Number by which the two threads speak of this queue. */
  readonly channel: number;
  readonly entries: number;
  readonly tags: TagSet;
  /** The hardware queue pair behind it; undefined while there is none (reset, device lost). */
  pair: QueuePair | undefined;
  /** Requests in flight of this queue. */
  count = 0;
  /** In the scheduler's list of queues that are polled. */
  polled = false;
  /** Has completions that the other side has not been told of. */
  dirty = false;
  /** Turns in a row without a request. */
  idleTurns = 0;
  readonly #requests: Uint32Array;
  readonly #requestIndices: Int32Array;
  readonly #completions: Uint32Array;
  readonly #completionIndices: Int32Array;
  readonly #requestCookies: Int32Array;
  readonly #completionCookies: Int32Array;
  readonly #mask: number;
  #head = 0;
  #knownTail = 0;
  #completionTail = 0;
  #knownCompletionHead = 0;

  constructor(owner: Lease, queue: number, channel: number, memory: ChannelMemory, tagSeed: number) {
    this.owner = owner;
    this.lease = owner.handle;
    this.queue = queue;
    this.channel = channel;
    this.entries = memory.entries;
    this.tags = new TagSet(memory.entries, tagSeed);
    this.#requests = new Uint32Array(memory.requests);
    this.#requestIndices = new Int32Array(memory.requests);
    this.#completions = new Uint32Array(memory.completions);
    this.#completionIndices = new Int32Array(memory.completions);
    this.#requestCookies = new Int32Array(memory.requestCookies);
    this.#completionCookies = new Int32Array(memory.completionCookies);
    this.#mask = memory.entries - 1;
    this.sleep();
  }

  get active(): boolean {
    return this.owner.active && this.pair !== undefined;
  }

  get generation(): number {
    return this.owner.generation;
  }

  get inFlight(): number {
    return this.owner.inFlight;
  }

  get regions(): Lease['domain'] {
    return this.owner.domain;
  }

  /**
   * How many requests can be taken now: written by the client, and with a completion slot free for each answer. -1 when an index moved further than
   * the ring is long: the contract is broken.
   */
  available(): number {
    const tail = Atomics.load(this.#requestIndices, RequestRing.requestTail);
    const waiting = (tail - this.#head) | 0;
    const grown = (tail - this.#knownTail) | 0;
    const head = Atomics.load(this.#requestIndices, RequestRing.completionHead);
    const taken = (head - this.#knownCompletionHead) | 0;
    const unread = (this.#completionTail - head) | 0;
    if (waiting < 0 || waiting > this.entries || grown < 0 || taken < 0 || unread < 0) return -1;
    this.#knownTail = tail;
    this.#knownCompletionHead = head;
    const free = this.entries - unread - this.count;
    return waiting < free ? waiting : free;
  }

  /** Whether the client wrote requests that were not taken, whatever room there is for answers. */
  waiting(): boolean {
    return Atomics.load(this.#requestIndices, RequestRing.requestTail) !== this.#head;
  }

  /** Copies the next request into `entry`, once, and returns its cookie. Only when `available()` > 0. */
  take(entry: Uint32Array): number {
    const slot = this.#head & this.#mask;
    const from = RING_HEADER_WORDS + slot * ENTRY_WORDS;
    copyEntry(entry, 0, this.#requests, from);
    this.#head = (this.#head + 1) | 0;
    return this.#requestCookies[slot];
  }

  /** Says which requests were taken. Once a batch. */
  publishHead(): void {
    Atomics.store(this.#completionIndices, CompletionRing.requestHead, this.#head);
  }

  /** Writes a completion; the slot was reserved when the request was taken. Seen by the client after `publishCompletions`. */
  complete(
    tagLow: number,
    tagHigh: number,
    cookie: number,
    code: number,
    field: number,
    status: number,
    valueLow: number,
    valueHigh: number,
    generation: number,
    bytes: number,
  ): void {
    const slot = this.#completionTail & this.#mask;
    const at = RING_HEADER_WORDS + slot * COMPLETION_WORDS;
    const words = this.#completions;
    words[at + CompletionWord.tagLow] = tagLow;
    words[at + CompletionWord.tagHigh] = tagHigh;
    words[at + CompletionWord.code] = code | (field << 16);
    words[at + CompletionWord.status] = status | (this.queue << 16);
    words[at + CompletionWord.valueLow] = valueLow;
    words[at + CompletionWord.valueHigh] = valueHigh;
    words[at + CompletionWord.generation] = generation;
    words[at + CompletionWord.bytes] = code === Code.ok ? bytes : 0;
    this.#completionCookies[slot] = cookie;
    this.#completionTail = (this.#completionTail + 1) | 0;
    this.dirty = true;
  }

  publishCompletions(): void {
    Atomics.store(this.#completionIndices, CompletionRing.completionTail, this.#completionTail);
    this.dirty = false;
  }

  /** Stops being polled: the client has to say when there is work. True if there is none now; otherwise the queue stays awake. */
  sleep(): boolean {
    Atomics.store(this.#completionIndices, CompletionRing.needsWakeup, 1);
    if (!this.waiting()) return true;
    Atomics.store(this.#completionIndices, CompletionRing.needsWakeup, 0);
    return false;
  }

  /** Is polled again. */
  awake(): void {
    Atomics.store(this.#completionIndices, CompletionRing.needsWakeup, 0);
    this.idleTurns = 0;
  }
}
