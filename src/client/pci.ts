/** The PCI function behind a device, as this lease may see it. */
import { MAX_ROM_READ_BYTES, type PciRegionInfo } from '../protocol/index.js';
import { readConfigValue, readData, readPciRegions, readResetAsked } from './answers.js';
import { refusal } from './errors.js';
import type { SignalOption } from './region.js';
import type { Session } from './session.js';

/** Bytes of an access. */
export type AccessWidth = 1 | 2 | 4;

/** Register of the expansion ROM in configuration space, and its enable bit (PCI Local Bus 3.0, 6.2.5.2). */
const ROM_REGISTER = 0x30;
const ROM_ENABLE = 1;

export class PciFunction {
  readonly #session: Session;
  readonly #device: string;
  readonly #lease: number;

  /** For {@link Device}. */
  constructor(session: Session, device: string, lease: number) {
    this.#session = session;
    this.#device = device;
    this.#lease = lease;
  }

  /** A register of the lease's own configuration space. Throws `accessMisaligned`, and `outsideConfig` from 256, or 4096 with PCI Express. */
  readConfig(offset: number, width: AccessWidth, { signal }: SignalOption = {}): Promise<number> {
    return this.#session.calls.call('readPciConfig', { lease: this.#lease, offset, width }, (answer) => readConfigValue(answer, width), { signal });
  }

  /**
   * Writes to it; the function itself is never written. Resolves with true when the write asked for a function-level reset, which is noted and makes the space
   * as it was at first: `reset()` of the device is the way to one.
   */
  writeConfig(offset: number, width: AccessWidth, value: number, { signal }: SignalOption = {}): Promise<boolean> {
    return this.#session.calls.call('writePciConfig', { lease: this.#lease, offset, width, value }, readResetAsked, { signal });
  }

  /** BARs and expansion ROM, and what of them may be read. */
  regions({ signal }: SignalOption = {}): Promise<PciRegionInfo[]> {
    return this.#session.calls.call('listPciRegions', { lease: this.#lease }, readPciRegions, { signal });
  }

  /** A register that {@link regions} names as readable, in accesses of its width. Throws `unknownBar`, `notReadable`. */
  readRegister(bar: number, offset: number, width: AccessWidth = 4, { signal }: SignalOption = {}): Promise<number> {
    const fields = { lease: this.#lease, bar, offset, width };
    return this.#session.calls.call('readPciRegister', fields, (answer) => readConfigValue(answer, width), { signal });
  }

  /** The expansion ROM, which is switched on for this lease while it is read. Throws `noRom` where there is none. */
  async rom(options: SignalOption = {}): Promise<Uint8Array> {
    const region = (await this.regions(options)).find(({ kind }) => kind === 'rom');
    if (region === undefined) throw refusal(`the ROM of ${this.#device}`, 'noRom', '');
    const before = await this.readConfig(ROM_REGISTER, 4, options);
    await this.writeConfig(ROM_REGISTER, 4, (before | ROM_ENABLE) >>> 0, options);
    try {
      const rom = new Uint8Array(region.bytes);
      for (let at = 0; at < rom.length; at += MAX_ROM_READ_BYTES) {
        const length = Math.min(MAX_ROM_READ_BYTES, rom.length - at);
        const fields = { lease: this.#lease, offset: at, length };
        await this.#session.calls.call('readPciRom', fields, (answer) => rom.set(readData(answer, length), at), options);
      }
      return rom;
    } finally {
      await this.writeConfig(ROM_REGISTER, 4, before);
    }
  }
}
