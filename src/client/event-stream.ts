import { forgetAbort, whenAborted } from './abort.js';
import type { DroppedEvent } from './events.js';
import { invalidArgument } from './errors.js';

/** Events that a stream holds for a reader that is late. More than a burst of completions at full depth. */
const DEFAULT_CAPACITY = 4_096;

export interface StreamOptions {
  /** Events held for a late reader, 1 to 1 000 000; beyond that the oldest are dropped, and a `dropped` event says how many. */
  capacity?: number;
  /** Ends the iteration: it throws the reason of the signal. */
  signal?: AbortSignal;
}

interface Waiter<Event> {
  resolve(result: IteratorResult<Event | DroppedEvent, undefined>): void;
  reject(reason: unknown): void;
}

/** A bounded queue of events for one reader, from the moment when it was made. */
export class EventStream<Event> implements AsyncIterableIterator<Event | DroppedEvent, undefined, undefined> {
  readonly #capacity: number;
  readonly #onEnd: (stream: EventStream<Event>) => void;
  readonly #signal: AbortSignal | undefined;
  /** A ring: `#held` events from `#first`. It grows to the capacity, and never beyond. */
  #ring: (Event | undefined)[] = [];
  #first = 0;
  #held = 0;
  #dropped = 0;
  #waiters: Waiter<Event>[] = [];
  #ended = false;
  #error: Error | undefined;

  constructor(options: StreamOptions, onEnd: (stream: EventStream<Event>) => void) {
    const { capacity = DEFAULT_CAPACITY, signal } = options;
    if (!Number.isInteger(capacity) || capacity < 1 || capacity > 1_000_000) {
      throw invalidArgument('events', 'capacity', capacity, 'a whole number from 1 to 1000000');
    }
    signal?.throwIfAborted();
    this.#capacity = capacity;
    this.#onEnd = onEnd;
    this.#signal = signal;
    whenAborted(signal, this.#onAbort);
  }

  readonly #onAbort = (): void => {
    this.#discard();
    this.end(this.#signal?.reason as Error);
  };

  /** Adds an event; the oldest is dropped when the stream is full. */
  push(event: Event): void {
    if (this.#ended) return;
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) {
      waiter.resolve({ done: false, value: event });
      return;
    }
    if (this.#held === this.#capacity) {
      this.#first = (this.#first + 1) % this.#capacity;
      this.#held--;
      this.#dropped++;
    }
    this.#ring[(this.#first + this.#held) % this.#capacity] = event;
    this.#held++;
  }

  /** Ends the stream after the events that it holds; with `error` the iteration then throws. */
  end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    forgetAbort(this.#signal, this.#onAbort);
    this.#onEnd(this);
    const [first, ...others] = this.#waiters;
    this.#waiters = [];
    if (first === undefined) {
      this.#error = error;
      return;
    }
    if (error === undefined) first.resolve({ done: true, value: undefined });
    else first.reject(error);
    for (const waiter of others) waiter.resolve({ done: true, value: undefined });
  }

  /** The next event; after dropped events, first how many they were. */
  next(): Promise<IteratorResult<Event | DroppedEvent, undefined>> {
    if (this.#dropped > 0) {
      const count = this.#dropped;
      this.#dropped = 0;
      return Promise.resolve({ done: false, value: { type: 'dropped', count } });
    }
    if (this.#held > 0) {
      const value = this.#ring[this.#first] as Event;
      this.#ring[this.#first] = undefined;
      this.#first = (this.#first + 1) % this.#capacity;
      this.#held--;
      return Promise.resolve({ done: false, value });
    }
    if (this.#error !== undefined) {
      const error = this.#error;
      this.#error = undefined;
      return Promise.reject(error);
    }
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
    });
  }

  /** Leaves the iteration (`break` calls this). */
  return(): Promise<IteratorResult<Event | DroppedEvent, undefined>> {
    this.#discard();
    this.#error = undefined;
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  #discard(): void {
    this.#ring = [];
    this.#first = 0;
    this.#held = 0;
    this.#dropped = 0;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
