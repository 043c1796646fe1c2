/** Opcodes, identifiers and command Dwords (Base Specification 1.4, sections 5 and 6; 2.0, section 5; NVM Command Set 1.0, section 3). */

/** Admin commands. */
export const AdminOpcode = {
  deleteSubmissionQueue: 0x00,
  createSubmissionQueue: 0x01,
  getLogPage: 0x02,
  deleteCompletionQueue: 0x04,
  createCompletionQueue: 0x05,
  identify: 0x06,
  abort: 0x08,
  setFeatures: 0x09,
  getFeatures: 0x0a,
  asynchronousEventRequest: 0x0c,
  namespaceManagement: 0x0d,
  firmwareCommit: 0x10,
  firmwareImageDownload: 0x11,
  deviceSelfTest: 0x14,
  namespaceAttachment: 0x15,
  keepAlive: 0x18,
  formatNvm: 0x80,
  securitySend: 0x81,
  securityReceive: 0x82,
  sanitize: 0x84,
} as const;

/** Commands of the NVM command set. */
export const NvmOpcode = {
  flush: 0x00,
  write: 0x01,
  read: 0x02,
  writeUncorrectable: 0x04,
  compare: 0x05,
  writeZeroes: 0x08,
  datasetManagement: 0x09,
  verify: 0x0c,
  reservationRegister: 0x0d,
  reservationReport: 0x0e,
  reservationAcquire: 0x11,
  reservationRelease: 0x15,
  copy: 0x19,
} as const;

/** Identify: Controller or Namespace Structure (CNS). */
export const Cns = {
  namespace: 0x00,
  controller: 0x01,
  activeNamespaces: 0x02,
  namespaceDescriptors: 0x03,
  nvmSets: 0x04,
  allocatedNamespaces: 0x10,
  allocatedNamespace: 0x11,
  attachedControllers: 0x12,
  controllers: 0x13,
} as const;

/** Feature identifiers (FID). */
export const FeatureId = {
  arbitration: 0x01,
  powerManagement: 0x02,
  lbaRangeType: 0x03,
  temperatureThreshold: 0x04,
  errorRecovery: 0x05,
  volatileWriteCache: 0x06,
  numberOfQueues: 0x07,
  interruptCoalescing: 0x08,
  interruptVectorConfiguration: 0x09,
  writeAtomicityNormal: 0x0a,
  asynchronousEventConfiguration: 0x0b,
} as const;

/** Get Features: Select (SEL). */
export const FeatureSelect = { current: 0, default: 1, saved: 2, supportedCapabilities: 3 } as const;
/** Answer to {@link FeatureSelect}.supportedCapabilities, completion Dword 0. */
export const FeatureCapability = { saveable: 0x1, namespaceSpecific: 0x2, changeable: 0x4 } as const;

/** Log page identifiers (LID). */
export const LogPageId = {
  errorInformation: 0x01,
  smart: 0x02,
  firmwareSlot: 0x03,
  changedNamespaces: 0x04,
  commandsSupported: 0x05,
  deviceSelfTest: 0x06,
} as const;

/** Asynchronous event: type (completion Dword 0, bits 2:0). */
export const EventType = { error: 0, smart: 1, notice: 2, io: 6, vendor: 7 } as const;
/** Event information of type `error`. */
export const ErrorEvent = {
  invalidDoorbellRegister: 0x00,
  invalidDoorbellValue: 0x01,
  diagnosticFailure: 0x02,
  persistentInternalError: 0x03,
  transientInternalError: 0x04,
  firmwareImageLoadError: 0x05,
} as const;
/** Event information of type `smart`. */
export const SmartEvent = { reliability: 0x00, temperatureThreshold: 0x01, spareBelowThreshold: 0x02 } as const;
/** Event information of type `notice`. */
export const NoticeEvent = { namespaceAttributeChanged: 0x00, firmwareActivationStarting: 0x01, telemetryLogChanged: 0x02 } as const;
/** Bits of the Asynchronous Event Configuration feature, Dword 11; bits 7:0 are those of {@link CriticalWarning}. */
export const EventConfiguration = { namespaceAttribute: 0x100, firmwareActivation: 0x200 } as const;

/** PRP or SGL for Data Transfer (PSDT). @spec */
export const DataPointer = { prp: 0, sglContiguousMetadata: 1, sglMetadataSegment: 2 } as const;
/** Fused operation (FUSE). @spec */
export const Fuse = { normal: 0, first: 1, second: 2 } as const;

/** The namespace id that means all namespaces. */
export const ALL_NAMESPACES = 0xffff_ffff;

/** Command Dword 0. */
export const Cdw0 = {
  opcode: { at: 0, width: 8 },
  fuse: { at: 8, width: 2 },
  reserved10: { at: 10, width: 4 },
  psdt: { at: 14, width: 2 },
  cid: { at: 16, width: 16 },
} as const;

