/** PCI configuration space (PCI Local Bus 3.0, 6; PCI Express Base 3.0, 7; PCI Bus Power Management 1.2, 3). Offsets in bytes. */

/** Header of type 0. */
export const Header = {
  vendorId: 0x00,
  deviceId: 0x02,
  command: 0x04,
  status: 0x06,
  revisionId: 0x08,
  /** Three bytes: programming interface, subclass, class. */
  classCode: 0x09,
  cacheLineSize: 0x0c,
  latencyTimer: 0x0d,
  headerType: 0x0e,
  bist: 0x0f,
  bar0: 0x10,
  cardbusCis: 0x28,
  subsystemVendorId: 0x2c,
  subsystemId: 0x2e,
  expansionRom: 0x30,
  capabilities: 0x34,
  interruptLine: 0x3c,
  interruptPin: 0x3d,
} as const;

export const CONFIG_BYTES = 256;
export const EXTENDED_CONFIG_BYTES = 4096;
export const BAR_COUNT = 6;
/** Multi-function bit and layout of the header type byte. */
export const HEADER_TYPE_MASK = 0x7f;
/** A vendor id that nobody has: no function answers. */
export const NO_DEVICE = 0xffff;

/** Bits of the command register. */
export const Command = { io: 0x0001, memory: 0x0002, busMaster: 0x0004, parityError: 0x0040, serr: 0x0100, intxDisable: 0x0400 } as const;
/** Bits of the status register. */
export const StatusBit = {
  interrupt: 0x0008,
  capabilities: 0x0010,
  fast66MHz: 0x0020,
  fastBackToBack: 0x0080,
  deviceSelect: 0x0600,
  masterAbort: 0x2000,
} as const;

/** Low bits of a base address register. */
export const BarBit = { io: 0x1, type64: 0x4, typeMask: 0x6, prefetchable: 0x8 } as const;
export const BAR_MEMORY_MASK = 0xffff_fff0;
export const BAR_IO_MASK = 0xffff_fffc;
/** Bit 0 of the expansion ROM register. */
export const ROM_ENABLE = 0x1;
/** Address bits of the expansion ROM register: a ROM has at least 2 KiB. */
export const ROM_ADDRESS_MASK = 0xffff_f800;

/** Class codes: class << 16 | subclass << 8 | programming interface. */
export const ClassCode = { nvme: 0x01_08_02, ethernet: 0x02_00_00 } as const;

/** Capability identifiers. The list starts at {@link Header}.capabilities; each has its id, then the offset of the next (0: last). */
export const CapabilityId = { powerManagement: 0x01, msi: 0x05, vendor: 0x09, pciExpress: 0x10, msix: 0x11 } as const;

/** Power Management capability. */
export const PowerManagement = { capabilities: 0x02, controlStatus: 0x04, bytes: 0x08 } as const;
/** PMC: version in bits 2:0, device-specific initialization, support of D1 and D2; above, auxiliary current and power management events. */
export const PMC_STATES = 0x0627;
/** PMCSR: power state in bits 1:0 (3: D3hot); bit 3, no soft reset. */
export const PMCSR_STATE = 0x0003;
export const PMCSR_NO_SOFT_RESET = 0x0008;
export const PowerState = { d0: 0, d3hot: 3 } as const;

/** MSI capability (PCI Local Bus 3.0, 6.8.1): its layout depends on two bits of message control. */
export const Msi = { control: 0x02, address: 0x04, addressHigh: 0x08, data32: 0x08, data64: 0x0c, mask32: 0x0c, mask64: 0x10 } as const;
/** Message control: enable, vectors that the function asks for and that it may use (as powers of two), 64-bit addresses, a mask bit for each vector. */
export const MsiControl = { enable: 0x0001, capableMask: 0x000e, enabledMask: 0x0070, is64: 0x0080, maskable: 0x0100 } as const;

/** MSI-X capability. */
export const Msix = { control: 0x02, table: 0x04, pendingBits: 0x08, bytes: 0x0c } as const;
/** Message control: table size, zero-based, in the low bits. */
export const MsixControl = { sizeMask: 0x07ff, functionMask: 0x4000, enable: 0x8000 } as const;
/** Table and pending-bit array registers: BAR index in bits 2:0, offset above. */
export const MSIX_BIR_MASK = 0x7;
/** An entry of the MSI-X table. */
export const MsixEntry = { addressLow: 0x0, addressHigh: 0x4, data: 0x8, control: 0xc, bytes: 0x10 } as const;
export const MSIX_ENTRY_MASKED = 0x1;

/** PCI Express capability (version 2; an endpoint's of version 1 ends behind link status). */
export const PciExpress = {
  capabilities: 0x02,
  deviceCapabilities: 0x04,
  deviceControl: 0x08,
  deviceStatus: 0x0a,
  linkCapabilities: 0x0c,
  linkControl: 0x10,
  linkStatus: 0x12,
  deviceCapabilities2: 0x24,
  deviceControl2: 0x28,
  linkCapabilities2: 0x2c,
  linkControl2: 0x30,
  bytes: 0x3c,
  bytesVersion1: 0x14,
} as const;
/** PCI Express capabilities: version of the structure. */
export const EXPRESS_VERSION_MASK = 0x000f;
/** Device capabilities: function-level reset. */
export const DEVCAP_FLR = 0x1000_0000;
/** Device control: initiate a function-level reset. Reads as zero. */
export const DEVCTL_FLR = 0x8000;
/** Device status: transactions pending. */
export const DEVSTA_PENDING = 0x0020;
/** A function must be ready this long after a function-level reset, milliseconds (6.6.2). */
export const FLR_MS = 100;

/** Extended capabilities (PCI Express Base 3.0, 7.9): from here on, each with id, version and the offset of the next. */
export const EXTENDED_CAPABILITIES = 0x100;

/** Bus addresses from here to {@link INTERRUPT_WINDOW_END} are interrupt messages on a PC, not memory (Intel SDM 3A, 11.11). */
export const INTERRUPT_WINDOW = 0xfee0_0000;
export const INTERRUPT_WINDOW_END = 0xfef0_0000;
