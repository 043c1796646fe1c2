/** Entries in `submit` messages, with their data; completions in messages of the server. */
import { EntryFlag, Operation, type SessionLimits } from '../protocol/index.js';
import type { Carrier } from './carrier.js';
import { malformed } from './errors.js';
import type { Link } from './link.js';
import type { Request } from './request.js';
import { Staging } from './staging.js';
import { SubmitFrame } from './submit-frame.js';

/**
 * Bytes of one message that the SDK aims at, below the limit of the server: large enough to pay for a message, small enough that the server
 * works on one while the next one is written.
 */
export const MESSAGE_BYTES = 512 * 1_024;

export interface SocketCarrierOptions {
  readonly link: Link;
  readonly staging: Staging;
  readonly limits: Readonly<SessionLimits>;
  readonly lease: number;
  readonly queue: number;
  readonly depth: number;
}

/** Bytes that travel to the server with a part. */
const sentOf = (request: Request, length: number): number => (request.inline && request.operation !== Operation.read ? length : 0);

export class SocketCarrier implements Carrier {
  readonly words: Uint32Array;
  readonly flag = EntryFlag.inline;
  readonly region = 0;
  readonly offset = 0;
  readonly #link: Link;
  readonly #staging: Staging;
  readonly #frame: SubmitFrame;
  /** Of each slot: staging memory of the server that its data take. */
  readonly #charges: Uint32Array;
  #data: Uint8Array = new Uint8Array(0);
  #dataAt = 0;

  constructor({ link, staging, limits, lease, queue, depth }: SocketCarrierOptions) {
    this.#link = link;
    this.#staging = staging;
    this.#frame = new SubmitFrame(lease, queue, Math.min(depth, limits.batch), Math.min(MESSAGE_BYTES, limits.messageBytes));
    this.words = this.#frame.words;
    this.#charges = new Uint32Array(depth);
  }

  get count(): number {
    return this.#frame.count;
  }

  get submit(): number {
    return this.#link.submits + 1;
  }

  reserve(request: Request, length: number, retry: () => void): boolean {
    if (!this.#frame.fits(sentOf(request, length))) return false;
    const charge = request.inline ? Staging.charge(length) : 0;
    return charge === 0 || this.#staging.take(charge, retry);
  }

  add(request: Request, slot: number, length: number): number {
    this.#charges[slot] = request.inline ? Staging.charge(length) : 0;
    const at = this.#frame.add();
    if (sentOf(request, length) > 0 && request.memory !== undefined) this.#frame.addData(request.memory, request.taken, length);
    return at;
  }

  send(): void {
    this.#link.submit(this.#frame.encode());
  }

  arrived(data: Uint8Array, expected: number): void {
    if (expected !== data.length) throw malformed(`${data.length} bytes of data with completions that have ${expected}`);
    this.#data = data;
    this.#dataAt = 0;
  }

  take(): number {
    return 0;
  }

  deliver(request: Request, _slot: number, at: number, length: number): void {
    const from = this.#dataAt;
    this.#dataAt += length;
    // Nobody waits for the data of an aborted request.
    request.memory?.set(this.#data.subarray(from, from + length), at);
  }

  release(slot: number): void {
    this.#staging.give(this.#charges[slot]);
    this.#charges[slot] = 0;
  }

  wake(): void {
    this.#staging.wake();
  }

  indices(): undefined {
    // The rings are the server's own.
  }

  end(): void {
    this.#staging.wake();
  }
}
