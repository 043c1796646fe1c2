/**
 * The SDK's side of one queue: requests become entries, entries go out, completions come back. A {@link Carrier} knows how they travel.
 *
 * Requests of one tick of the event loop go out together. The queue keeps within what the server allows (entries of the ring, requests in
 * flight, staging memory, size of a message), so requests wait here instead of being refused there.
 */
import { COMPLETION_BYTES, COMPLETION_WORDS, Code, CompletionWord, EntryWord, Operation } from '../protocol/index.js';
import type { Carrier } from './carrier.js';
import { codeError, completionField, malformed, type RingwardenError } from './errors.js';
import type { CompletionEvent } from './events.js';
import type { Request } from './request.js';
import { Slots } from './slots.js';
import { soon } from './soon.js';
import { Waiting } from './waiting.js';

const TWO_32 = 0x1_0000_0000;

/** Parts that one request may send before it is the turn of the next one. */
const QUANTUM = 16;

/** Requests with these codes were given up: the device may still be working on them. */
const isUncertain = (code: number): boolean => code >= Code.timeout;

export interface QueueOptions {
  readonly carrier: Carrier;
  readonly lease: number;
  readonly generation: number;
  readonly queue: number;
  /** Most requests in flight. */
  readonly depth: number;
}

export class Queue {
  /** Told of every completion, when somebody wants to know. */
  onCompletion: ((event: CompletionEvent) => void) | undefined;
  readonly #carrier: Carrier;
  readonly #lease: number;
  readonly #queue: number;
  #generation: number;
  readonly #slots: Slots;
  readonly #waiting = new Waiting();
  readonly #completions: Uint32Array;
  readonly #completionHalves: BigUint64Array;
  readonly #completionBytes: Uint8Array;
  /** Parts that the first request sent in this turn. */
  #turn = 0;
  #scheduled = false;
  /** Resets of the lease that are under way. */
  #resets = 0;
  #stopped = false;
  #end: RingwardenError | undefined;

  constructor(options: QueueOptions) {
    const { depth } = options;
    this.#carrier = options.carrier;
    this.#lease = options.lease;
    this.#queue = options.queue;
    this.#generation = options.generation;
    this.#slots = new Slots(depth);
    this.#completions = new Uint32Array(depth * COMPLETION_WORDS);
    this.#completionBytes = new Uint8Array(this.#completions.buffer);
    this.#completionHalves = new BigUint64Array(this.#completions.buffer);
  }

  get inFlight(): number {
    return this.#slots.capacity - this.#slots.free;
  }

  set generation(generation: number) {
    this.#generation = generation;
  }

