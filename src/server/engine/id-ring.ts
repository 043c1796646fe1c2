/**
 * Tells one thread from another which of many things have work, without looking at all of them: a ring of numbers in shared memory in which each
 * number stands at most once, so that it can never be full. One producer, one consumer.
 */
const HEAD = 0;
const TAIL = 16;
const FLAGS = 32;

export class IdRing {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #capacity: number;

  /** For numbers below `capacity`, a power of two. */
  static create(capacity: number): IdRing {
    return new IdRing(new SharedArrayBuffer((FLAGS + 2 * capacity) * 4));
  }

  constructor(memory: SharedArrayBuffer) {
    this.memory = memory;
    this.#words = new Int32Array(memory);
    this.#capacity = (this.#words.length - FLAGS) / 2;
  }

  /** Producer: puts `id` in, unless it is there already. True if it was not. */
  push(id: number): boolean {
    const words = this.#words;
    if (Atomics.exchange(words, FLAGS + id, 1) === 1) return false;
    const tail = words[TAIL];
    words[FLAGS + this.#capacity + (tail & (this.#capacity - 1))] = id;
    Atomics.store(words, TAIL, (tail + 1) | 0);
    return true;
  }

  /** Consumer: takes the oldest, or -1. What is pushed again after that comes again. */
  pop(): number {
    const words = this.#words;
    const head = words[HEAD];
    if (Atomics.load(words, TAIL) === head) return -1;
    const id = words[FLAGS + this.#capacity + (head & (this.#capacity - 1))];
    words[HEAD] = (head + 1) | 0;
    Atomics.store(words, FLAGS + id, 0);
    return id;
  }

  /** Consumer: whether there is nothing to take. */
  empty(): boolean {
    return Atomics.load(this.#words, TAIL) === this.#words[HEAD];
  }
}
