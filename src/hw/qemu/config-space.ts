/** The configuration space of one function of the machine, through the ECAM (PCI Express Base 3.0, 7.2.2). */
import type { ConfigSpace } from '../backing.js';
import { CONFIG_BYTES, EXTENDED_CONFIG_BYTES } from '../pci/index.js';
import type { Task } from '../task.js';
import { CONFIG_ADDRESS_ENABLE, CONFIG_ADDRESS_PORT, CONFIG_DATA_PORT, ECAM_BASE, PCIEXBAR, PCIEXBAR_ENABLE } from './address-map.js';
import { checkAccess, checkValue } from '../access.js';
import type { AccessWidth, Qtest } from './qtest.js';

/** Posted: maps all configuration space into memory. Firmware would do that; there is none. */
export function enableEcam(qtest: Qtest): void {
  qtest.postPort(CONFIG_ADDRESS_PORT, 4, (CONFIG_ADDRESS_ENABLE | PCIEXBAR) >>> 0);
  qtest.postPort(CONFIG_DATA_PORT, 4, (ECAM_BASE | PCIEXBAR_ENABLE) >>> 0);
}

export class EcamConfigSpace implements ConfigSpace {
  readonly bytes: number;
  readonly #qtest: Qtest;
  readonly #base: number;

  /** Function 0 of a slot of bus 0, with PCI Express or without. */
  constructor(qtest: Qtest, slot: number, isExpress: boolean) {
    this.bytes = isExpress ? EXTENDED_CONFIG_BYTES : CONFIG_BYTES;
    this.#qtest = qtest;
    this.#base = ECAM_BASE + slot * 8 * EXTENDED_CONFIG_BYTES;
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

  #read(offset: number, width: AccessWidth): Task<number> {
    checkAccess(this.bytes, offset, width);
    return this.#qtest.readMemory(this.#base + offset, width);
  }

  #write(offset: number, width: AccessWidth, value: number): Task<void> {
    checkAccess(this.bytes, offset, width);
    checkValue(value, width);
    return this.#qtest.writeMemory(this.#base + offset, width, value);
  }
}
