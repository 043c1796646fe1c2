/** The registers of a claimed function. */
import { deviceAddon } from '../../native/device.js';
import type { Bar, BarInfo } from '../backing.js';
import type { Task } from '../task.js';
import { checkAccess } from '../access.js';
import { RegisterFile } from './register-file.js';

/** Where the kernel shows a BAR: `fd` from `offset` on. */
export interface BarPlace {
  readonly info: BarInfo;
  readonly fd: number;
  readonly offset: number;
  /** It can be mapped as a whole; else each access is a system call. */
  readonly mappable: boolean;
}

export interface OpenBar extends Bar {
  /** The kernel took its registers away, for good. */
  readonly faulted: boolean;
  /** All ones from now on; writes vanish. */
  abandon(): void;
  close(): void;
}

/** What reads all ones, or was taken away by the kernel, may be a device that is gone: `suspect` looks. */
export interface BarWatch {
  readonly suspect: (reason: string) => void;
  readonly gone: (reason: string) => void;
}

/** `hidden`: start and end of parts that nobody reaches: the MSI-X table and its pending bits (R31). @throws an Error with `code`. */
export function openBar({ info, fd, offset, mappable }: BarPlace, hidden: readonly number[], watch: BarWatch): OpenBar {
  return mappable
    ? new MappedBar(info, deviceAddon().mapRegisters(fd, offset, info.bytes, hidden), watch)
    : new FileBar(info, fd, offset, hidden, watch);
}

/** Registers that are mapped. The addon checks each access. */
class MappedBar implements OpenBar {
  readonly info: BarInfo;
  readonly #addon = deviceAddon();
  readonly #id: number;
  readonly #watch: BarWatch;

  constructor(info: BarInfo, id: number, watch: BarWatch) {
    this.info = info;
    this.#id = id;
    this.#watch = watch;
  }

  *read8(offset: number): Task<number> {
    return this.#checked(this.#addon.read8(this.#id, offset), 0xff);
  }
  *read16(offset: number): Task<number> {
    return this.#checked(this.#addon.read16(this.#id, offset), 0xffff);
  }
  *read32(offset: number): Task<number> {
    return this.#checked(this.#addon.read32(this.#id, offset), 0xffff_ffff);
  }
  *read64(offset: number): Task<bigint> {
    return this.#checked(this.#addon.read64(this.#id, offset), 0xffff_ffff_ffff_ffffn);
  }
  write8(offset: number, value: number): void {
    this.#addon.write8(this.#id, offset, value);
  }
  write16(offset: number, value: number): void {
    this.#addon.write16(this.#id, offset, value);
  }
  write32(offset: number, value: number): void {
    this.#addon.write32(this.#id, offset, value);
  }
  write64(offset: number, value: bigint): void {
    this.#addon.write64(this.#id, offset, value);
  }

  get faulted(): boolean {
    return this.#addon.registersFaulted(this.#id);
  }

  abandon(): void {
    this.#addon.abandonRegisters(this.#id);
  }

  close(): void {
    this.#addon.unmapRegisters(this.#id);
  }

  #checked<T extends number | bigint>(value: T, ones: T): T {
    if (value === ones) this.#watch.suspect('its registers read as all ones');
    return value;
  }
}

/** I/O ports, and memory that the kernel lets nobody map. 64 bits are two accesses, the low half first. */
class FileBar implements OpenBar {
  readonly info: BarInfo;
  readonly faulted = false; // its file tells, access by access
  readonly #file: RegisterFile;
  readonly #hidden: readonly number[];

  constructor(info: BarInfo, fd: number, offset: number, hidden: readonly number[], watch: BarWatch) {
    this.info = info;
    this.#file = new RegisterFile(fd, offset, info.bytes, watch.gone);
    this.#hidden = hidden;
  }

  *read8(offset: number): Task<number> {
    return this.#read(offset, 1);
  }
  *read16(offset: number): Task<number> {
    return this.#read(offset, 2);
  }
  *read32(offset: number): Task<number> {
    return this.#read(offset, 4);
  }
  *read64(offset: number): Task<bigint> {
    this.#check64(offset);
    return BigInt(this.#read(offset, 4)) | (BigInt(this.#read(offset + 4, 4)) << 32n);
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
    this.#check64(offset);
    if (BigInt.asUintN(64, value) !== value) throw new RangeError(`${value} is not an unsigned value of 8 bytes`);
    this.#write(offset, 4, Number(value & 0xffff_ffffn));
    this.#write(offset + 4, 4, Number(value >> 32n));
  }

  abandon(): void {
    this.#file.close();
  }

  close(): void {
    this.#file.close();
  }

  #read(offset: number, width: 1 | 2 | 4): number {
    this.#checkHidden(offset, width);
    return this.#file.read(offset, width);
  }

  #write(offset: number, width: 1 | 2 | 4, value: number): void {
    this.#checkHidden(offset, width);
    this.#file.write(offset, width, value);
  }

  #check64(offset: number): void {
    if (this.info.kind === 'io') throw new RangeError('ports have no accesses of 8 bytes');
    checkAccess(this.info.bytes, offset, 8);
  }

  #checkHidden(offset: number, width: number): void {
    for (let at = 0; at < this.#hidden.length; at += 2) {
      const outside = offset + width <= this.#hidden[at] || offset >= this.#hidden[at + 1];
      if (!outside) throw new RangeError(`the access at ${offset} lies in a part of the registers that is the kernel's`);
    }
  }
}
