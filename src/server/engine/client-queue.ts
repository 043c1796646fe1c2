/**
 * The engine's end of a queue of a lease. What the other side writes (tail, completion head) is checked by movement against occupancy; what is
 * decided with (indices, capacities) lives here, in the engine's heap.
 */
import {
  COMPLETION_WORDS,
  CompletionRing,
  CompletionWord,
  ENTRY_HALVES,
  ENTRY_WORDS,
  EntryWord,
  MAX_RING_ENTRIES,
  RING_HEADER_HALVES,
  RING_HEADER_WORDS,
  RequestRing,
  copyEntry,
} from '../../protocol/index.js';
import { TagSet, type LeaseState } from '../../validator/index.js';
import type { QueuePair } from '../../hw/nvme/index.js';
import { type RegionIndex, SPAN_WORDS, Span } from '../../hw/dma/index.js';
import { Refusal } from './api.js';
import { createChannelMemory, type ChannelMemory } from './channel.js';
import type { Lease } from './lease.js';
import type { SharedRings } from './shared-rings.js';

const PAGE_SHIFT = 12;

/** Where a queue that is gone writes: its rings may be somebody else's, or nobody's. */
const NOWHERE = createChannelMemory(MAX_RING_ENTRIES);

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
  /** The regions that its requests may name. */
  regions: RegionIndex;
  /** So that the reads of `prefetch` are not optimized away. */
  prefetched = 0;
  /** Rings that a client has mapped; undefined where the main thread is at the other end. */
  shared: SharedRings | undefined;
  #requests: Uint32Array;
  #requestHalves: BigUint64Array;
  #requestIndices: Int32Array;
  #completions: Uint32Array;
  #completionIndices: Int32Array;
  #requestCookies: Int32Array;
  #completionCookies: Int32Array;
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
    this.regions = owner.domain.all;
    this.#requests = new Uint32Array(memory.requests);
    this.#requestHalves = new BigUint64Array(memory.requests);
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

  /** Copies the next request, once, to `entries` from half `at` on (64 bits each), and returns its cookie. Only when `available()` > 0. */
  take(entries: BigUint64Array, at: number): number {
    const slot = this.#head & this.#mask;
    copyEntry(entries, at, this.#requestHalves, RING_HEADER_HALVES + slot * ENTRY_HALVES);
    this.#head = (this.#head + 1) | 0;
    return this.#requestCookies[slot];
  }

  /**
   * Reads ahead, one after the other without waiting, what the next `count` requests need: their entries, which another processor wrote, and where their
   * memory is. What is read is thrown away: it decides nothing, and all of it is read again, once, when the request is taken.
   */
  prefetch(count: number): void {
    const requests = this.#requests;
    const regions = this.regions.words;
    const { spans, words } = this.owner.domain.pages;
    let sum = 0;
    for (let index = this.#head; index !== ((this.#head + count) | 0); index = (index + 1) | 0) {
      const at = RING_HEADER_WORDS + (index & this.#mask) * ENTRY_WORDS;
      const slot = requests[at + EntryWord.region] & 0xffff;
      if (2 * slot < regions.length) sum = (sum + regions[2 * slot]) | 0;
      const span = SPAN_WORDS * slot;
      const word = span < spans.length ? 2 * (spans[span + Span.first] + (requests[at + EntryWord.offsetLow] >>> PAGE_SHIFT)) : 0;
      if (word < words.length) sum = (sum + words[word]) | 0;
    }
    this.prefetched = sum;
  }

  /** Says which requests were taken. Once a batch. */
  publishHead(): void {
    Atomics.store(this.#completionIndices, CompletionRing.requestHead, this.#head);
  }

  /** Writes the completion of `entry`; its place was reserved when the request was taken. Seen by the client after `publishCompletions`. */
  complete(
    entry: Uint32Array,
    cookie: number,
    code: number,
    field: number,
    status: number,
    valueLow: number,
    valueHigh: number,
    bytes: number,
  ): void {
    const slot = this.#completionTail & this.#mask;
    const at = RING_HEADER_WORDS + slot * COMPLETION_WORDS;
    const words = this.#completions;
    words[at + CompletionWord.tagLow] = entry[EntryWord.tagLow];
    words[at + CompletionWord.tagHigh] = entry[EntryWord.tagHigh];
    words[at + CompletionWord.code] = code | (field << 16);
    words[at + CompletionWord.status] = status | (this.queue << 16);
    words[at + CompletionWord.valueLow] = valueLow;
    words[at + CompletionWord.valueHigh] = valueHigh;
    words[at + CompletionWord.generation] = entry[EntryWord.generation];
    words[at + CompletionWord.bytes] = bytes;
    this.#completionCookies[slot] = cookie;
    this.#completionTail = (this.#completionTail + 1) | 0;
    this.dirty = true;
  }

  publishCompletions(): void {
    Atomics.store(this.#completionIndices, CompletionRing.completionTail, this.#completionTail);
    this.dirty = false;
  }

  /** Wakes the client of a shared ring, if it says that it sleeps. Once for what was published. */
  wakeClient(): void {
    if (Atomics.load(this.#requestIndices, RequestRing.needsWakeup) === 1) this.shared?.doorbell.ring();
  }

  /** Goes on with rings that a client has mapped. @throws {@link Refusal} `notFresh` when the queue was used. */
  share(rings: SharedRings): void {
    if (!this.isFresh) throw new Refusal('notFresh', 'queue', this.queue);
    this.shared = rings;
    // The session's staging memory is not a client's to name.
    this.regions = this.owner.domain.clients;
    this.#use(rings.memory);
    this.sleep();
  }

  /** Whether nothing was ever asked of it, and its rings are the main thread's. */
  get isFresh(): boolean {
    return this.shared === undefined && this.#head === 0 && this.#completionTail === 0 && this.available() === 0;
  }

  /** The queue is gone. What ended is still shown; from then on nothing of its shared rings is touched. */
  leaveRings(): void {
    const rings = this.shared;
    if (rings === undefined) return;
    this.publishCompletions();
    this.#use(NOWHERE);
    // The end of the doorbell wakes the client; a byte would send it to memory that is being taken back.
    rings.end();
  }

  #use(memory: ChannelMemory): void {
    this.#requests = new Uint32Array(memory.requests);
    this.#requestHalves = new BigUint64Array(memory.requests);
    this.#requestIndices = new Int32Array(memory.requests);
    this.#completions = new Uint32Array(memory.completions);
    this.#completionIndices = new Int32Array(memory.completions);
    this.#requestCookies = new Int32Array(memory.requestCookies);
    this.#completionCookies = new Int32Array(memory.completionCookies);
  }

  /**
   * Stops being polled: the client has to say when there is something to do. True if no request can be taken now; otherwise the queue stays awake. Requests
   * that wait for a free completion slot can not be taken: only the client makes those free.
   */
  sleep(): boolean {
    Atomics.store(this.#completionIndices, CompletionRing.needsWakeup, 1);
    if (this.available() === 0) return true;
    Atomics.store(this.#completionIndices, CompletionRing.needsWakeup, 0);
    return false;
  }

  /** Is polled again. */
  awake(): void {
    Atomics.store(this.#completionIndices, CompletionRing.needsWakeup, 0);
    this.idleTurns = 0;
  }
}
