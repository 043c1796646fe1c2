/** Submission and completion queues of the controller (Base Specification 1.4, 4.1, 4.6), and which submission queues have work. */
import { COMPLETION_BYTES, COMPLETION_WORDS, Cqe, ErrorEvent, SUBMISSION_BYTES } from '../../nvme/spec/index.js';
import type { Bus } from '../bus.js';
import type { Command } from './command.js';
import type { MsixModel } from './msix.js';

/** Upper half of a page's worth of queue: entries never cross a page, because queues start at one. */
const CARRY = 2 ** 32;

export class CompletionQueue {
  readonly id: number;
  /** Entries. */
  readonly size: number;
  /** -1: no interrupts. */
  readonly vector: number;
  readonly baseLow: number;
  readonly baseHigh: number;
  head = 0;
  tail = 0;
  phase = 1;
  /** Submission queues that complete here. */
  users = 0;
  /** An interrupt is due at the end of this step. */
  signal = false;
  /** Completions that found the queue full, oldest first, as words. Rare. */
  readonly backlog: Int32Array[] = [];

  constructor(id: number, size: number, vector: number, baseLow: number, baseHigh: number) {
    this.id = id;
    this.size = size;
    this.vector = vector;
    this.baseLow = baseLow;
    this.baseHigh = baseHigh;
  }

  /** Entries that the host has not consumed. */
  get occupied(): number {
    return this.tail >= this.head ? this.tail - this.head : this.tail + this.size - this.head;
  }

  get full(): boolean {
    return this.occupied === this.size - 1;
  }
}

export class SubmissionQueue {
  readonly id: number;
  readonly size: number;
  readonly completion: CompletionQueue;
  readonly baseLow: number;
  readonly baseHigh: number;
  head = 0;
  tail = 0;
  /** In the list of queues with work. */
  listed = false;
  /** Deleted, or the controller was reset: nothing completes here any more. */
  gone = false;

  constructor(id: number, size: number, completion: CompletionQueue, baseLow: number, baseHigh: number) {
    this.id = id;
    this.size = size;
    this.completion = completion;
    this.baseLow = baseLow;
    this.baseHigh = baseHigh;
  }

  /** Entries that the controller has not fetched. */
  get occupied(): number {
    return this.tail >= this.head ? this.tail - this.head : this.tail + this.size - this.head;
  }
}

export class QueueSet {
  readonly submission: (SubmissionQueue | undefined)[] = [];
  readonly completion: (CompletionQueue | undefined)[] = [];
  /** Whether an I/O queue was created since the last reset, also one that is deleted again. */
  hadIoQueues = false;
  readonly #bus: Bus;
  readonly #msix: MsixModel;
  readonly #onDoorbellError: (information: number) => void;
  /** Ring of submission queue ids with work, in the order in which they are served. */
  readonly #ready: Uint16Array;
  #readyHead = 0;
  #readyCount = 0;
  readonly #signals: CompletionQueue[] = [];
  readonly #entry = new Int32Array(COMPLETION_WORDS);

  /** @param onDoorbellError gets an information value of `ErrorEvent` when a doorbell write is wrong, and has then no effect */
  constructor(bus: Bus, msix: MsixModel, queuePairs: number, onDoorbellError: (information: number) => void) {
    this.#bus = bus;
    this.#msix = msix;
    this.#onDoorbellError = onDoorbellError;
    this.#ready = new Uint16Array(queuePairs + 2);
    this.reset();
  }

  /** No queues. */
  reset(): void {
    for (const queue of this.submission) if (queue !== undefined) queue.gone = true;
    this.submission.length = 0;
    this.completion.length = 0;
    this.hadIoQueues = false;
    this.#readyHead = 0;
    this.#readyCount = 0;
    this.#signals.length = 0;
  }

  addSubmission(queue: SubmissionQueue): void {
    this.submission[queue.id] = queue;
    queue.completion.users++;
  }

  removeSubmission(queue: SubmissionQueue): void {
    queue.gone = true;
    queue.completion.users--;
    this.submission[queue.id] = undefined;
    for (let left = this.#readyCount; left > 0; left--) {
      const id = this.#ready[this.#readyHead];
      this.#readyHead = (this.#readyHead + 1) % this.#ready.length;
      this.#readyCount--;
      if (id !== queue.id) this.#ready[(this.#readyHead + this.#readyCount++) % this.#ready.length] = id;
    }
  }

  /** A write to a doorbell register: `index` counts them from 0. */
  ring(index: number, value: number): void {
    const id = index >>> 1;
    const fault = (index & 1) === 0 ? this.#ringTail(this.submission[id], value) : this.#ringHead(this.completion[id], value);
    if (fault >= 0) this.#onDoorbellError(fault);
  }

