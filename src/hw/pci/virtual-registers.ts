/**
 * What a tenant sees of each register, as tables: nothing of configuration space is shown, or can be written, but what is here.
 *
 * A register reads as `(function's value & shown) | fixed`, until the tenant writes: then it has, in the bits of `written`, what was written. Where a table
 * names no register, zero is read and writes change nothing. The function itself is not written, whatever is written here (R25).
 */
import type { BarInfo } from '../backing.js';
import { BAR_IO_MASK, BAR_MEMORY_MASK, BarBit, Command, DEVCTL_FLR, Header, Msi, MsiControl, Msix, MsixControl } from './spec.js';
import { CapabilityId, EXPRESS_VERSION_MASK, HEADER_TYPE_MASK, PMCSR_NO_SOFT_RESET, PMCSR_STATE, PMC_STATES, PciExpress } from './spec.js';
import { PowerManagement, ROM_ADDRESS_MASK, ROM_ENABLE, StatusBit } from './spec.js';

export interface VirtualRegister {
  /** From the start of its structure: of the header, or of its capability. */
  readonly offset: number;
  readonly width: 1 | 2 | 4;
  /** Bits that are shown as the function has them. */
  readonly shown?: number;
  /** Bits that read as one, whatever the function has. */
  readonly fixed?: number;
  /** Bits that the tenant can write, and read again. Nobody else ever sees them. */
  readonly written?: number;
  /** A bit of which writing one asks for a reset of the function. */
  readonly reset?: number;
}

const ALL = 0xffff_ffff;

/** The header (type 0), but for the registers that depend on the function: {@link barRegisters}, {@link romRegister}, {@link commandRegister}. */
export const HEADER_REGISTERS: readonly VirtualRegister[] = [
  { offset: Header.vendorId, width: 2, shown: ALL },
  { offset: Header.deviceId, width: 2, shown: ALL },
  // How the function signals is constant. That it raised an interrupt or met an error is of others' requests as well.
  { offset: Header.status, width: 2, shown: StatusBit.fast66MHz | StatusBit.fastBackToBack | StatusBit.deviceSelect },
  // Revision and class code.
  { offset: Header.revisionId, width: 4, shown: ALL },
  { offset: Header.cacheLineSize, width: 1, written: 0xff },
  // Whether there are other functions is not told: they are not the tenant's.
  { offset: Header.headerType, width: 1, shown: HEADER_TYPE_MASK },
  { offset: Header.subsystemVendorId, width: 2, shown: ALL },
  { offset: Header.subsystemId, width: 2, shown: ALL },
  // The line is a note of software to itself; there is no pin, because no lease has a legacy interrupt.
  { offset: Header.interruptLine, width: 1, written: 0xff },
];

/** Decode bits only for the kinds of BARs that there are. */
export function commandRegister(bars: readonly BarInfo[]): VirtualRegister {
  let written: number = Command.busMaster | Command.parityError | Command.serr | Command.intxDisable;
  for (const { kind } of bars) written |= kind === 'io' ? Command.io : Command.memory;
  return { offset: Header.command, width: 2, written };
}

/** A base address register that answers its sizing (6.2.5.1). It starts without an address, and never has another than the tenant wrote. */
export function barRegisters({ index, kind, bytes, is64, prefetchable }: BarInfo): VirtualRegister[] {
  const offset = Header.bar0 + 4 * index;
  if (kind === 'io') return [{ offset, width: 4, fixed: BarBit.io, written: (-bytes & BAR_IO_MASK) >>> 0 }];
  const mask = BigInt.asUintN(64, -BigInt(bytes));
  const fixed = (is64 ? BarBit.type64 : 0) | (prefetchable ? BarBit.prefetchable : 0);
  const low: VirtualRegister = { offset, width: 4, fixed, written: (Number(mask & 0xffff_ffffn) & BAR_MEMORY_MASK) >>> 0 };
  return is64 ? [low, { offset: offset + 4, width: 4, written: Number(mask >> 32n) }] : [low];
}

/** The expansion ROM register of a ROM whose register decodes `bytes`. Its enable bit lets the tenant read the shadow (R19). */
export function romRegister(bytes: number): VirtualRegister {
  return { offset: Header.expansionRom, width: 4, written: ((-bytes & ROM_ADDRESS_MASK) | ROM_ENABLE) >>> 0 };
}

