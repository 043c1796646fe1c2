/** The BARs of a function: where they are put, and access to their registers. */
import type { Bar, BarInfo, ConfigSpace } from '../backing.js';
import { barRegister } from '../pci/index.js';
import { HardwareError, type Task } from '../task.js';
import { checkAccess, checkValue } from '../access.js';
import type { AccessWidth, Qtest } from './qtest.js';

/** A window of addresses from which BARs are given out in turn. */
export interface Window {
  readonly start: number;
  readonly end: number;
}

/**
 * Addresses for BARs, each aligned to its size as the hardware needs it, in the order of the list.
 * @throws HardwareError `exhausted`.
 */
export function placeBars(bars: readonly BarInfo[], memory: Window, ports: Window): number[] {
  const next = { memory: memory.start, io: ports.start };
  const end = { memory: memory.end, io: ports.end };
  return bars.map(({ index, kind, bytes }) => {
    const address = Math.ceil(next[kind] / bytes) * bytes;
    if (bytes > end[kind] - address) throw new HardwareError('exhausted', `BAR ${index} of ${bytes} bytes has no place in the machine`);
    next[kind] = address + bytes;
    return address;
  });
}

/** Writes a BAR's address, 0 to unmap it. All addresses here are below 4 GiB. */
export function* writeBar(config: ConfigSpace, bar: BarInfo, address: number): Task<void> {
  yield* config.write32(barRegister(bar.index), address);
  if (bar.is64) yield* config.write32(barRegister(bar.index + 1), 0);
}

/** Registers in memory space. */
export class MemoryBar implements Bar {
  readonly info: BarInfo;
  readonly #qtest: Qtest;
  readonly #address: number;
  readonly #bytes: number;

  constructor(info: BarInfo, address: number, qtest: Qtest) {
    this.info = info;
    this.#qtest = qtest;
    this.#address = address;
    this.#bytes = info.bytes;
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
    return this.#qtest.readMemory64(this.#address + offset);
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
    this.#qtest.postMemory64(this.#address + offset, Number(value >> 32n), Number(value & 0xffff_ffffn));
  }

  #read(offset: number, width: AccessWidth): Task<number> {
    checkAccess(this.#bytes, offset, width);
    return this.#qtest.readMemory(this.#address + offset, width);
  }

  #write(offset: number, width: AccessWidth, value: number): void {
    checkAccess(this.#bytes, offset, width);
    checkValue(value, width);
    this.#qtest.postMemory(this.#address + offset, width, value);
  }
}

/** Registers in port space. Ports have no accesses of 64 bits. */
export class PortBar implements Bar {
  readonly info: BarInfo;
  readonly #qtest: Qtest;
  readonly #port: number;

  constructor(info: BarInfo, port: number, qtest: Qtest) {
    this.info = info;
    this.#qtest = qtest;
    this.#port = port;
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
  read64(): Task<bigint> {
    throw new RangeError('ports have no accesses of 8 bytes');
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
  write64(): void {
    throw new RangeError('ports have no accesses of 8 bytes');
  }

  #read(offset: number, width: AccessWidth): Task<number> {
    checkAccess(this.info.bytes, offset, width);
    return this.#qtest.readPort(this.#port + offset, width);
  }

  #write(offset: number, width: AccessWidth, value: number): void {
    checkAccess(this.info.bytes, offset, width);
    checkValue(value, width);
    this.#qtest.postPort(this.#port + offset, width, value);
  }
}