  #ringTail(queue: SubmissionQueue | undefined, tail: number): number {
    if (queue === undefined) return ErrorEvent.invalidDoorbellRegister;
    if (tail >= queue.size || tail === queue.tail) return ErrorEvent.invalidDoorbellValue;
    const added = tail > queue.tail ? tail - queue.tail : tail + queue.size - queue.tail;
    if (added > queue.size - 1 - queue.occupied) return ErrorEvent.invalidDoorbellValue;
    queue.tail = tail;
    this.#list(queue);
    return -1;
  }

  #ringHead(queue: CompletionQueue | undefined, head: number): number {
    if (queue === undefined) return ErrorEvent.invalidDoorbellRegister;
    if (head >= queue.size || head === queue.head) return ErrorEvent.invalidDoorbellValue;
    const taken = head > queue.head ? head - queue.head : head + queue.size - queue.head;
    if (taken > queue.occupied) return ErrorEvent.invalidDoorbellValue;
    const wasBlocked = queue.full;
    queue.head = head;
    while (queue.backlog.length > 0 && !queue.full) this.#write(queue, queue.backlog.shift() ?? this.#entry);
    if (wasBlocked) for (const user of this.submission) if (user?.completion === queue) this.#list(user);
    return -1;
  }

  #list(queue: SubmissionQueue): void {
    if (queue.listed || queue.head === queue.tail) return;
    queue.listed = true;
    this.#ready[(this.#readyHead + this.#readyCount++) % this.#ready.length] = queue.id;
  }

  /** Queues with work, at this moment. */
  get readyCount(): number {
    return this.#readyCount;
  }

  /** Takes the next queue with work, in turn; undefined if there is none. Give it to `putBack` after its burst. */
  next(): SubmissionQueue | undefined {
    if (this.#readyCount === 0) return undefined;
    const queue = this.submission[this.#ready[this.#readyHead]];
    this.#readyHead = (this.#readyHead + 1) % this.#ready.length;
    this.#readyCount--;
    if (queue !== undefined) queue.listed = false;
    return queue;
  }

  /** Lists the queue again if it still has work that can be done; one whose completion queue is full waits for that queue's doorbell. */
  putBack(queue: SubmissionQueue): void {
    if (!queue.gone && !queue.completion.full) this.#list(queue);
  }

  /** Fetches the command at the head into `command`, from wherever the queue lies, and moves the head on. */
  fetch(queue: SubmissionQueue, command: Command): void {
    const low = (queue.baseLow >>> 0) + queue.head * SUBMISSION_BYTES;
    this.#bus.readEntry(low | 0, low >= CARRY ? queue.baseHigh + 1 : queue.baseHigh, command.halves, command.words);
    queue.head = queue.head + 1 === queue.size ? 0 : queue.head + 1;
  }

  /**
   * Posts a completion. When the queue is full it waits in the model.
   * @param head the submission queue's head to report
   * @param status Dword 3 without identifier and phase
   */
  post(queue: CompletionQueue, dword0: number, submissionId: number, head: number, commandId: number, status: number): void {
    const entry = this.#entry;
    entry[Cqe.dword0] = dword0;
    entry[Cqe.dword1] = 0;
    entry[Cqe.queue] = (submissionId << 16) | (head & 0xffff);
    entry[Cqe.status] = status | (commandId & 0xffff);
    if (queue.full || queue.backlog.length > 0) queue.backlog.push(entry.slice());
    else this.#write(queue, entry);
  }

  #write(queue: CompletionQueue, entry: Int32Array): void {
    const low = (queue.baseLow >>> 0) + queue.tail * COMPLETION_BYTES;
    entry[Cqe.status] |= queue.phase << 16;
    this.#bus.writeWords(low | 0, low >= CARRY ? queue.baseHigh + 1 : queue.baseHigh, entry, COMPLETION_WORDS);
    if (queue.tail + 1 === queue.size) {
      queue.tail = 0;
      queue.phase ^= 1;
    } else {
      queue.tail++;
    }
    if (queue.vector >= 0 && !queue.signal) {
      queue.signal = true;
      this.#signals.push(queue);
    }
  }

  /** Sends the interrupts of the queues that got completions since the last call: one a queue. */
  interrupt(): void {
    for (let index = 0; index < this.#signals.length; index++) {
      const queue = this.#signals[index];
      queue.signal = false;
      this.#msix.raise(queue.vector);
    }
    this.#signals.length = 0;
  }
}
