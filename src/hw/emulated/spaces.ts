/** Configuration space, BARs and interrupts as the engine sees them: every access is checked before anything reaches the device (R16). */
import type { Bar, BarInfo, ConfigSpace, Interrupts, Width } from '../backing.js';
import { EXTENDED_CONFIG_BYTES, INTERRUPT_WINDOW, type Message, type MsixTable } from '../pci/index.js';
import { HardwareError, type Task } from '../task.js';
import type { Link } from './link.js';

const ONES = 0xffff_ffff;

/** Throws RangeError unless the access is aligned and inside. */
function checkAccess(bytes: number, offset: number, width: Width): void {
  const inside = Number.isSafeInteger(offset) && offset >= 0 && width <= bytes && offset <= bytes - width;
  if (!inside) throw new RangeError(`access of ${width} bytes at ${offset} is not inside ${bytes} bytes`);
  if (offset % width !== 0) throw new RangeError(`access of ${width} bytes at ${offset} is not aligned`);
}

function checkValue(value: number, width: 1 | 2 | 4): void {
  if (Number.isSafeInteger(value) && value >= 0 && value <= ONES >>> (32 - 8 * width)) return;
  throw new RangeError(`${value} is not an unsigned value of ${width} bytes`);
}

export class EmulatedConfigSpace implements ConfigSpace {
  readonly bytes = EXTENDED_CONFIG_BYTES;
  readonly #link: Link;

  constructor(link: Link) {
    this.#link = link;
  }

  read8(offset: number): Task<number> {
    return this.#read(offset, 1);
  }
  read16(offset: number): Task<number> {
    return this.#read(offset, 2);
  }
  read32(offset: number): Task<number> {
    return this.#read(offset, 4);
  }
  write8(offset: number, value: number): Task<void> {
    return this.#write(offset, 1, value);
  }
  write16(offset: number, value: number): Task<void> {
    return this.#write(offset, 2, value);
  }
  write32(offset: number, value: number): Task<void> {
    return this.#write(offset, 4, value);
  }

  #read(offset: number, width: 1 | 2 | 4): Task<number> {
    checkAccess(this.bytes, offset, width);
    return this.#link.readConfig(offset, width);
  }

  #write(offset: number, width: 1 | 2 | 4, value: number): Task<void> {
    checkAccess(this.bytes, offset, width);
    checkValue(value, width);
    return this.#link.writeConfig(offset, width, value);
  }
}

export class EmulatedBar implements Bar {
  readonly info: BarInfo;
  readonly #link: Link;
  /** Bytes that can be reached: none after `close`. */
  #bytes: number;

  constructor(info: BarInfo, link: Link) {
    this.info = info;
    this.#link = link;
    this.#bytes = info.bytes;
  }

  /** The function was released: every access is refused from now on. */
  close(): void {
    this.#bytes = 0;
  }

  read8(offset: number): Task<number> {
    return this.#read(offset, 1);
  }
  read16(offset: number): Task<number> {
    return this.#read(offset, 2);
  }
  read32(offset: number): Task<number> {
    return this.#read(offset, 4);
  }
  read64(offset: number): Task<bigint> {
    checkAccess(this.#bytes, offset, 8);
    return this.#read64(offset);
  }
  write8(offset: number, value: number): void {
    this.#write(offset, 1, value);
  }
  write16(offset: number, value: number): void {
    this.#write(offset, 2, value);
  }
  write32(offset: number, value: number): void {
    this.#write(offset, 4, value);
  }
  write64(offset: number, value: bigint): void {
    checkAccess(this.#bytes, offset, 8);
    if (BigInt.asUintN(64, value) !== value) throw new RangeError(`${value} is not an unsigned value of 8 bytes`);
    this.#link.writeBar(this.info.index, offset, 8, Number(value & 0xffff_ffffn), Number(value >> 32n));
  }

  #read(offset: number, width: 1 | 2 | 4): Task<number> {
    checkAccess(this.#bytes, offset, width);
    return this.#readPart(offset, width);
  }

  *#readPart(offset: number, width: 1 | 2 | 4): Task<number> {
    const word = yield* this.#link.readBar(this.info.index, offset & ~3);
    return ((word >>> (8 * (offset & 3))) & (0xffff_ffff >>> (32 - 8 * width))) >>> 0;
  }

  *#read64(offset: number): Task<bigint> {
    const low = yield* this.#link.readBar(this.info.index, offset);
    const high = yield* this.#link.readBar(this.info.index, offset + 4);
    return (BigInt(high) << 32n) | BigInt(low);
  }

  #write(offset: number, width: 1 | 2 | 4, value: number): void {
    checkAccess(this.#bytes, offset, width);
    checkValue(value, width);
    this.#link.writeBar(this.info.index, offset, width, value, 0);
  }
}

const NONE = new Uint32Array(0);

/** The message of a vector: its number, to the interrupt window. */
function messageOf(vector: number): Message {
  return { addressLow: INTERRUPT_WINDOW, addressHigh: 0, data: vector };
}

export class EmulatedInterrupts implements Interrupts {
  readonly #link: Link;
  /** Entries of the table, as the function's capability says. */
  readonly available: number;
  total = 0;
  #table: MsixTable | undefined;
  #fired: Uint32Array = NONE;
  /** Readings of the link's counters when the vectors were enabled. */
  #start = new Int32Array(0);

  constructor(link: Link, available: number) {
    this.#link = link;
    this.available = available;
  }

  get fired(): Uint32Array {
    return this.#fired;
  }

  /** The table is there while the function is claimed. */
  set table(table: MsixTable | undefined) {
    this.#table = table;
  }

  *enable(count: number): Task<void> {
    const allowed = Number.isInteger(count) && count >= 1 && count <= this.available;
    if (!allowed) throw new RangeError(`${count} is not a number of vectors from 1 to ${this.available}`);
    if (this.#table === undefined) throw new HardwareError('unsupported', 'interrupts are enabled after the function is claimed');
    yield* this.disable();
    this.#start = Int32Array.from({ length: count }, (_, vector) => Atomics.load(this.#link.counters, vector));
    this.#fired = new Uint32Array(count);
    yield* this.#table.enable(Array.from({ length: count }, (_, vector) => messageOf(vector)));
  }

  *disable(): Task<void> {
    if (this.#table !== undefined) yield* this.#table.disable();
    this.forget();
  }

  /** The function was reset, or is gone: nothing is enabled any more. */
  forget(): void {
    this.#fired = NONE;
  }

  /** Brings `fired` up to date. Returns how many messages came since the last call. */
  collect(): number {
    const fired = this.#fired;
    const start = this.#start;
    const { counters } = this.#link;
    let count = 0;
    for (let vector = 0; vector < fired.length; vector++) {
      // A plain read: the signal that made the engine look is ordered after the count, and a count that is missed is read the next time.
      const now = (counters[vector] - start[vector]) >>> 0;
      count += (now - fired[vector]) >>> 0;
      fired[vector] = now;
    }
    this.total += count;
    return count;
  }
}
