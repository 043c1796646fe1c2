/**
 * The bus as the device sees it: physical addresses and nothing that protects what is behind them.
 *
 * An address leads to attached memory, to the registers of a function (peer to peer), to the interrupt window, or to nothing: then reads give
 * all ones and writes vanish, as on a PC. Addresses are two 32-bit words; an access never crosses a page of 4096 bytes.
 */
import { INTERRUPT_WINDOW, INTERRUPT_WINDOW_END } from '../pci/spec.js';
import { BUS_PAGES, pageNumber } from './addresses.js';
import type { Audit } from './audit.js';

/** Values of {@link Bus.target} that are not a slot. */
export const NOTHING = -1;
export const REGISTERS = -2;
export const INTERRUPT = -3;

/** Bytes of one memory: an offset in it is a small integer. */
export const MAX_ATTACH_BYTES = 2 ** 31;

const TABLE_PAGES = 4096;
const HIGH_WORDS = BUS_PAGES / 2 ** 20;

/** Registers that answer bus addresses, and what takes interrupt messages. */
export interface RegisterTarget {
  /** Whether the address lies in a BAR that is decoded now. */
  decodes(low: number, high: number): boolean;
  /** Aligned to 4 bytes. */
  readBus(low: number, high: number): number;
  writeBus(low: number, high: number, value: number): void;
}

export class Bus {
  /** What the last `find` found: a slot (>= 0), or one of the constants above; and the byte offset in that slot's memory. */
  target = NOTHING;
  offset = 0;
  /** Of each slot, the whole memory. */
  readonly bytes: Uint8Array[] = [];
  readonly words: Int32Array[] = [];
  readonly halves: BigUint64Array[] = [];
  readonly owners: string[] = [];

  readonly audit: Audit | undefined;
  registers: RegisterTarget | undefined;
  /** Interrupt messages that no table entry of a function caused are indistinguishable from those that one did: that is the point. */
  readonly #interrupt: (data: number) => void;
  /** Page number >> 12 -> pairs of (slot + 1, page in the slot). */
  readonly #directory: (Int32Array | undefined)[] = Array.from({ length: BUS_PAGES / TABLE_PAGES }, () => undefined);
  readonly #word = new Int32Array(1);
  readonly #wordBytes = new Uint8Array(this.#word.buffer);

  constructor(interrupt: (data: number) => void, audit?: Audit) {
    this.#interrupt = interrupt;
    this.audit = audit;
  }

  /** Gives a slot its memory, which has no addresses yet. */
  attach(slot: number, buffer: ArrayBuffer, owner: string): void {
    this.bytes[slot] = new Uint8Array(buffer);
    this.words[slot] = new Int32Array(buffer);
    this.halves[slot] = new BigUint64Array(buffer);
    this.owners[slot] = owner;
  }

  /** Gives pages of the slot's memory, from number `first` on, their addresses. */
  point(slot: number, first: number, pageLow: Uint32Array, pageHigh: Uint32Array): void {
    for (let index = 0; index < pageLow.length; index++) this.#point(pageNumber(pageLow[index], pageHigh[index]), slot + 1, first + index);
  }

  detach(slot: number, pageLow: Uint32Array, pageHigh: Uint32Array): void {
    for (let index = 0; index < pageLow.length; index++) this.#point(pageNumber(pageLow[index], pageHigh[index]), 0, 0);
    this.bytes[slot] = NO_BYTES;
    this.words[slot] = NO_WORDS;
    this.halves[slot] = NO_HALVES;
    this.owners[slot] = '';
  }

  #point(page: number, entry: number, index: number): void {
    const table = (this.#directory[page >>> 12] ??= new Int32Array(2 * TABLE_PAGES));
    const at = (page & 0xfff) << 1;
    table[at] = entry;
    table[at + 1] = index;
  }

  /** Sets `target` and `offset`. */
  find(low: number, high: number): void {
    if (high >= 0 && high < HIGH_WORDS) {
      const page = (high << 20) | (low >>> 12);
      const table = this.#directory[page >>> 12];
      if (table !== undefined) {
        const at = (page & 0xfff) << 1;
        if (table[at] !== 0) {
          this.target = table[at] - 1;
          this.offset = (table[at + 1] << 12) | (low & 0xfff);
          return;
        }
      }
    }
    this.offset = 0;
    const address = low >>> 0;
    if (high === 0 && address >= INTERRUPT_WINDOW && address < INTERRUPT_WINDOW_END) this.target = INTERRUPT;
    else this.target = this.registers?.decodes(low, high) === true ? REGISTERS : NOTHING;
  }