/** Create I/O Submission Queue and Create I/O Completion Queue: Dword 10. Delete uses `qid` alone. */
export const QueueCdw10 = { qid: { at: 0, width: 16 }, /** Zero-based. */ qsize: { at: 16, width: 16 } } as const;
/** Create I/O Submission Queue: Dword 11. */
export const SubmissionQueueCdw11 = {
  /** Physically contiguous. */
  pc: { at: 0, width: 1 },
  qprio: { at: 1, width: 2 },
  reserved3: { at: 3, width: 13 },
  cqid: { at: 16, width: 16 },
} as const;
/** Create I/O Completion Queue: Dword 11. */
export const CompletionQueueCdw11 = {
  pc: { at: 0, width: 1 },
  /** Interrupts enabled. */
  ien: { at: 1, width: 1 },
  reserved2: { at: 2, width: 14 },
  /** Interrupt vector. */
  iv: { at: 16, width: 16 },
} as const;

/** Identify: Dword 10. */
export const IdentifyCdw10 = { cns: { at: 0, width: 8 }, reserved8: { at: 8, width: 8 }, cntid: { at: 16, width: 16 } } as const;

/** Get Log Page: Dwords 10 and 11. The number of Dwords is zero-based, its upper half in Dword 11. Dwords 12 and 13 are the byte offset. */
export const LogPageCdw10 = {
  lid: { at: 0, width: 8 },
  lsp: { at: 8, width: 4 },
  reserved12: { at: 12, width: 3 },
  /** Retain Asynchronous Event: do not unmask the event that the page belongs to. */
  rae: { at: 15, width: 1 },
  numdl: { at: 16, width: 16 },
} as const;
export const LogPageCdw11 = { numdu: { at: 0, width: 16 }, lsi: { at: 16, width: 16 } } as const;

/** Get Features and Set Features: Dword 10. */
export const GetFeaturesCdw10 = { fid: { at: 0, width: 8 }, sel: { at: 8, width: 3 }, reserved11: { at: 11, width: 21 } } as const;
export const SetFeaturesCdw10 = { fid: { at: 0, width: 8 }, reserved8: { at: 8, width: 23 }, sv: { at: 31, width: 1 } } as const;
/** Number of Queues feature: Dword 11 and completion Dword 0, both counts zero-based. */
export const NumberOfQueues = { submission: { at: 0, width: 16 }, completion: { at: 16, width: 16 } } as const;
/** Temperature Threshold feature: Dword 11. */
export const TemperatureThreshold = {
  /** Kelvins. */
  tmpth: { at: 0, width: 16 },
  /** 0: composite temperature; 15 on Set: all sensors. */
  tmpsel: { at: 16, width: 4 },
  /** 0: over-temperature, 1: under-temperature. */
  thsel: { at: 20, width: 2 },
  reserved22: { at: 22, width: 10 },
} as const;
/** Interrupt Vector Configuration feature: Dword 11. */
export const InterruptVectorConfiguration = { iv: { at: 0, width: 16 }, cd: { at: 16, width: 1 }, reserved17: { at: 17, width: 15 } } as const;

/** Abort: Dword 10. Completion Dword 0 bit 0 says: not aborted. */
export const AbortCdw10 = { sqid: { at: 0, width: 16 }, cid: { at: 16, width: 16 } } as const;

/** Asynchronous Event Request: completion Dword 0. */
export const EventDword0 = {
  type: { at: 0, width: 3 },
  reserved3: { at: 3, width: 5 },
  information: { at: 8, width: 8 },
  logPage: { at: 16, width: 8 },
  reserved24: { at: 24, width: 8 },
} as const;

/** Read, Write, Compare, Write Zeroes: Dword 12. Dwords 10 and 11 are the starting LBA. */
export const IoCdw12 = {
  /** Number of logical blocks, zero-based. */
  nlb: { at: 0, width: 16 },
  reserved16: { at: 16, width: 8 },
  stc: { at: 24, width: 1 },
  /** Deallocate (Write Zeroes). */
  deac: { at: 25, width: 1 },
  prinfo: { at: 26, width: 4 },
  /** Force Unit Access. */
  fua: { at: 30, width: 1 },
  /** Limited Retry. */
  lr: { at: 31, width: 1 },
} as const;

/** Dataset Management: Dwords 10 and 11. The number of ranges is zero-based. */
export const DatasetCdw10 = { nr: { at: 0, width: 8 }, reserved8: { at: 8, width: 24 } } as const;
export const DatasetCdw11 = { idr: { at: 0, width: 1 }, idw: { at: 1, width: 1 }, ad: { at: 2, width: 1 }, reserved3: { at: 3, width: 29 } } as const;
/** One range of Dataset Management. */
export const DatasetRange = { attributes: { at: 0, bytes: 4 }, blocks: { at: 4, bytes: 4 }, lba: { at: 8, bytes: 8 } } as const;
export const DATASET_RANGE_BYTES = 16;
export const MAX_DATASET_RANGES = 256;
