/** Configuration space of the function: a type 0 header, power management, PCI Express and MSI-X capabilities (see hw/pci/spec.ts for sources). */
import {
  BAR_COUNT,
  BarBit,
  CapabilityId,
  ClassCode,
  Command,
  DEVCAP_FLR,
  DEVCTL_FLR,
  EXTENDED_CONFIG_BYTES,
  Header,
  Msix,
  MsixControl,
  PMCSR_NO_SOFT_RESET,
  PMCSR_STATE,
  PciExpress,
  PowerManagement,
  PowerState,
  ROM_ADDRESS_MASK,
  ROM_ENABLE,
  StatusBit,
} from '../../pci/spec.js';

/** Not assigned by the PCI-SIG: this function exists inside a process only. */
export const VENDOR_ID = 0x5257;
export const DEVICE_ID = 0x4e56;

const POWER = 0x40;
const EXPRESS = 0x50;
const MSIX = 0x90;

/** A memory BAR with 64-bit addresses. */
export interface BarShape {
  readonly index: number;
  /** A power of two, at least 4096. */
  readonly bytes: number;
}

export interface ConfigShape {
  readonly bars: readonly BarShape[];
  /** Entries of the MSI-X table (0: no such capability), the BAR that holds it, and where in it table and pending bits are. */
  readonly vectors: number;
  readonly msixBar: number;
  readonly tableOffset: number;
  readonly pendingOffset: number;
  /** Bytes that the expansion ROM register decodes, a power of two; 0: no ROM. */
  readonly romBytes: number;
}

export interface ConfigHooks {
  /** MSI-X enable (with bus mastering, without which no message is sent) or function mask may have changed. */
  msixChanged(enabled: boolean, masked: boolean): void;
  functionLevelReset(): void;
}

export class ConfigSpaceModel {
  readonly #shape: ConfigShape;
  readonly #hooks: ConfigHooks;
  readonly #bytes = new Uint8Array(EXTENDED_CONFIG_BYTES);
  /** Bits that software may write. */
  readonly #writable = new Uint8Array(EXTENDED_CONFIG_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);
  readonly #mask = new DataView(this.#writable.buffer);

  /** Kept in step with the registers, for who decodes addresses: memory decode on, bus mastering on, power state D0. */
  memory = false;
  busMaster = false;
  /** The ROM is decoded. This function has one decoder for its memory (6.2.5.2): its BARs are not, meanwhile. */
  rom = false;

  constructor(shape: ConfigShape, hooks: ConfigHooks) {
    this.#shape = shape;
    this.#hooks = hooks;
    this.reset();
  }

  /** Everything as after power on. */
  reset(): void {
    this.#bytes.fill(0);
    this.#writable.fill(0);
    this.#header();
    this.#capabilities();
    this.#follow();
  }

  read(offset: number, width: 1 | 2 | 4): number {
    if (width === 1) return this.#view.getUint8(offset);
    return width === 2 ? this.#view.getUint16(offset, true) : this.#view.getUint32(offset, true);
  }

