/**
 * The bus addresses of all pages of one domain on one device, in one array: a request costs the same with one region and with thousands, and touches no
 * object of its region's.
 */
import type { DmaMemory } from '../backing.js';

const FIRST_SLOTS = 16;
const FIRST_PAGES = 256;

/** Numbers of each slot: its first page in `addresses`, how many there are (0 while the slot is free), and requests in flight that use them. */
export const SPAN_WORDS = 4;
export const Span = { first: 0, pages: 1, inFlight: 2 } as const;

export class PageTable {
  /** The bus address of each page. Replaced when it grows; read it through the table. */
  addresses = new BigUint64Array(FIRST_PAGES);
  /** The same memory as two words for each page, low and high. */
  words = new Uint32Array(this.addresses.buffer);
  /** {@link Span} of each slot. Replaced likewise. */
  spans = new Int32Array(SPAN_WORDS * FIRST_SLOTS);
  /** Pages of all slots, and where the next ones go: what a slot leaves free is used again when the table is full. */
  #used = 0;
  #end = 0;

  /** A table of one memory, in slot 0. */
  static of(memory: DmaMemory): PageTable {
    const table = new PageTable();
    table.add(0, memory);
    return table;
  }

  /** Takes the pages of `memory` for a slot that is free. */
  add(slot: number, memory: DmaMemory): void {
    const pages = memory.pageLow.length;
    const span = SPAN_WORDS * slot;
    if (span >= this.spans.length) this.#growSpans(slot + 1);
    if (this.#end + pages > this.addresses.length) this.#compact(pages);
    for (let page = 0, word = 2 * this.#end; page < pages; page++, word += 2) {
      this.words[word] = memory.pageLow[page];
      this.words[word + 1] = memory.pageHigh[page];
    }
    this.spans[span + Span.first] = this.#end;
    this.spans[span + Span.pages] = pages;
    this.spans[span + Span.inFlight] = 0;
    this.#end += pages;
    this.#used += pages;
  }

  /** Frees a slot: nothing can be translated through it any more. */
  remove(slot: number): void {
    const span = SPAN_WORDS * slot;
    this.#used -= this.spans[span + Span.pages];
    this.spans[span + Span.pages] = 0;
    if (this.#used === 0) this.#end = 0;
  }

  /** Moves all spans to the front of a table that holds `more` pages beside them, with room for as many again. */
  #compact(more: number): void {
    const addresses = new BigUint64Array(Math.max(FIRST_PAGES, 2 * (this.#used + more)));
    this.#end = 0;
    for (let span = 0; span < this.spans.length; span += SPAN_WORDS) {
      const [first, pages] = [this.spans[span + Span.first], this.spans[span + Span.pages]];
      addresses.set(this.addresses.subarray(first, first + pages), this.#end);
      this.spans[span + Span.first] = this.#end;
      this.#end += pages;
    }
    this.addresses = addresses;
    this.words = new Uint32Array(addresses.buffer);
  }

  #growSpans(slots: number): void {
    const spans = new Int32Array(2 ** Math.ceil(Math.log2(SPAN_WORDS * slots)));
    spans.set(this.spans);
    this.spans = spans;
  }
}
