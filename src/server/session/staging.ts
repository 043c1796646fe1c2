/**
 * The staging memory of a session: where the data of its inline requests are while the device works on them.
 *
 * Pages are handed out in runs. When a request was given up (reset, timeout, lost) the device may still write to its pages, so the whole region is
 * retired: nothing new is placed in it, and it goes to quarantine when its last request has been answered.
 */
import type { Domain, Region } from '../domains/index.js';
import { PAGE_BYTES } from '../../protocol/index.js';

const PAGE_SHIFT = 12;

/** What {@link Staging} packs into the number that travels with a request: page (19 bits), number of the staging (11 bits), direction (1 bit). */
const SERIAL_SHIFT = 19;
const SERIAL_MASK = 0x7ff;
const PAGE_MASK = 0x7_ffff;
const READ_BIT = 1 << 30;
/** Numbers of stagings run from 1 to this one, so that no cookie is 0. */
export const MAX_SERIAL = SERIAL_MASK;

export const cookieSerial = (cookie: number): number => (cookie >>> SERIAL_SHIFT) & SERIAL_MASK;
export const cookiePage = (cookie: number): number => cookie & PAGE_MASK;
export const cookieIsRead = (cookie: number): boolean => (cookie & READ_BIT) !== 0;

export const pagesOf = (bytes: number): number => Math.ceil(bytes / PAGE_BYTES);

export class Staging {
  readonly serial: number;
  readonly region: Region;
  readonly domain: Domain;
  readonly pages: number;
  readonly bytes: Uint8Array;
  /** Bytes of data of the requests that are placed here. */
  bytesInFlight = 0;
  requestsInFlight = 0;
  /** Of each page that starts a run: how many pages, how many bytes of data, and for which queue. */
  readonly #run: Int32Array;
  readonly #length: Uint32Array;
  readonly #owner: Int32Array;
  /** Where the search starts: a free page, or the start of a run. */
  #next = 0;

  constructor(serial: number, domain: Domain, region: Region) {
    this.serial = serial;
    this.domain = domain;
    this.region = region;
    this.bytes = region.view;
    this.pages = region.bytes >>> PAGE_SHIFT;
    this.#run = new Int32Array(this.pages);
    this.#length = new Uint32Array(this.pages);
    this.#owner = new Int32Array(this.pages);
  }

  /** The cookie of a run for `length` bytes (above 0) of the queue `owner`, or 0 when no run is long enough now. */
  place(length: number, owner: number, isRead: boolean): number {
    const pages = pagesOf(length);
    let page = this.#find(this.#next, this.pages, pages);
    if (page < 0) page = this.#find(0, this.pages, pages);
    if (page < 0) return 0;
    this.#run[page] = pages;
    this.#length[page] = length;
    this.#owner[page] = owner;
    this.#next = page + pages === this.pages ? 0 : page + pages;
    this.bytesInFlight += length;
    this.requestsInFlight++;
    return page | (this.serial << SERIAL_SHIFT) | (isRead ? READ_BIT : 0);
  }

  /** Where the data of a placed request start. */
  offset(cookie: number): number {
    return cookiePage(cookie) * PAGE_BYTES;
  }

  /** Bytes of data of a placed request. */
  length(cookie: number): number {
    return this.#length[cookiePage(cookie)];
  }

  /** The request was answered, or never sent. */
  remove(cookie: number): void {
    this.#release(cookiePage(cookie));
  }

  /** Removes what is placed for a queue that is gone. Returns how many requests that were. */
  removeOwner(owner: number): number {
    let removed = 0;
    for (let page = 0; page < this.pages; page++) {
      if (this.#run[page] === 0 || this.#owner[page] !== owner) continue;
      this.#release(page);
      removed++;
    }
    return removed;
  }

  #release(page: number): void {
    this.#run[page] = 0;
    this.bytesInFlight -= this.#length[page];
    if (--this.requestsInFlight === 0) this.#next = 0;
  }

  /** First page of `pages` free ones in [from, to), or -1. Runs are stepped over whole. */
  #find(from: number, to: number, pages: number): number {
    let start = from;
    for (let page = from; page < to;) {
      const run = this.#run[page];
      page += run === 0 ? 1 : run;
      if (run !== 0) start = page;
      else if (page - start === pages) return start;
    }
    return -1;
  }
}
