/**
 * The memory that main thread, engine thread and device thread share: interrupt counters, a queue of writes and requests from the engine to the
 * device, slots for the answers, and an area for what does not fit into a queue entry.
 *
 * One producer (the engine) and one consumer (the device) each way. Every word that tells of other words is stored after them, atomically.
 */
import { shm } from '../../native/shm.js';
import { MAX_VECTORS } from './options.js';

/** Words with a meaning of their own; each that is written often has a cache line to itself. */
export const Word = {
  /** 1 while a backing is open. */
  opened: 0,
  /** 1 from the moment the event descriptor was signalled until the engine takes it. */
  signalled: 1,
  /** 1: the function left the bus, and the slot tells so. */
  removed: 2,
  /** 1: the device thread ended by itself. */
  dead: 3,
  /** 1: the device thread is to end. */
  stop: 4,
  /** Tickets asked for and done, of the durability service. */
  syncRequested: 16,
  syncDone: 17,
  /** What the device thread sleeps on: counts reasons to wake up. */
  wakes: 32,
  /** 1 while it sleeps. */
  sleeping: 33,
  /** Queue entries taken by the device, and put by the engine; both count up and wrap. */
  queueHead: 48,
  queueTail: 64,
} as const;

/** Entries of the queue; a power of two. */
export const QUEUE_ENTRIES = 4096;
/** Words of a queue entry: kind, offset, low, high, answer slot, sequence. */
export const ENTRY_WORDS = 8;
export const Entry = { kind: 0, offset: 1, low: 2, high: 3, slot: 4, sequence: 5 } as const;
/** Requests that can wait for answers at once. */
export const ANSWER_SLOTS = 64;
/** Words of an answer slot; `sequence` is stored last. */
export const ANSWER_WORDS = 4;
export const Answer = { sequence: 0, failed: 1, low: 2, high: 3 } as const;
/** Files that can be images. */
export const MAX_IMAGES = 256;
export const AREA_BYTES = 65_536;

/** Kinds of queue entries. Bits 7:0; above them for BAR accesses the width (15:8) and the BAR (23:16). */
export const Kind = { barWrite: 0, barRead: 1, configRead: 2, configWrite: 3, attach: 4, pages: 5, detach: 6, control: 7 } as const;

const COUNTERS = 80;
const SYNC_FAILURES = COUNTERS + MAX_VECTORS;
const ANSWERS = SYNC_FAILURES + MAX_IMAGES;
const QUEUE = ANSWERS + ANSWER_SLOTS * ANSWER_WORDS;
const AREA = QUEUE + QUEUE_ENTRIES * ENTRY_WORDS;
const TOTAL_BYTES = 4 * AREA + AREA_BYTES;

export class Shared {
  readonly buffer: SharedArrayBuffer;
  readonly words: Int32Array;
  /** How often each vector's message arrived; wraps. */
  readonly counters: Int32Array;
  /** Of each image, the last ticket whose making durable failed; 0: none. */
  readonly syncFailures: Int32Array;
  readonly answers: Int32Array;
  readonly queue: Int32Array;
  readonly area: Uint8Array;
  readonly areaWords: Int32Array;

  constructor(buffer = new SharedArrayBuffer(TOTAL_BYTES)) {
    this.buffer = buffer;
    this.words = new Int32Array(buffer, 0, COUNTERS);
    this.counters = new Int32Array(buffer, 4 * COUNTERS, MAX_VECTORS);
    this.syncFailures = new Int32Array(buffer, 4 * SYNC_FAILURES, MAX_IMAGES);
    this.answers = new Int32Array(buffer, 4 * ANSWERS, ANSWER_SLOTS * ANSWER_WORDS);
    this.queue = new Int32Array(buffer, 4 * QUEUE, QUEUE_ENTRIES * ENTRY_WORDS);
    this.area = new Uint8Array(buffer, 4 * AREA, AREA_BYTES);
    this.areaWords = new Int32Array(buffer, 4 * AREA, AREA_BYTES / 4);
  }

  /** Wakes the engine through its event descriptor, once until it takes it. */
  signalEngine(event: number): void {
    if (Atomics.exchange(this.words, Word.signalled, 1) === 0) shm().eventfdSignal(event);
  }

  /** True if the engine was signalled. What was signalled is looked at after this call. */
  takeSignal(event: number): boolean {
    if (Atomics.load(this.words, Word.signalled) === 0) return false;
    shm().eventfdTake(event);
    Atomics.store(this.words, Word.signalled, 0);
    return true;
  }

  /** Wakes the device thread if it sleeps. What it is to see was stored before. */
  wakeDevice(): void {
    Atomics.add(this.words, Word.wakes, 1);
    if (Atomics.load(this.words, Word.sleeping) === 1) Atomics.notify(this.words, Word.wakes);
  }

  /** Text of up to {@link AREA_BYTES} bytes, as UTF-8. Returns its length in bytes. */
  putText(text: string): number {
    const bytes = new TextEncoder().encode(text);
    if (bytes.length > AREA_BYTES) throw new RangeError(`${bytes.length} bytes do not fit into the area`);
    this.area.set(bytes);
    return bytes.length;
  }

  takeText(bytes: number): string {
    // A decoder takes no shared memory.
    return new TextDecoder().decode(this.area.slice(0, bytes));
  }
}
