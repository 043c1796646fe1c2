/** Identify data structures (Base Specification 1.4, 5.15.2; 2.0, 5.17.2; NVM Command Set 1.0, 4.1.5). */
import type { ByteField } from './field.js';

export const IDENTIFY_BYTES = 4096;

/** Identify Controller (CNS 01h). */
export const IdentifyController = {
  vid: { at: 0, bytes: 2 },
  ssvid: { at: 2, bytes: 2 },
  /** Serial number, ASCII, padded with spaces; so are model number and firmware revision. */
  sn: { at: 4, bytes: 20 },
  mn: { at: 24, bytes: 40 },
  fr: { at: 64, bytes: 8 },
  rab: { at: 72, bytes: 1 },
  ieee: { at: 73, bytes: 3 },
  cmic: { at: 76, bytes: 1 },
  /** Maximum data transfer size, as a power of two of the smallest page; 0: no limit. */
  mdts: { at: 77, bytes: 1 },
  cntlid: { at: 78, bytes: 2 },
  ver: { at: 80, bytes: 4 },
  rtd3r: { at: 84, bytes: 4 },
  rtd3e: { at: 88, bytes: 4 },
  /** Optional asynchronous events, bits of `EventConfiguration`. */
  oaes: { at: 92, bytes: 4 },
  ctratt: { at: 96, bytes: 4 },
  rrls: { at: 100, bytes: 2 },
  reserved102: { at: 102, bytes: 9 },
  cntrltype: { at: 111, bytes: 1 },
  fguid: { at: 112, bytes: 16 },
  crdt1: { at: 128, bytes: 2 },
  crdt2: { at: 130, bytes: 2 },
  crdt3: { at: 132, bytes: 2 },
  reserved134: { at: 134, bytes: 106 },
  managementInterface: { at: 240, bytes: 16 },
  /** Optional admin commands. */
  oacs: { at: 256, bytes: 2 },
  /** Abort command limit, zero-based. */
  acl: { at: 258, bytes: 1 },
  /** Asynchronous event request limit, zero-based. */
  aerl: { at: 259, bytes: 1 },
  frmw: { at: 260, bytes: 1 },
  lpa: { at: 261, bytes: 1 },
  /** Error log page entries, zero-based. */
  elpe: { at: 262, bytes: 1 },
  npss: { at: 263, bytes: 1 },
  avscc: { at: 264, bytes: 1 },
  apsta: { at: 265, bytes: 1 },
  /** Warning and critical composite temperature thresholds, kelvins. */
  wctemp: { at: 266, bytes: 2 },
  cctemp: { at: 268, bytes: 2 },
  mtfa: { at: 270, bytes: 2 },
  hmpre: { at: 272, bytes: 4 },
  hmmin: { at: 276, bytes: 4 },
  tnvmcap: { at: 280, bytes: 16 },
  unvmcap: { at: 296, bytes: 16 },
  rpmbs: { at: 312, bytes: 4 },
  edstt: { at: 316, bytes: 2 },
  dsto: { at: 318, bytes: 1 },
  fwug: { at: 319, bytes: 1 },
  kas: { at: 320, bytes: 2 },
  hctma: { at: 322, bytes: 2 },
  mntmt: { at: 324, bytes: 2 },
  mxtmt: { at: 326, bytes: 2 },
  sanicap: { at: 328, bytes: 4 },
  hmminds: { at: 332, bytes: 4 },
  hmmaxd: { at: 336, bytes: 2 },
  nsetidmax: { at: 338, bytes: 2 },
  endgidmax: { at: 340, bytes: 2 },
  anatt: { at: 342, bytes: 1 },
  anacap: { at: 343, bytes: 1 },
  anagrpmax: { at: 344, bytes: 4 },
  nanagrpid: { at: 348, bytes: 4 },
  pels: { at: 352, bytes: 4 },
  domainId: { at: 356, bytes: 2 },
  reserved358: { at: 358, bytes: 10 },
  megcap: { at: 368, bytes: 16 },
  reserved384: { at: 384, bytes: 128 },
  /** Required (3:0) and maximum (7:4) queue entry sizes, as powers of two. */
  sqes: { at: 512, bytes: 1 },
  cqes: { at: 513, bytes: 1 },
  /** Most outstanding commands; 0: not reported. */
  maxcmd: { at: 514, bytes: 2 },
  /** Number of namespaces: the largest valid namespace id. */
  nn: { at: 516, bytes: 4 },
  /** Optional NVM commands, bits of {@link OptionalCommand}. */
  oncs: { at: 520, bytes: 2 },
  fuses: { at: 522, bytes: 2 },
  fna: { at: 524, bytes: 1 },
  /** Volatile write cache: bit 0, present; bits 2:1, flush with the id of all namespaces. */
  vwc: { at: 525, bytes: 1 },
  awun: { at: 526, bytes: 2 },
  awupf: { at: 528, bytes: 2 },
  nvscc: { at: 530, bytes: 1 },
  nwpc: { at: 531, bytes: 1 },
  acwu: { at: 532, bytes: 2 },
  cdfs: { at: 534, bytes: 2 },
  sgls: { at: 536, bytes: 4 },
  mnan: { at: 540, bytes: 4 },
  maxdna: { at: 544, bytes: 16 },
  maxcna: { at: 560, bytes: 4 },
  reserved564: { at: 564, bytes: 204 },
  /** NVM subsystem qualified name, UTF-8, terminated by a zero byte. */
  subnqn: { at: 768, bytes: 256 },
  reserved1024: { at: 1024, bytes: 768 },
  fabrics: { at: 1792, bytes: 256 },
  /** Power state descriptors, 32 of 32 bytes. */
  psd: { at: 2048, bytes: 1024 },
  vendor: { at: 3072, bytes: 1024 },
} as const satisfies Record<string, ByteField>;

