/** The client's end of shared rings, written from the table in docs/protocol.md alone: what a program in another language does, well or badly. */
import { shm } from '../../../native/shm.js';
import { type CompletionFields, type RequestFields, packEntry, unpackCompletion } from '../../../protocol/index.js';

const HEADER_WORDS = 1_024;
const [TAIL, HEAD, WAKEUP] = [0, 16, 32];
const BYTE = new Uint8Array(1);

export class RawRing {
  readonly entries: number;
  readonly requests: Int32Array;
  readonly completions: Int32Array;
  readonly doorbell: number;
  tail = 0;
  head = 0;

  /** Over the two memories as they are mapped; `doorbell` is the connection. */
  constructor(entries: number, requests: ArrayBuffer, completions: ArrayBuffer, doorbell: number) {
    this.entries = entries;
    this.requests = new Int32Array(requests);
    this.completions = new Int32Array(completions);
    this.doorbell = doorbell;
  }

  /** Maps the files of a queue. `end` unmaps them. */
  static map(entries: number, requests: number, completions: number, doorbell: number): RawRing {
    const readable = shm().map(completions, 0, 4_096 + entries * 32, false);
    shm().guard(readable);
    return new RawRing(entries, shm().map(requests, 0, 4_096 + entries * 64, true), readable, doorbell);
  }

  /** Index of the words of a slot of the request ring. */
  static slot(index: number, entries: number): number {
    return HEADER_WORDS + (index & (entries - 1)) * 16;
  }

  write(...requests: readonly RequestFields[]): void {
    const words = new Uint32Array(this.requests.buffer);
    for (const request of requests) packEntry(words, RawRing.slot(this.tail++, this.entries), request);
  }

  /** Shows what was written, and wakes the server if it asks for that. */
  commit(): void {
    this.setTail(this.tail);
    if (this.needsWakeup) this.ring();
  }

  setTail(tail: number): void {
    Atomics.store(this.requests, TAIL, tail);
  }

  setHead(head: number): void {
    Atomics.store(this.requests, HEAD, head);
  }

  setSleeping(sleeping: boolean): void {
    Atomics.store(this.requests, WAKEUP, sleeping ? 1 : 0);
  }

  get needsWakeup(): boolean {
    return Atomics.load(this.completions, WAKEUP) === 1;
  }

  /** Requests that the server has taken; completions that it has written. */
  get taken(): number {
    return Atomics.load(this.completions, TAIL);
  }

  get completed(): number {
    return Atomics.load(this.completions, HEAD);
  }

  ring(): void {
    shm().send(this.doorbell, BYTE, 0, 1);
  }

  /** Bytes that wait on the doorbell. */
  rung(): number {
    return shm().receive(this.doorbell, new Uint8Array(4_096), 0, 4_096);
  }

  /** Takes what has completed; `keep` leaves the slots taken. */
  reap(keep = false): CompletionFields[] {
    const words = new Uint32Array(this.completions.buffer);
    const found: CompletionFields[] = [];
    for (let at = this.head; at !== this.completed; at = (at + 1) | 0)
      found.push(unpackCompletion(words, HEADER_WORDS + (at & (this.entries - 1)) * 8));
    this.head = this.completed;
    if (!keep) this.setHead(this.head);
    return found;
  }

  end(): void {
    for (const view of [this.requests, this.completions]) shm().unmap(view.buffer as ArrayBuffer);
  }
}