  write(offset: number, width: 1 | 2 | 4, value: number): void {
    for (let byte = 0; byte < width; byte++) {
      const at = offset + byte;
      const mask = this.#writable[at];
      this.#bytes[at] = (this.#bytes[at] & ~mask) | ((value >>> (8 * byte)) & mask);
    }
    const control = EXPRESS + PciExpress.deviceControl;
    if (offset < control + 2 && offset + width > control && (this.#view.getUint16(control, true) & DEVCTL_FLR) !== 0) {
      this.#hooks.functionLevelReset();
      return;
    }
    this.#follow();
  }

  /** The BAR that decodes a bus address, in `lastBar`, and the offset in it; -1 if none does. */
  decode(low: number, high: number): number {
    if (!this.memory || this.rom) return -1;
    for (const { index, bytes } of this.#shape.bars) {
      const at = Header.bar0 + 4 * index;
      const baseLow = this.#view.getInt32(at, true) & ~0xf;
      const baseHigh = this.#view.getInt32(at + 4, true);
      if (baseHigh !== high || baseLow !== (low & -bytes)) continue;
      this.lastBar = index;
      return (low & (bytes - 1)) >>> 0;
    }
    return -1;
  }

  /** The BAR that `decode` found. */
  lastBar = 0;

  #follow(): void {
    const command = this.#view.getUint16(Header.command, true);
    const awake = (this.#view.getUint16(POWER + PowerManagement.controlStatus, true) & PMCSR_STATE) === PowerState.d0;
    this.memory = awake && (command & Command.memory) !== 0;
    this.busMaster = awake && (command & Command.busMaster) !== 0;
    this.rom = this.memory && (this.#bytes[Header.expansionRom] & ROM_ENABLE) !== 0;
    if (this.#shape.vectors === 0) return;
    const control = this.#view.getUint16(MSIX + Msix.control, true);
    this.#hooks.msixChanged(this.busMaster && (control & MsixControl.enable) !== 0, (control & MsixControl.functionMask) !== 0);
  }

  #header(): void {
    this.#set16(Header.vendorId, VENDOR_ID);
    this.#set16(Header.deviceId, DEVICE_ID);
    this.#set16(Header.command, 0, Command.memory | Command.busMaster | Command.parityError | Command.serr | Command.intxDisable);
    this.#set16(Header.status, StatusBit.capabilities);
    this.#set32(Header.revisionId, ((ClassCode.nvme << 8) | 0x01) >>> 0);
    this.#set32(Header.cacheLineSize, 0, 0xff);
    this.#set16(Header.subsystemVendorId, VENDOR_ID);
    this.#set16(Header.subsystemId, 0x0001);
    this.#set32(Header.expansionRom, 0, this.#shape.romBytes === 0 ? 0 : ((-this.#shape.romBytes & ROM_ADDRESS_MASK) | ROM_ENABLE) >>> 0);
    this.#bytes[Header.capabilities] = POWER;
    this.#set32(Header.interruptLine, 0, 0xff);
    for (const { index, bytes } of this.#shape.bars) {
      if (index + 1 >= BAR_COUNT) throw new RangeError(`64-bit BAR ${index}`);
      this.#set32(Header.bar0 + 4 * index, BarBit.type64, -bytes >>> 0);
      this.#set32(Header.bar0 + 4 * index + 4, 0, 0xffff_ffff);
    }
  }

  #capabilities(): void {
    const { vectors, msixBar, tableOffset, pendingOffset } = this.#shape;
    this.#set16(POWER, CapabilityId.powerManagement | (EXPRESS << 8));
    // Version 3; no power management events.
    this.#set16(POWER + PowerManagement.capabilities, 0x0003);
    this.#set16(POWER + PowerManagement.controlStatus, PMCSR_NO_SOFT_RESET, PMCSR_STATE);
    this.#set16(EXPRESS, CapabilityId.pciExpress | ((vectors === 0 ? 0 : MSIX) << 8));
    // Version 2, endpoint.
    this.#set16(EXPRESS + PciExpress.capabilities, 0x0002);
    // Payloads up to 256 bytes, extended tags, role-based error reporting.
    this.#set32(EXPRESS + PciExpress.deviceCapabilities, DEVCAP_FLR | 0x8021);
    // Relaxed ordering, no snoop and 512 byte read requests, as after reset; error reporting and payload size can be set, and reset asked for.
    this.#set16(EXPRESS + PciExpress.deviceControl, 0x2810, 0xffff);
    // 8 GT/s, four lanes, both as capability and as status.
    this.#set32(EXPRESS + PciExpress.linkCapabilities, 0x0043);
    this.#set16(EXPRESS + PciExpress.linkControl, 0, 0x01c3);
    this.#set16(EXPRESS + PciExpress.linkStatus, 0x0043);
    this.#set32(EXPRESS + PciExpress.linkCapabilities2, 0x000e);
    this.#set16(EXPRESS + PciExpress.linkControl2, 0x0003);
    if (vectors === 0) return;
    this.#set16(MSIX, CapabilityId.msix);
    this.#set16(MSIX + Msix.control, vectors - 1, MsixControl.enable | MsixControl.functionMask);
    this.#set32(MSIX + Msix.table, tableOffset | msixBar);
    this.#set32(MSIX + Msix.pendingBits, pendingOffset | msixBar);
  }

  #set16(offset: number, value: number, writable = 0): void {
    this.#view.setUint16(offset, value, true);
    this.#mask.setUint16(offset, writable, true);
  }

  #set32(offset: number, value: number, writable = 0): void {
    this.#view.setUint32(offset, value, true);
    this.#mask.setUint32(offset, writable, true);
  }
}
