/**
 * The engine's side of a machine on a thread of its own.
 *
 * Writes are posted into a queue in shared memory; what needs an answer is a queue entry as well, so it stays in order with the writes, as reads
 * on PCI do. The engine never waits for the device thread, but for a full queue.
 */
import { HardwareError, type Task, systemClock } from '../task.js';
import type { ControlRequest } from './device.js';
import type { EmulatedHandle } from './handle.js';
import type { Link, LinkMemory } from './link.js';
import { ANSWER_SLOTS, ANSWER_WORDS, AREA_BYTES, Answer, ENTRY_WORDS, Entry, Kind, QUEUE_ENTRIES, Shared, Word } from './shared.js';

/** The device thread answers within microseconds, unless its disk does not. */
const ANSWER_MS = 10_000;
/** Pages whose addresses fit into the shared area. */
const AREA_PAGES = AREA_BYTES / 8;

export class RemoteLink implements Link {
  readonly counters: Int32Array;
  readonly #shared: Shared;
  readonly #event: number;
  readonly #sequences = new Int32Array(ANSWER_SLOTS);
  readonly #freeSlots: number[] = Array.from({ length: ANSWER_SLOTS }, (_, index) => index);
  readonly #slots = new Set<number>();
  #areaTaken = false;
  #areaSlot = 0;
  #areaSequence: number;
  #failure: string | undefined;

  constructor(handle: EmulatedHandle) {
    this.#shared = new Shared(handle.shared);
    this.#event = handle.event;
    this.counters = this.#shared.counters;
    // Sequences go on where an earlier opener of the same handle left off.
    for (let slot = 0; slot < ANSWER_SLOTS; slot++) this.#sequences[slot] = this.#shared.answers[slot * ANSWER_WORDS + Answer.sequence];
    this.#areaSequence = this.#sequences[this.#areaSlot];
  }