  /** Records the access that `find` was made for. */
  note(low: number, high: number, bytes: number, write: boolean): void {
    if (this.audit === undefined) return;
    const kind = this.target >= 0 ? 'memory' : this.target === REGISTERS ? 'registers' : this.target === INTERRUPT ? 'interrupt' : 'nothing';
    this.audit.record(kind, this.target >= 0 ? this.owners[this.target] : '', low, high, this.offset, bytes, write);
  }

  /**
   * Reads a submission entry, 64 bytes at an address that is a multiple of 64. `halves` and `words` are one memory. In 64-bit halves and written out,
   * because every command comes this way.
   */
  readEntry(low: number, high: number, halves: BigUint64Array, words: Int32Array): void {
    this.find(low, high);
    if (this.target < 0) {
      this.readWords(low, high, words, words.length);
      return;
    }
    if (this.audit !== undefined) this.note(low, high, words.byteLength, false);
    const memory = this.halves[this.target];
    const from = this.offset >>> 3;
    halves[0] = memory[from];
    halves[1] = memory[from + 1];
    halves[2] = memory[from + 2];
    halves[3] = memory[from + 3];
    halves[4] = memory[from + 4];
    halves[5] = memory[from + 5];
    halves[6] = memory[from + 6];
    halves[7] = memory[from + 7];
  }

  /** Reads `count` words at an address that is a multiple of 4. */
  readWords(low: number, high: number, into: Int32Array, count: number): void {
    this.find(low, high);
    if (this.audit !== undefined) this.note(low, high, 4 * count, false);
    if (this.target >= 0) {
      const words = this.words[this.target];
      const from = this.offset >>> 2;
      for (let index = 0; index < count; index++) into[index] = words[from + index];
    } else {
      for (let index = 0; index < count; index++) into[index] = this.peekWord(this.target, low + 4 * index, high);
    }
  }

  /** Writes `count` words at an address that is a multiple of 4; the last one becomes visible last. */
  writeWords(low: number, high: number, from: Int32Array, count: number): void {
    this.find(low, high);
    if (this.audit !== undefined) this.note(low, high, 4 * count, true);
    if (this.target >= 0) {
      const words = this.words[this.target];
      const to = this.offset >>> 2;
      const last = count - 1;
      for (let index = 0; index < last; index++) words[to + index] = from[index];
      Atomics.store(words, to + last, from[last]);
    } else {
      const target = this.target;
      for (let index = 0; index < count; index++) this.pokeWord(target, low + 4 * index, high, from[index]);
    }
  }

  /** Copies `bytes` from a place that is not memory into `into`. Nothing and the interrupt window read as all ones. */
  readOther(target: number, low: number, high: number, into: Uint8Array, at: number, bytes: number): void {
    for (let index = 0; index < bytes; index += 4) {
      this.#word[0] = this.peekWord(target, low + index, high);
      for (let byte = 0; byte < 4 && index + byte < bytes; byte++) into[at + index + byte] = this.#wordBytes[byte];
    }
  }

  /** Copies `bytes` to a place that is not memory, as writes of 4 bytes. */
  writeOther(target: number, low: number, high: number, from: Uint8Array, at: number, bytes: number): void {
    for (let index = 0; index < bytes; index += 4) {
      this.#word[0] = 0;
      for (let byte = 0; byte < 4 && index + byte < bytes; byte++) this.#wordBytes[byte] = from[at + index + byte];
      this.pokeWord(target, low + index, high, this.#word[0]);
    }
  }

  peekWord(target: number, low: number, high: number): number {
    return target === REGISTERS && this.registers !== undefined ? this.registers.readBus(low, high) : -1;
  }

  pokeWord(target: number, low: number, high: number, value: number): void {
    if (target === INTERRUPT) this.#interrupt(value >>> 0);
    else if (target === REGISTERS) this.registers?.writeBus(low, high, value);
  }
}

const NO_BYTES = new Uint8Array(0);
const NO_WORDS = new Int32Array(0);
const NO_HALVES = new BigUint64Array(0);
