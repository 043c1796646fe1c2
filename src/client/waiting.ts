import type { Request } from './request.js';

const FIRST_ENTRIES = 64;

/**
 * Requests with parts to send, in turn. A request that was cut into many parts goes to the back now and then, so that small ones pass it. A ring that grows
 * when it is full and is kept, so that nothing is made for a request.
 */
export class Waiting {
  /** As many as a power of two. */
  #items: (Request | undefined)[] = Array.from({ length: FIRST_ENTRIES });
  #head = 0;
  #count = 0;

  get empty(): boolean {
    return this.#count === 0;
  }

  /** The one whose turn it is; only when not empty. */
  get first(): Request {
    return this.#items[this.#head] as Request;
  }

  push(request: Request): void {
    if (this.#count === this.#items.length) this.#grow();
    this.#items[(this.#head + this.#count++) & (this.#items.length - 1)] = request;
  }

  shift(): void {
    this.#items[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#items.length - 1);
    this.#count--;
  }

  /** Ends the turn of the first one. */
  rotate(): void {
    const request = this.first;
    this.shift();
    this.push(request);
  }

  /** Takes all of them out. */
  drain(): Request[] {
    const all: Request[] = [];
    for (; !this.empty; this.shift()) all.push(this.first);
    return all;
  }

  #grow(): void {
    const items = [...this.#items.slice(this.#head), ...this.#items.slice(0, this.#head)];
    this.#head = 0;
    this.#items = [...items, ...Array.from<undefined>({ length: items.length })];
  }
}