  /** Adds a request. It goes out at the end of this tick, as far as there is room. */
  submit(request: Request): void {
    if (this.#end !== undefined) {
      request.fail(this.#end);
      request.endIfDone();
      return;
    }
    this.#waiting.push(request);
    this.#schedule();
  }

  /** The lease is being reset on our own demand: requests are kept back until as many calls of {@link endReset}. */
  beginReset(): void {
    this.#resets++;
  }

  endReset(): void {
    this.#resets--;
    this.#schedule();
  }

  /** Keeps requests back for good: the lease is being closed. */
  stop(): void {
    this.#stopped = true;
  }

  /** Ends every request, in flight or not, with `error`; later ones end with it at once. */
  end(error: RingwardenError): void {
    if (this.#end !== undefined) return;
    this.#end = error;
    for (let slot = 0; slot < this.#slots.capacity; slot++) {
      const request = this.#slots.requests[slot];
      if (request === undefined) continue;
      this.#release(slot, request, true);
      request.fail(error);
      request.endIfDone();
    }
    for (const request of this.#waiting.drain()) {
      request.fail(error);
      request.endIfDone();
    }
    this.#carrier.end();
  }

  readonly #schedule = (): void => {
    if (this.#scheduled || this.#waiting.empty) return;
    this.#scheduled = true;
    soon(this.#flush);
  };

  readonly #flush = (): void => {
    this.#scheduled = false;
    if (this.#end !== undefined) return;
    while (this.#fill()) this.#carrier.send();
  };

  /** Adds what can go out at once; false when nothing can. */
  #fill(): boolean {
    while (!this.#waiting.empty && this.#slots.free > 0 && this.#resets === 0 && !this.#stopped) {
      const request = this.#waiting.first;
      if (request.left > 0 && !this.#addPart(request)) {
        if (request.error === undefined) break;
        // There never will be room for it.
        request.endIfDone();
      }
      if (request.left === 0) {
        this.#waiting.shift();
        this.#turn = 0;
      } else if (++this.#turn === QUANTUM) {
        this.#waiting.rotate();
        this.#turn = 0;
      }
    }
    return this.#carrier.count > 0;
  }

  /** Adds the next part of a request; false when there is no room for it or its data at the moment. */
  #addPart(request: Request): boolean {
    const units = Math.min(request.left, request.partUnits);
    const length = units * request.unitBytes;
    if (!this.#carrier.reserve(request, length, this.#schedule)) return false;
    const slot = this.#slots.take(request);
    this.#slots.bytes[slot] = length;
    this.#slots.at[slot] = request.taken;
    this.#slots.lbas[slot] = request.lba;
    this.#slots.blocks[slot] = request.blocks ? units : 0;
    this.#slots.submits[slot] = this.#carrier.submit;
    this.#writeEntry(this.#carrier.add(request, slot, length), request, slot, length);
    request.left -= units;
    request.outstanding++;
    if (request.blocks) request.lba += units;
    if (request.inline) request.taken += length;
    else request.offset += length;
    return true;
  }

  /** The last three words are reserved: nobody ever wrote anything there. A word takes the low 32 bits of what is stored into it. */
  #writeEntry(at: number, request: Request, slot: number, length: number): void {
    const carrier = this.#carrier;
    const { words } = carrier;
    const { inline } = request;
    const flags = inline ? request.flags | carrier.flag : request.flags;
    words[at + EntryWord.head] = request.operation | (flags << 8) | (request.share << 16);
    words[at + EntryWord.generation] = this.#generation;
    words[at + EntryWord.tagLow] = slot;
    words[at + EntryWord.tagHigh] = this.#slots.sequences[slot];
    words[at + EntryWord.lbaLow] = request.lba;
    words[at + EntryWord.lbaHigh] = request.lba / TWO_32;
    words[at + EntryWord.blocks] = this.#slots.blocks[slot];
    words[at + EntryWord.region] = inline ? carrier.region : request.region;
    words[at + EntryWord.offsetLow] = inline ? carrier.offset : request.region === 0 ? 0 : request.offset;
    words[at + EntryWord.offsetHigh] = 0;
    words[at + EntryWord.length] = length;
    words[at + EntryWord.lease] = this.#lease;
    words[at + EntryWord.queue] = this.#queue;
  }

  /** The server refused a submit as a whole: what went with it ends with the error. */
  refused(submit: number, errorOf: (context: string) => RingwardenError): void {
    for (let slot = 0; slot < this.#slots.capacity; slot++) {
      const request = this.#slots.requests[slot];
      if (request === undefined || this.#slots.submits[slot] !== submit) continue;
      request.fail(errorOf(this.#contextOf(request, slot)));
      this.#release(slot, request, false);
      request.endIfDone();
    }
    this.#carrier.wake();
    this.#schedule();
  }

  /** Takes a message of completions. Throws a ConnectionError for one that does not fit what is in flight. */
  complete(entries: Uint8Array, data: Uint8Array): void {
    const count = entries.length / COMPLETION_BYTES;
    if (!Number.isInteger(count) || count === 0 || count > this.inFlight) {
      throw malformed(`${entries.length} bytes of completions with ${this.inFlight} requests in flight`);
    }
    this.#completionBytes.set(entries);
    this.#carrier.arrived(data, this.#check(count));
    this.#completeAll(count);
  }

  /** Takes the completions that are there already, and returns how many. Throws a ConnectionError as {@link complete} does. */
  reap(): number {
    if (this.#end !== undefined) return 0;
    const count = this.#carrier.take(this.#completionHalves, this.inFlight);
    if (count === 0) return 0;
    this.#check(count);
    this.#completeAll(count);
    return count;
  }

  #completeAll(count: number): void {
    for (let index = 0; index < count; index++) this.#completeOne(index * COMPLETION_WORDS);
    this.#carrier.wake();
    this.#schedule();
  }

  /** Every completion answers a request in flight. Returns how many bytes of the program's data the reads among them have. */
  #check(count: number): number {
    const words = this.#completions;
    let sum = 0;
    for (let at = 0; at < count * COMPLETION_WORDS; at += COMPLETION_WORDS) {
      const slot = words[at + CompletionWord.tagLow];
      const request = this.#slots.find(slot, words[at + CompletionWord.tagHigh]);
      if (request === undefined) throw malformed('a completion with a tag that is not in flight');
      if ((words[at + CompletionWord.code] & 0xffff) !== Code.ok || !request.inline || request.operation !== Operation.read) continue;
      const length = this.#slots.bytes[slot];
      if (words[at + CompletionWord.bytes] !== length) throw malformed(`a read of ${length} bytes that brought ${words[at + CompletionWord.bytes]}`);
      sum += length;
    }
    return sum;
  }

  /** Ends a part. */
  #completeOne(at: number): void {
    const words = this.#completions;
    const slot = words[at + CompletionWord.tagLow];
    const request = this.#slots.find(slot, words[at + CompletionWord.tagHigh]);
    if (request === undefined) throw malformed('two completions with the same tag');
    const code = words[at + CompletionWord.code] & 0xffff;
    if (code !== Code.ok) {
      request.fail(this.#errorOf(request, slot, at, code));
    } else if (request.inline && request.operation === Operation.read) {
      this.#carrier.deliver(request, slot, this.#slots.at[slot], this.#slots.bytes[slot]);
    }
    if (this.onCompletion !== undefined) this.#tell(this.onCompletion, request, slot, code);
    this.#release(slot, request, isUncertain(code));
    request.endIfDone();
  }

  #errorOf(request: Request, slot: number, at: number, code: number): RingwardenError {
    const words = this.#completions;
    // What was refused because a reset crossed its way met the same end as what the reset found in flight.
    const old = this.#resets > 0 || words[at + CompletionWord.generation] !== this.#generation;
    const crossed = code === Code.staleGeneration || (code === Code.leaseNotActive && old);
    const told = crossed ? Code.reset : code;
    const value = BigInt(words[at + CompletionWord.valueLow]) | (BigInt(words[at + CompletionWord.valueHigh]) << 32n);
    const field = completionField(words[at + CompletionWord.code] >>> 16);
    const error = codeError(
      this.#contextOf(request, slot),
      told,
      field,
      field === '' ? '' : String(value),
      words[at + CompletionWord.status] & 0xffff,
    );
    if (error.code === 'malformedAnswer') throw error;
    return error;
  }

  /** What a part asked for, in words. */
  #contextOf(request: Request, slot: number): string {
    const count = this.#slots.blocks[slot];
    const where = request.blocks ? ` of ${count} block${count === 1 ? '' : 's'} at block ${this.#slots.lbas[slot]}` : '';
    return `${request.name}${where} in ${request.place}`;
  }

  #tell(listener: (event: CompletionEvent) => void, request: Request, slot: number, code: number): void {
    const { name } = request;
    if (name === 'none') return;
    const blocks = this.#slots.blocks[slot];
    listener({ type: 'completion', operation: name, share: request.share, lba: blocks === 0 ? 0 : this.#slots.lbas[slot], blocks, code });
  }

  #release(slot: number, request: Request, uncertain: boolean): void {
    this.#carrier.release(slot, uncertain);
    this.#slots.give(slot);
    request.outstanding--;
  }
}
