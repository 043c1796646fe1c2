/** A function's configuration space in memory, with the read-only and write-one bits that the tests need. */
import type { Bar, BarInfo, ConfigSpace } from '../../../src/hw/backing.js';
import type { Task } from '../../../src/hw/task.js';

export class MemoryConfig implements ConfigSpace {
  readonly bytes = 4096;
  readonly view = new DataView(new ArrayBuffer(4096));
  /** Every write, in order: offset, width, value. */
  readonly writes: [offset: number, width: number, value: number][] = [];
  /** Bits that a 32-bit register keeps; others ignore writes. Registers that are not here keep all. */
  readonly writable = new Map<number, number>();
  /** Called after a write. */
  onWrite: (offset: number, value: number) => void = () => {};

  *read8(offset: number): Task<number> {
    return this.view.getUint8(offset);
  }
  *read16(offset: number): Task<number> {
    return this.view.getUint16(offset, true);
  }
  *read32(offset: number): Task<number> {
    return this.view.getUint32(offset, true);
  }
  *write8(offset: number, value: number): Task<void> {
    this.writes.push([offset, 1, value]);
    this.view.setUint8(offset, value);
    this.onWrite(offset, value);
  }
  *write16(offset: number, value: number): Task<void> {
    this.writes.push([offset, 2, value]);
    this.view.setUint16(offset, value, true);
    this.onWrite(offset, value);
  }
  *write32(offset: number, value: number): Task<void> {
    this.writes.push([offset, 4, value]);
    const mask = this.writable.get(offset) ?? 0xffff_ffff;
    this.view.setUint32(offset, (this.view.getUint32(offset, true) & ~mask) | (value & mask), true);
    this.onWrite(offset, value);
  }

  /** Puts a capability in front of the list. */
  capability(offset: number, id: number): void {
    this.view.setUint16(0x06, 0x0010, true);
    this.view.setUint8(offset, id);
    this.view.setUint8(offset + 1, this.view.getUint8(0x34));
    this.view.setUint8(0x34, offset);
  }

  /** A register that reads `fixed` in the bits that cannot be written. */
  bar(index: number, fixed: number, writable: number): void {
    this.view.setUint32(0x10 + 4 * index, fixed, true);
    this.writable.set(0x10 + 4 * index, writable);
  }
}

/** Registers in memory that note 32-bit writes and reads. */
export class MemoryBar implements Bar {
  readonly info: BarInfo;
  readonly view: DataView;
  /** `w offset value` and `r offset`, in order. */
  readonly log: string[];

  constructor(info: BarInfo, log: string[] = []) {
    this.info = info;
    this.view = new DataView(new ArrayBuffer(info.bytes));
    this.log = log;
  }
  *read8(offset: number): Task<number> {
    return this.view.getUint8(offset);
  }
  *read16(offset: number): Task<number> {
    return this.view.getUint16(offset, true);
  }
  *read32(offset: number): Task<number> {
    this.log.push(`r ${offset}`);
    return this.view.getUint32(offset, true);
  }
  *read64(offset: number): Task<bigint> {
    return this.view.getBigUint64(offset, true);
  }
  write8(offset: number, value: number): void {
    this.view.setUint8(offset, value);
  }
  write16(offset: number, value: number): void {
    this.view.setUint16(offset, value, true);
  }
  write32(offset: number, value: number): void {
    this.log.push(`w ${offset} ${value.toString(16)}`);
    this.view.setUint32(offset, value, true);
  }
  write64(offset: number, value: bigint): void {
    this.view.setBigUint64(offset, value, true);
  }
}

/** Runs a task whose every wait is over at once. `elapse` is told how long it would have waited. */
export function finish<T>(task: Task<T>, elapse: (milliseconds: number) => void = () => {}): T {
  for (;;) {
    const step = task.next();
    if (step.done === true) return step.value;
    elapse(step.value);
  }
}
