/**
 * A submission queue with its completion queue, and the table of the commands in flight on it (NVMe Base Specification 1.4, 4.1, 4.6).
 *
 * Command identifiers are ours alone: slot in the low bits, a sequence in the others, so that a late or an invented completion does not match.
 * Indices and the table live in this process's heap; what the device writes is checked before anyone hears of it.
 */
import type { Bar } from '../backing.js';
import type { DmaSlice } from '../dma/index.js';
import { HardwareError } from '../task.js';
import type { RingView } from './ring-view.js';
import { COMPLETION_WORDS, Cqe, PAGE_BYTES, Sqe, SUBMISSION_WORDS, completionDoorbell, statusOf, submissionDoorbell } from './spec/index.js';

/** Receives completions. Called from {@link QueuePair.reap}; must not throw. */
export interface CompletionSink {
  /**
   * @param slot the slot that `claim` returned; free again when the call returns
   * @param status type << 8 | code; 0 is success
   * @param dword0 command-specific result
   */
  completed(pair: QueuePair, slot: number, status: number, dword0: number): void;
}

export interface QueuePairMemory {
  readonly submission: DmaSlice;
  readonly completion: DmaSlice;
  /** One page a slot, for PRP lists and deallocate ranges. */
  readonly lists: DmaSlice;
}

export class QueuePair {
  /** Queue identifier, the same for both queues; 0 is the admin queue. */
  readonly id: number;
  /** Entries of either queue, 2 to 1024. */
  readonly entries: number;
  /** Commands that can be in flight: one less, so that a full queue is not taken for an empty one. */
  readonly capacity: number;
  /** Interrupt vector, or -1 for none. */
  readonly vector: number;
  readonly memory: QueuePairMemory;
  /** What its holder may see of it; undefined where nobody is shown anything. */
  readonly view: RingView | undefined;
  /** When each slot's command was submitted (the engine's clock, ms); the engine writes it. */
  readonly submittedAt: Float64Array;
  /** Whether each slot's command is in flight. */
  readonly inFlight: Uint8Array;

  readonly #bar: Bar;
  readonly #submissionDoorbell: number;
  readonly #completionDoorbell: number;
  readonly #words: Uint32Array;
  readonly #halves: BigUint64Array;
  readonly #completions: Int32Array;
  readonly #slotBits: number;
  readonly #sequence: Uint16Array;
  readonly #free: Uint16Array;
  #freeCount: number;
  #tail = 0;
  #rungTail = 0;
  #head = 0;
  #phase = 1;
  #count = 0;
  /** The device wrote something that cannot be: nothing more of it is looked at. */
  #distrusted = false;
  #closed = false;

  constructor(bar: Bar, stride: number, id: number, entries: number, vector: number, memory: QueuePairMemory, view?: RingView) {
    if (!(entries >= 2 && entries <= 1024)) throw new RangeError(`queue of ${entries} entries`);
    this.id = id;
    this.entries = entries;
    this.capacity = entries - 1;
    this.vector = vector;
    this.memory = memory;
    this.view = view;
    this.#bar = bar;
    this.#submissionDoorbell = submissionDoorbell(id, stride);
    this.#completionDoorbell = completionDoorbell(id, stride);
    this.#words = memory.submission.u32;
    this.#halves = memory.submission.u64;
    this.#completions = new Int32Array(memory.completion.memory.buffer, memory.completion.offset, entries * COMPLETION_WORDS);
    this.#slotBits = Math.ceil(Math.log2(entries));
    this.#sequence = new Uint16Array(this.capacity);
    this.submittedAt = new Float64Array(this.capacity);
    this.inFlight = new Uint8Array(this.capacity);
    this.#free = Uint16Array.from({ length: this.capacity }, (_, index) => this.capacity - 1 - index);
    this.#freeCount = this.capacity;
  }

  /** Commands that can still be submitted. */
  get room(): number {
    return this.#freeCount;
  }

  /** Commands in flight. */
  get count(): number {
    return this.#count;
  }

  /** The submission queue's words, for whoever fills in a claimed command. */
  get words(): Uint32Array {
    return this.#words;
  }

  /** The same memory in 64-bit halves. */
  get halves(): BigUint64Array {
    return this.#halves;
  }

  /** Its memory was given back: the pair reaches neither memory nor registers any more. */
  get closed(): boolean {
    return this.#closed;
  }

  close(): void {
    this.#closed = true;
  }

