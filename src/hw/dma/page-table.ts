/**
 * The bus addresses of all pages of one domain on one device, in one array: a request costs the same with one region and with thousands, and touches no
 * object of its region's.
 */
import type { DmaMemory } from '../backing.js';

const FIRST_SLOTS = 16;
const FIRST_PAGES = 256;

export class PageTable {
  /** The bus address of each page. Replaced when it grows; read it through the table. */
  addresses = new BigUint64Array(FIRST_PAGES);
  /** The same memory as two words for each page, low and high. */
  words = new Uint32Array(this.addresses.buffer);
  /** Of each slot two numbers: its first page in `addresses`, and how many there are; 0 pages while the slot is free. Replaced likewise. */
  spans = new Int32Array(2 * FIRST_SLOTS);
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
    if (2 * slot >= this.spans.length) this.#growSpans(slot + 1);
    if (this.#end + pages > this.addresses.length) this.#compact(pages);
    for (let page = 0, word = 2 * this.#end; page < pages; page++, word += 2) {
      this.words[word] = memory.pageLow[page];
      this.words[word + 1] = memory.pageHigh[page];
    }
    this.spans[2 * slot] = this.#end;
    this.spans[2 * slot + 1] = pages;
    this.#end += pages;
    this.#used += pages;
  }

  /** Frees a slot: nothing can be translated through it any more. */
  remove(slot: number): void {
    this.#used -= this.spans[2 * slot + 1];
    this.spans[2 * slot + 1] = 0;
    if (this.#used === 0) this.#end = 0;
  }

  /** Moves all spans to the front of a table that holds `more` pages beside them, with room for as many again. */
  #compact(more: number): void {
    const addresses = new BigUint64Array(Math.max(FIRST_PAGES, 2 * (this.#used + more)));
    this.#end = 0;
    for (let span = 0; span < this.spans.length; span += 2) {
      const [first, pages] = [this.spans[span], this.spans[span + 1]];
      addresses.set(this.addresses.subarray(first, first + pages), this.#end);
      this.spans[span] = this.#end;
      this.#end += pages;
    }
    this.addresses = addresses;
    this.words = new Uint32Array(addresses.buffer);
  }

  #growSpans(slots: number): void {
    const spans = new Int32Array(2 ** Math.ceil(Math.log2(2 * slots)));
    spans.set(this.spans);
    this.spans = spans;
  }
}
