/** What a lease may ask of the PCI function behind its device, as calls of the main thread and as methods of an engine. */
import type { PciRegion } from '../../hw/pci/index.js';

/** Every one is refused with `deviceLost` or `leaseNotActive` where the function would have to be asked, and cannot be. */
export interface PciMethods {
  /** From the lease's virtual configuration space. Refused with `accessMisaligned`, `outsideConfig`, `outOfRange`. */
  readPciConfig(lease: number, offset: number, width: number): number;
  /** To it: never to the function. True when the write asks for a reset of the function, which is only noted. Refused as the above. */
  writePciConfig(lease: number, offset: number, width: number, value: number): boolean;
  listPciRegions(lease: number): readonly PciRegion[];
  /** A register that the driver lets tenants read. Refused with `unknownBar`, `notReadable`. */
  readPciRegister(lease: number, bar: number, offset: number, width: number): number;
  /** From the shadow of the expansion ROM. Refused with `noRom`, with `romDisabled` unless the lease has switched it on, with `outsideRom`. */
  readPciRom(lease: number, offset: number, length: number): Uint8Array;
}

export type PciCalls = { [Name in keyof PciMethods]: (...args: Parameters<PciMethods[Name]>) => Promise<ReturnType<PciMethods[Name]>> };
