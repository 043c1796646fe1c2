/**
 * Where the data of one command goes: pieces of attached memory, in order, found by bus address. One of them serves every command, so that
 * nothing is allocated for a request.
 */
import { type Bus, NOTHING } from './bus.js';

export class Transfer {
  /** Pieces in use, and their bytes together. */
  count = 0;
  bytes = 0;
  /** Of each piece: slot, or a negative target of the bus. */
  readonly slots: Int32Array;
  /** Byte offset in the slot's memory. */
  readonly offsets: Int32Array;
  readonly lengths: Int32Array;
  /** Bus address, for pieces that are not memory. */
  readonly lows: Int32Array;
  readonly highs: Int32Array;
  readonly bus: Bus;
  #write = false;

  /** @param pieces most pages that one command can touch. */
  constructor(bus: Bus, pieces: number) {
    this.bus = bus;
    this.slots = new Int32Array(pieces);
    this.offsets = new Int32Array(pieces);
    this.lengths = new Int32Array(pieces);
    this.lows = new Int32Array(pieces);
    this.highs = new Int32Array(pieces);
  }

  /** @param write whether the device writes to the memory. */
  begin(write: boolean): void {
    this.count = 0;
    this.bytes = 0;
    this.#write = write;
  }

  /** Adds `bytes` at a bus address, within one page. Pages that follow each other in one memory become one piece. */
  add(low: number, high: number, bytes: number): void {
    const bus = this.bus;
    bus.find(low, high);
    if (bus.audit !== undefined) bus.note(low, high, bytes, this.#write);
    this.bytes += bytes;
    const last = this.count - 1;
    if (bus.target >= 0 && last >= 0 && this.slots[last] === bus.target && this.offsets[last] + this.lengths[last] === bus.offset) {
      this.lengths[last] += bytes;
      return;
    }
    const index = this.count++;
    this.slots[index] = bus.target;
    this.offsets[index] = bus.offset;
    this.lengths[index] = bytes;
    this.lows[index] = low;
    this.highs[index] = high;
  }

  /** Writes `source` to the pieces, from the device's side: as many bytes as they have. */
  put(source: Uint8Array): void {
    for (let index = 0, at = 0; index < this.count; at += this.lengths[index++]) {
      const length = this.lengths[index];
      const slot = this.slots[index];
      if (slot >= 0) this.bus.bytes[slot].set(source.subarray(at, at + length), this.offsets[index]);
      else if (slot !== NOTHING) this.bus.writeOther(slot, this.lows[index], this.highs[index], source, at, length);
    }
  }

  /** Reads what the pieces hold into `target`. */
  take(target: Uint8Array): void {
    for (let index = 0, at = 0; index < this.count; at += this.lengths[index++]) {
      const length = this.lengths[index];
      const slot = this.slots[index];
      const offset = this.offsets[index];
      if (slot >= 0) target.set(this.bus.bytes[slot].subarray(offset, offset + length), at);
      else this.bus.readOther(slot, this.lows[index], this.highs[index], target, at, length);
    }
  }
}