/** How a capability is shown. `control` is its second 16-bit word, which says what it is like. */
export interface CapabilityTable {
  readonly name: string;
  bytes(control: number): number;
  registers(control: number): readonly VirtualRegister[];
}

const powerManagement: CapabilityTable = {
  name: 'power management',
  bytes: () => PowerManagement.bytes,
  registers: () => [
    // Events (PME) are the host's.
    { offset: PowerManagement.capabilities, width: 2, shown: PMC_STATES },
    // The state that is written is only noted: the function stays awake for the others.
    { offset: PowerManagement.controlStatus, width: 2, shown: PMCSR_NO_SOFT_RESET, written: PMCSR_STATE },
  ],
};

const msi: CapabilityTable = {
  name: 'MSI',
  bytes: (control) => ((control & MsiControl.maskable) === 0 ? 0x0a : 0x14) + ((control & MsiControl.is64) === 0 ? 0 : 4),
  registers(control) {
    const is64 = (control & MsiControl.is64) !== 0;
    const shown = MsiControl.capableMask | MsiControl.is64 | MsiControl.maskable;
    const registers: VirtualRegister[] = [
      { offset: Msi.control, width: 2, shown, written: MsiControl.enable | MsiControl.enabledMask },
      // Where the server has its messages sent is not shown; what the tenant writes goes nowhere (R07).
      { offset: Msi.address, width: 4, written: 0xffff_fffc },
      { offset: is64 ? Msi.data64 : Msi.data32, width: 2, written: 0xffff },
    ];
    if (is64) registers.push({ offset: Msi.addressHigh, width: 4, written: ALL });
    if ((control & MsiControl.maskable) !== 0) registers.push({ offset: is64 ? Msi.mask64 : Msi.mask32, width: 4, written: ALL });
    return registers;
  },
};

const msix: CapabilityTable = {
  name: 'MSI-X',
  bytes: () => Msix.bytes,
  registers: () => [
    { offset: Msix.control, width: 2, shown: MsixControl.sizeMask, written: MsixControl.enable | MsixControl.functionMask },
    // Where the structures are: BAR and offset. They are no areas that may be read (R31).
    { offset: Msix.table, width: 4, shown: ALL },
    { offset: Msix.pendingBits, width: 4, shown: ALL },
  ],
};

const pciExpress: CapabilityTable = {
  name: 'PCI Express',
  bytes: (control) => ((control & EXPRESS_VERSION_MASK) >= 2 ? PciExpress.bytes : PciExpress.bytesVersion1),
  registers(control) {
    const registers: VirtualRegister[] = [
      { offset: PciExpress.capabilities, width: 2, shown: ALL },
      // But for the power that the slot may give, which is the machine's.
      { offset: PciExpress.deviceCapabilities, width: 4, shown: 0xf003_ffff },
      // Payload sizes, ordering and error reporting are the host's, and are noted only. A reset is noted as asked for.
      { offset: PciExpress.deviceControl, width: 2, written: 0x7fff, reset: DEVCTL_FLR },
      // Device status (0x0a) tells of errors and transactions of others: it reads as zero.
      // But for the number of the port.
      { offset: PciExpress.linkCapabilities, width: 4, shown: 0x00ff_ffff },
      { offset: PciExpress.linkControl, width: 2, written: 0xffff },
      // Speed, width, and where the clock comes from. Whether the link is in training is the host's.
      { offset: PciExpress.linkStatus, width: 2, shown: 0x13ff },
    ];
    if ((control & EXPRESS_VERSION_MASK) < 2) return registers;
    return [
      ...registers,
      { offset: PciExpress.deviceCapabilities2, width: 4, shown: ALL },
      { offset: PciExpress.deviceControl2, width: 2, written: 0xffff },
      { offset: PciExpress.linkCapabilities2, width: 4, shown: ALL },
      { offset: PciExpress.linkControl2, width: 2, written: 0xffff },
    ];
  },
};

/** The capabilities that are shown, by id. Every other one is hidden: see `hidden-capabilities.ts`. */
export const SHOWN_CAPABILITIES: ReadonlyMap<number, CapabilityTable> = new Map<number, CapabilityTable>([
  [CapabilityId.powerManagement, powerManagement],
  [CapabilityId.msi, msi],
  [CapabilityId.pciExpress, pciExpress],
  [CapabilityId.msix, msix],
]);
