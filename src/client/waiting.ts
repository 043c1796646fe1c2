import type { Request } from './request.js';

/** Requests with parts to send, in turn. A request that was cut into many parts goes to the back now and then, so that small ones pass it. */
export class Waiting {
  #items: (Request | undefined)[] = [];
  #head = 0;

  get empty(): boolean {
    return this.#head === this.#items.length;
  }

  /** The one whose turn it is; only when not empty. */
  get first(): Request {
    return this.#items[this.#head] as Request;
  }

  push(request: Request): void {
    this.#items.push(request);
  }

  shift(): void {
    this.#items[this.#head++] = undefined;
    if (this.empty) {
      this.#items.length = 0;
      this.#head = 0;
    } else if (this.#head > 1_024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
  }

  /** Ends the turn of the first one. */
  rotate(): void {
    const request = this.first;
    this.#items.push(request);
    this.shift();
  }

  /** Takes all of them out. */
  drain(): Request[] {
    const all = this.#items.slice(this.#head) as Request[];
    this.#items = [];
    this.#head = 0;
    return all;
  }
}