  get failure(): string | undefined {
    if (this.#failure === undefined && this.#hasEnded) this.#failure = 'the thread of the device model ended';
    return this.#failure;
  }

  get #hasEnded(): boolean {
    return Atomics.load(this.#shared.words, Word.dead) !== 0;
  }

  get removed(): boolean {
    return Atomics.load(this.#shared.words, Word.removed) !== 0;
  }

  *readConfig(offset: number, width: 1 | 2 | 4): Task<number> {
    return yield* this.#ask(Kind.configRead | (width << 8), offset, 0, 0);
  }

  *writeConfig(offset: number, width: 1 | 2 | 4, value: number): Task<void> {
    yield* this.#ask(Kind.configWrite | (width << 8), offset, value, 0);
  }

  *readBar(bar: number, offset: number): Task<number> {
    return yield* this.#ask(Kind.barRead | (bar << 16), offset, 0, 0);
  }

  writeBar(bar: number, offset: number, width: 1 | 2 | 4 | 8, low: number, high: number): void {
    this.#put(Kind.barWrite | (width << 8) | (bar << 16), offset, low, high, 0, 0);
  }

  *attach(memory: LinkMemory): Task<void> {
    let attached = false;
    yield* this.#takeArea();
    try {
      const pages = memory.pageLow.length;
      const request = { slot: memory.slot, fd: memory.fd, bytes: pages * 4096, owner: memory.owner };
      this.#slots.add(memory.slot);
      yield* this.#askWithArea(Kind.attach, 0, this.#shared.putText(JSON.stringify(request)), 0);
      for (let first = 0; first < pages; first += AREA_PAGES) yield* this.#sendPages(memory, first, Math.min(AREA_PAGES, pages - first));
      attached = true;
    } finally {
      this.#areaTaken = false;
      if (!attached) this.#letGo(memory.slot);
    }
  }

  *detach(slot: number): Task<void> {
    try {
      yield* this.#ask(Kind.detach, slot, 0, 0);
    } catch (error) {
      // A thread that ended reaches no memory. One that only does not answer may.
      if (!this.#hasEnded) throw error;
    }
    this.#slots.delete(slot);
  }

  *control(request: ControlRequest): Task<unknown> {
    yield* this.#takeArea();
    try {
      const length = yield* this.#askWithArea(Kind.control, 0, this.#shared.putText(JSON.stringify(request)), 0);
      const answer: unknown = JSON.parse(this.#shared.takeText(length));
      return answer ?? undefined;
    } finally {
      this.#areaTaken = false;
    }
  }

  poll(): number {
    return this.#shared.takeSignal(this.#event) ? 1 : 0;
  }

  /** Detaches everything, without waiting for it: whoever ends the thread does. */
  dispose(): void {
    for (const slot of this.#slots) this.#letGo(slot);
  }

  /** Detaches without waiting. What is attached in the same place later is attached after it. */
  #letGo(slot: number): void {
    this.#slots.delete(slot);
    if (this.failure === undefined) this.#put(Kind.detach, slot, 0, 0, ANSWER_SLOTS, 0);
  }

  *#sendPages(memory: LinkMemory, first: number, count: number): Task<void> {
    const words = this.#shared.areaWords;
    words.set(memory.pageLow.subarray(first, first + count), 0);
    words.set(memory.pageHigh.subarray(first, first + count), AREA_PAGES);
    yield* this.#askWithArea(Kind.pages, memory.slot, first, count);
  }

  /** The area is free when nobody here uses it, and the last request that named it was answered, even if nobody waited for that. */
  *#takeArea(): Task<void> {
    while (this.failure === undefined && (this.#areaTaken || !this.#isAnswered(this.#areaSlot, this.#areaSequence))) yield 0;
    this.#areaTaken = true;
  }

  *#askWithArea(kind: number, offset: number, low: number, high: number): Task<number> {
    return yield* this.#ask(kind, offset, low, high, true);
  }

  #isAnswered(slot: number, sequence: number): boolean {
    return ((Atomics.load(this.#shared.answers, slot * ANSWER_WORDS + Answer.sequence) - sequence) | 0) >= 0;
  }

  /** Puts a request into the queue and waits for its answer. The low word of it is the result. */
  *#ask(kind: number, offset: number, low: number, high: number, usesArea = false): Task<number> {
    while (this.#freeSlots.length === 0) yield 0;
    const slot = this.#freeSlots.pop() ?? 0;
    try {
      const sequence = (this.#sequences[slot] + 1) | 0;
      this.#sequences[slot] = sequence;
      this.#put(kind, offset, low, high, slot, sequence);
      if (usesArea) {
        this.#areaSlot = slot;
        this.#areaSequence = sequence;
      }
      return yield* this.#answer(slot, sequence);
    } finally {
      // An answer that comes after this has an earlier sequence than the slot's next user waits for.
      this.#freeSlots.push(slot);
    }
  }

  *#answer(slot: number, sequence: number): Task<number> {
    const { answers } = this.#shared;
    const at = slot * ANSWER_WORDS;
    const deadline = systemClock() + ANSWER_MS;
    while (Atomics.load(answers, at + Answer.sequence) !== sequence) {
      if (systemClock() >= deadline) this.#failure ??= `the device model did not answer within ${ANSWER_MS} ms`;
      if (this.failure !== undefined) throw new HardwareError('lost', this.failure);
      yield 0;
    }
    const low = answers[at + Answer.low];
    if (answers[at + Answer.failed] !== 0) throw new HardwareError('exhausted', this.#shared.takeText(low));
    return low >>> 0;
  }

  #put(kind: number, offset: number, low: number, high: number, slot: number, sequence: number): void {
    const { words, queue } = this.#shared;
    const tail = words[Word.queueTail];
    if (((tail - Atomics.load(words, Word.queueHead)) | 0) >= QUEUE_ENTRIES && !this.#waitForRoom(tail)) return;
    const at = (tail & (QUEUE_ENTRIES - 1)) * ENTRY_WORDS;
    queue[at + Entry.kind] = kind;
    queue[at + Entry.offset] = offset;
    queue[at + Entry.low] = low;
    queue[at + Entry.high] = high;
    queue[at + Entry.slot] = slot;
    queue[at + Entry.sequence] = sequence;
    Atomics.store(words, Word.queueTail, (tail + 1) | 0);
    if (Atomics.load(words, Word.sleeping) === 1) this.#shared.wakeDevice();
  }

  /** A full queue stalls the writer, as posted writes on PCI do without credits. False if the device thread does not take anything any more. */
  #waitForRoom(tail: number): boolean {
    const { words } = this.#shared;
    const deadline = systemClock() + ANSWER_MS;
    for (let head = Atomics.load(words, Word.queueHead); ((tail - head) | 0) >= QUEUE_ENTRIES; head = Atomics.load(words, Word.queueHead)) {
      if (this.failure !== undefined) return false;
      if (systemClock() >= deadline) {
        this.#failure = `the device model took no writes for ${ANSWER_MS} ms`;
        return false;
      }
      Atomics.wait(words, Word.queueHead, head, 1);
    }
    return true;
  }
}
