/** A region of this process's own, mapped, in which the data of requests lie while these are in flight. */
import { PAGE_BYTES } from '../protocol/index.js';

export class StagingMemory {
  /** Handle of the region. */
  readonly region: number;
  readonly bytes: Uint8Array;
  /** Of each page, 1 while it is taken. */
  readonly #taken: Uint8Array;
  readonly #waiting = new Set<() => void>();
  #next = 0;
  #lost = 0;

  constructor(region: number, buffer: ArrayBuffer) {
    this.region = region;
    this.bytes = new Uint8Array(buffer);
    this.#taken = new Uint8Array(Math.floor(buffer.byteLength / PAGE_BYTES));
  }

  /** Bytes that can never be used again, because a device may still be at work on them. */
  get lost(): number {
    return this.#lost * PAGE_BYTES;
  }

  /** Offset of free memory for `length` bytes, in whole pages; -1 when there is none in one piece, and then `retry` is called when some became free. */
  take(length: number, retry: () => void): number {
    const pages = Math.ceil(length / PAGE_BYTES);
    const at = this.#find(pages, this.#next, this.#taken.length) ?? this.#find(pages, 0, Math.min(this.#next + pages, this.#taken.length));
    if (at === undefined) {
      this.#waiting.add(retry);
      return -1;
    }
    this.#taken.fill(1, at, at + pages);
    this.#next = at + pages;
    return at * PAGE_BYTES;
  }

  /** Gives back what `take` gave. `uncertain`: for no use any more. */
  give(offset: number, length: number, uncertain: boolean): void {
    const first = offset / PAGE_BYTES;
    const pages = Math.ceil(length / PAGE_BYTES);
    if (uncertain) this.#lost += pages;
    else this.#taken.fill(0, first, first + pages);
  }

  /** Lets those who waited try again. */
  wake(): void {
    if (this.#waiting.size === 0) return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const retry of waiting) retry();
  }

  /** First page of a free run between two pages. */
  #find(pages: number, from: number, end: number): number | undefined {
    let run = 0;
    for (let page = from; page < end; page++) {
      run = this.#taken[page] === 0 ? run + 1 : 0;
      if (run === pages) return page + 1 - pages;
    }
    return undefined;
  }
}
