/** Addresses of a bus behind an IOMMU, given out by this server: first fit, never the interrupt window (R31). */
import { INTERRUPT_WINDOW, INTERRUPT_WINDOW_END } from '../pci/index.js';
import { HardwareError } from '../task.js';
import type { Range } from './vfio-structures.js';

/** Nothing lies lower: what takes zero for an address is a mistake somewhere. */
const LOWEST = 0x10_0000;
/** Mappings begin here, so that a table of them is as small as can be. */
const GRANULE = 4096;

interface Taken {
  readonly start: number;
  readonly bytes: number;
}

export class BusAddresses {
  readonly #ranges: readonly Range[];
  /** In order. */
  readonly #taken: Taken[] = [];

  /** `ranges`: what the IOMMU translates, both ends inside. */
  constructor(ranges: readonly Range[]) {
    this.#ranges = ranges.flatMap(({ start, end }) => [
      { start: Math.max(start, LOWEST), end: Math.min(end, INTERRUPT_WINDOW - 1) },
      { start: Math.max(start, INTERRUPT_WINDOW_END), end },
    ]);
  }

  /** @throws HardwareError `exhausted`. */
  take(bytes: number): number {
    for (const { start, end } of this.#ranges) {
      let at = Math.ceil(start / GRANULE) * GRANULE;
      for (const taken of this.#taken) {
        if (taken.start + taken.bytes <= at) continue;
        if (taken.start - at >= bytes) break;
        at = taken.start + taken.bytes;
      }
      if (bytes <= end - at + 1) {
        this.#insert({ start: at, bytes });
        return at;
      }
    }
    throw new HardwareError('exhausted', `no ${bytes} addresses of the bus are left`);
  }

  release(start: number): void {
    const index = this.#taken.findIndex((taken) => taken.start === start);
    if (index >= 0) this.#taken.splice(index, 1);
  }

  #insert(taken: Taken): void {
    const index = this.#taken.findIndex(({ start }) => start > taken.start);
    this.#taken.splice(index < 0 ? this.#taken.length : index, 0, taken);
  }
}