/** Bits of ONCS. */
export const OptionalCommand = {
  compare: 0x01,
  writeUncorrectable: 0x02,
  datasetManagement: 0x04,
  writeZeroes: 0x08,
  saveSelect: 0x10,
  reservations: 0x20,
  timestamp: 0x40,
  verify: 0x80,
  copy: 0x100,
} as const;

/** Identify Namespace of the NVM command set (CNS 00h). */
export const IdentifyNamespace = {
  /** Size, capacity and utilization, logical blocks. */
  nsze: { at: 0, bytes: 8 },
  ncap: { at: 8, bytes: 8 },
  nuse: { at: 16, bytes: 8 },
  nsfeat: { at: 24, bytes: 1 },
  /** Number of LBA formats, zero-based. */
  nlbaf: { at: 25, bytes: 1 },
  /** Formatted LBA size: index of the format, low part in bits 3:0, high part in bits 6:5. */
  flbas: { at: 26, bytes: 1 },
  mc: { at: 27, bytes: 1 },
  dpc: { at: 28, bytes: 1 },
  dps: { at: 29, bytes: 1 },
  nmic: { at: 30, bytes: 1 },
  rescap: { at: 31, bytes: 1 },
  fpi: { at: 32, bytes: 1 },
  /** Deallocate features: bits 2:0 = 1 says that deallocated blocks read as zeros; bit 3, Write Zeroes can deallocate. */
  dlfeat: { at: 33, bytes: 1 },
  nawun: { at: 34, bytes: 2 },
  nawupf: { at: 36, bytes: 2 },
  nacwu: { at: 38, bytes: 2 },
  nabsn: { at: 40, bytes: 2 },
  nabo: { at: 42, bytes: 2 },
  nabspf: { at: 44, bytes: 2 },
  noiob: { at: 46, bytes: 2 },
  /** Capacity, bytes. */
  nvmcap: { at: 48, bytes: 16 },
  npwg: { at: 64, bytes: 2 },
  npwa: { at: 66, bytes: 2 },
  npdg: { at: 68, bytes: 2 },
  npda: { at: 70, bytes: 2 },
  nows: { at: 72, bytes: 2 },
  mssrl: { at: 74, bytes: 2 },
  mcl: { at: 76, bytes: 4 },
  msrc: { at: 80, bytes: 1 },
  reserved81: { at: 81, bytes: 11 },
  anagrpid: { at: 92, bytes: 4 },
  reserved96: { at: 96, bytes: 3 },
  nsattr: { at: 99, bytes: 1 },
  nvmsetid: { at: 100, bytes: 2 },
  endgid: { at: 102, bytes: 2 },
  nguid: { at: 104, bytes: 16 },
  eui64: { at: 120, bytes: 8 },
  /** LBA formats, 64 of {@link LBA_FORMAT_BYTES}. */
  lbaf: { at: 128, bytes: 256 },
  vendor: { at: 384, bytes: 3712 },
} as const satisfies Record<string, ByteField>;

/** @spec */
export const LBA_FORMAT_BYTES = 4;
/** An LBA format, as a 32-bit word. */
export const LbaFormat = {
  /** Metadata bytes. */
  ms: { at: 0, width: 16 },
  /** Data size, as a power of two; below 9: format not available. */
  lbads: { at: 16, width: 8 },
  rp: { at: 24, width: 2 },
  reserved26: { at: 26, width: 6 },
} as const;

/** Namespace Identification Descriptors (CNS 03h): type, length, two reserved bytes, then the identifier; type 0 ends the list. */
export const DescriptorType = { end: 0, eui64: 1, nguid: 2, uuid: 3, commandSet: 4 } as const;
export const DESCRIPTOR_HEADER_BYTES = 4;