  /** Takes a free slot; only when `room` > 0. */
  claim(): number {
    if (this.#freeCount === 0) throw new RangeError(`queue ${this.id} is full`);
    return this.#free[--this.#freeCount];
  }

  /** Gives back a slot that was claimed and for which nothing was begun. */
  unclaim(slot: number): void {
    this.#free[this.#freeCount++] = slot;
  }

  /** The slot that `claim` returns next; only when `room` > 0. */
  get next(): number {
    return this.#free[this.#freeCount - 1];
  }

  /**
   * Lays out the command of `slot` at the tail, all sixteen words of it: without data, which the caller may add (PRP1 and PRP2) before it calls `submit`.
   * Returns its first word's index in `words`. Until `submit` it is not part of the ring: a caller that throws in between leaves nothing that the device
   * will ever see.
   */
  begin(slot: number, opcode: number, namespace: number, cdw10 = 0, cdw11 = 0, cdw12 = 0): number {
    const at = this.#tail * SUBMISSION_WORDS;
    const half = this.#tail * (SUBMISSION_WORDS / 2);
    const words = this.#words;
    const halves = this.#halves;
    words[at] = opcode | ((slot | (this.#sequence[slot] << this.#slotBits)) << 16);
    words[at + Sqe.nsid] = namespace;
    halves[half + 1] = 0n;
    halves[half + 2] = 0n;
    halves[half + Sqe.prp1Low / 2] = 0n;
    halves[half + Sqe.prp2Low / 2] = 0n;
    words[at + Sqe.cdw10] = cdw10;
    words[at + Sqe.cdw11] = cdw11;
    halves[half + Sqe.cdw12 / 2] = 0n;
    halves[half + 7] = 0n;
    words[at + Sqe.cdw12] = cdw12;
    return at;
  }

  /** Makes the command that was begun last part of the ring; the device is told by `ring`. `now`: the engine's clock, milliseconds. */
  submit(slot: number, now: number): void {
    this.inFlight[slot] = 1;
    this.submittedAt[slot] = now;
    this.#count++;
    this.#tail = this.#tail + 1 === this.entries ? 0 : this.#tail + 1;
  }

  /** The last command that was submitted, as its first word's index in `words`. */
  get last(): number {
    return ((this.#tail === 0 ? this.entries : this.#tail) - 1) * SUBMISSION_WORDS;
  }

  /** The identifier that the command in `slot` has, for Abort. */
  commandId(slot: number): number {
    return (slot | (this.#sequence[slot] << this.#slotBits)) & 0xffff;
  }

  /** Byte offset of `slot`'s page in `memory.lists`. */
  listOffset(slot: number): number {
    return slot * PAGE_BYTES;
  }

  /** Tells the device about everything submitted since the last call: one doorbell write for a batch. */
  ring(): void {
    if (this.#tail === this.#rungTail || this.#closed) return;
    this.#rungTail = this.#tail;
    this.#bar.write32(this.#submissionDoorbell, this.#tail);
  }

  /** Whether the device has written a completion that was not taken. */
  pending(): boolean {
    return ((Atomics.load(this.#completions, this.#head * COMPLETION_WORDS + Cqe.status) >>> 16) & 1) === this.#phase;
  }

  /**
   * Takes the completions that are there, at most one turn of the ring. Returns how many.
   * @throws HardwareError `protocol`, once, for a completion that matches no command in flight here; the device is not to be believed any more.
   */
  reap(sink: CompletionSink): number {
    if (this.#closed || this.#distrusted) return 0;
    const completions = this.#completions;
    let taken = 0;
    while (taken < this.entries) {
      const at = this.#head * COMPLETION_WORDS;
      const status = Atomics.load(completions, at + Cqe.status);
      if (((status >>> 16) & 1) !== this.#phase) break;
      const queue = completions[at + Cqe.queue];
      const dword0 = completions[at + Cqe.dword0] >>> 0;
      const slot = status & ((1 << this.#slotBits) - 1);
      const sequence = (status & 0xffff) >>> this.#slotBits;
      if (slot >= this.capacity || this.inFlight[slot] !== 1 || sequence !== this.#sequence[slot])
        this.#distrust('names no command in flight', status, queue);
      if (queue >>> 16 !== this.id) this.#distrust('names another submission queue', status, queue);
      if ((queue & 0xffff) >= this.entries) this.#distrust('has a submission head beyond the ring', status, queue);
      this.#advanceHead();
      taken++;
      this.inFlight[slot] = 0;
      this.#count--;
      sink.completed(this, slot, statusOf(status), dword0);
      this.#release(slot);
    }
    if (taken > 0) this.#bar.write32(this.#completionDoorbell, this.#head);
    return taken;
  }

  #advanceHead(): void {
    if (++this.#head < this.entries) return;
    this.#head = 0;
    this.#phase ^= 1;
  }

  #release(slot: number): void {
    this.#sequence[slot] = (this.#sequence[slot] + 1) & ((1 << (16 - this.#slotBits)) - 1);
    this.#free[this.#freeCount++] = slot;
  }

  #distrust(what: string, status: number, queue: number): never {
    this.#distrusted = true;
    throw new HardwareError(
      'protocol',
      `completion on queue ${this.id} ${what} (identifier 0x${(status & 0xffff).toString(16)}, queue word 0x${(queue >>> 0).toString(16)})`,
    );
  }
}
