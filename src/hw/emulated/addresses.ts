/**
 * Which bus addresses the memory of the embedded machine has.
 *
 * Pages are handed out scattered, below and above 4 GiB, as a machine that has run for a month would, so that whoever builds PRP lists meets
 * the general case at once. Contiguous runs come from a part of their own. All in page numbers: bus address / 4096.
 */
import { HardwareError } from '../task.js';
import { Random } from './random.js';

/** Pages that join the pool together. */
const EXTENT_PAGES = 4096;
/** The pool is refilled below this, so that a page picked from it is far from its neighbours. */
const LOW_WATER_PAGES = 4 * EXTENT_PAGES;

/** Below 4 GiB: from 256 MiB (past the firmware's and the BARs of small machines) to 2 GiB. */
const LOW_FIRST = 0x1_0000;
const LOW_END = 0x8_0000;
/** Above 4 GiB. */
const HIGH_FIRST = 0x10_0000;
/** Contiguous runs: from 512 GiB to 1 TiB, the end of what the bus decodes. */
const RUNS_FIRST = 0x800_0000;
const RUNS_END = 0x1000_0000;

/** Page numbers are below this: the bus has 40 address bits. */
export const BUS_PAGES = RUNS_END;

interface Run {
  first: number;
  pages: number;
}

export class AddressSpace {
  readonly #random: Random;
  readonly #limit: number;
  /** Free scattered pages: the first `#free` entries. */
  #pool = new Uint32Array(2 * LOW_WATER_PAGES);
  #free = 0;
  #nextLow = LOW_FIRST;
  #nextHigh = HIGH_FIRST;
  #extents = 0;
  #used = 0;
  /** Free contiguous runs, by address, never adjacent. */
  readonly #runs: Run[] = [{ first: RUNS_FIRST, pages: RUNS_END - RUNS_FIRST }];

  /** @param limit pages that can be in use at once. */
  constructor(seed: number, limit: number) {
    this.#random = new Random(seed);
    this.#limit = limit;
  }

  /** Pages in use. */
  get used(): number {
    return this.#used;
  }

  /** Fills both arrays with the addresses of as many pages. Throws `exhausted`, and has then taken nothing. */
  take(low: Uint32Array, high: Uint32Array, contiguous: boolean): void {
    const pages = low.length;
    if (pages > this.#limit - this.#used) throw new HardwareError('exhausted', `no bus addresses for ${pages} more pages of 4096 bytes`);
    const first = contiguous ? this.#takeRun(pages) : -1;
    for (let index = 0; index < pages; index++) {
      const page = contiguous ? first + index : this.#takePage();
      low[index] = (page << 12) >>> 0;
      high[index] = page >>> 20;
    }
    this.#used += pages;
  }

  /** Takes back what `take` gave. */
  giveBack(low: Uint32Array, high: Uint32Array): void {
    const first = pageNumber(low[0], high[0]);
    if (first >= RUNS_FIRST) {
      this.#giveRun(first, low.length);
    } else {
      for (let index = 0; index < low.length; index++) this.#givePage(pageNumber(low[index], high[index]));
    }
    this.#used -= low.length;
  }

  #takePage(): number {
    if (this.#free < LOW_WATER_PAGES) this.#addExtent();
    const index = this.#random.below(this.#free);
    const page = this.#pool[index];
    this.#pool[index] = this.#pool[--this.#free];
    return page;
  }

  #givePage(page: number): void {
    if (this.#free === this.#pool.length) {
      const pool = new Uint32Array(2 * this.#free);
      pool.set(this.#pool);
      this.#pool = pool;
    }
    this.#pool[this.#free++] = page;
  }

  /** One extent in three lies below 4 GiB, while there is room. The high part ends far above any limit that options allow. */
  #addExtent(): void {
    while (this.#free < LOW_WATER_PAGES) {
      const below = this.#extents++ % 3 === 0 && this.#nextLow < LOW_END;
      const first = below ? this.#nextLow : this.#nextHigh;
      if (below) this.#nextLow += EXTENT_PAGES;
      else this.#nextHigh += EXTENT_PAGES;
      for (let page = first; page < first + EXTENT_PAGES; page++) this.#givePage(page);
    }
  }

  #takeRun(pages: number): number {
    const index = this.#runs.findIndex((run) => run.pages >= pages);
    if (index < 0) throw new HardwareError('exhausted', `no ${pages} pages that follow each other on the bus`);
    const run = this.#runs[index];
    const first = run.first;
    run.first += pages;
    run.pages -= pages;
    if (run.pages === 0) this.#runs.splice(index, 1);
    return first;
  }

  #giveRun(first: number, pages: number): void {
    let index = this.#runs.findIndex((run) => run.first > first);
    if (index < 0) index = this.#runs.length;
    this.#runs.splice(index, 0, { first, pages });
    this.#join(index);
    if (index > 0) this.#join(index - 1);
  }

  /** Joins the run at `index` with the one after it, if they touch. */
  #join(index: number): void {
    const run = this.#runs[index];
    const next = this.#runs[index + 1];
    if (next === undefined || run.first + run.pages !== next.first) return;
    run.pages += next.pages;
    this.#runs.splice(index + 1, 1);
  }
}

/** The page number of a bus address in two words, which must be below {@link BUS_PAGES} pages. */
export function pageNumber(low: number, high: number): number {
  return ((high << 20) | (low >>> 12)) >>> 0;
}
