/** Controller registers in BAR 0 (NVM Express Base Specification 1.4, 3.1; 2.0, 3.1.3). */
import type { Register } from './field.js';

/** Controller Capabilities (CAP). */
export const CAP = {
  offset: 0x00,
  bits: 64,
  fields: {
    /** Maximum Queue Entries Supported, zero-based. */
    mqes: { at: 0, width: 16 },
    /** Contiguous Queues Required. */
    cqr: { at: 16, width: 1 },
    /** Arbitration Mechanism Supported. */
    ams: { at: 17, width: 2 },
    reserved19: { at: 19, width: 5 },
    /** Timeout, in units of 500 ms: the longest time for CSTS.RDY to follow CC.EN. */
    to: { at: 24, width: 8 },
    /** Doorbell Stride: doorbells are 4 << DSTRD bytes apart. */
    dstrd: { at: 32, width: 4 },
    /** NVM Subsystem Reset Supported. */
    nssrs: { at: 36, width: 1 },
    /** Command Sets Supported, see {@link CommandSets}. */
    css: { at: 37, width: 8 },
    /** Boot Partition Support. */
    bps: { at: 45, width: 1 },
    /** Controller Power Scope (2.0). */
    cps: { at: 46, width: 2 },
    /** Memory Page Size Minimum and Maximum: 4096 << value bytes. */
    mpsmin: { at: 48, width: 4 },
    mpsmax: { at: 52, width: 4 },
    /** Persistent Memory Region Supported. */
    pmrs: { at: 56, width: 1 },
    /** Controller Memory Buffer Supported. */
    cmbs: { at: 57, width: 1 },
    /** NVM Subsystem Shutdown Supported (2.0). */
    nsss: { at: 58, width: 1 },
    /** Controller Ready Modes Supported (2.0). */
    crms: { at: 59, width: 2 },
    reserved61: { at: 61, width: 3 },
  },
} as const satisfies Register;

/** Version (VS). */
export const VS = {
  offset: 0x08,
  bits: 32,
  fields: { tertiary: { at: 0, width: 8 }, minor: { at: 8, width: 8 }, major: { at: 16, width: 16 } },
} as const satisfies Register;

/** Interrupt Mask Set and Clear (INTMS, INTMC): not to be accessed while MSI-X is enabled. */
export const INTMS = { offset: 0x0c, bits: 32, fields: { ivms: { at: 0, width: 32 } } } as const satisfies Register;
export const INTMC = { offset: 0x10, bits: 32, fields: { ivmc: { at: 0, width: 32 } } } as const satisfies Register;

/** Controller Configuration (CC). */
export const CC = {
  offset: 0x14,
  bits: 32,
  fields: {
    /** Enable. */
    en: { at: 0, width: 1 },
    reserved1: { at: 1, width: 3 },
    /** I/O Command Set Selected, see {@link SelectedCommandSet}. */
    css: { at: 4, width: 3 },
    /** Memory Page Size: 4096 << value bytes. */
    mps: { at: 7, width: 4 },
    /** Arbitration Mechanism Selected. */
    ams: { at: 11, width: 3 },
    /** Shutdown Notification, see {@link ShutdownNotification}. */
    shn: { at: 14, width: 2 },
    /** I/O Submission and Completion Queue Entry Size, as a power of two. */
    iosqes: { at: 16, width: 4 },
    iocqes: { at: 20, width: 4 },
    /** Controller Ready Independent of Media Enable (2.0). */
    crime: { at: 24, width: 1 },
    reserved25: { at: 25, width: 7 },
  },
} as const satisfies Register;

/** Controller Status (CSTS). */
export const CSTS = {
  offset: 0x1c,
  bits: 32,
  fields: {
    /** Ready. */
    rdy: { at: 0, width: 1 },
    /** Controller Fatal Status. */
    cfs: { at: 1, width: 1 },
    /** Shutdown Status, see {@link ShutdownStatus}. */
    shst: { at: 2, width: 2 },
    /** NVM Subsystem Reset Occurred; write 1 to clear. */
    nssro: { at: 4, width: 1 },
    /** Processing Paused. */
    pp: { at: 5, width: 1 },
    /** Shutdown Type (2.0). */
    st: { at: 6, width: 1 },
    reserved7: { at: 7, width: 25 },
  },
} as const satisfies Register;

/** NVM Subsystem Reset (NSSR): writing {@link NSSR_RESET} resets, where CAP.NSSRS is set. */
export const NSSR = { offset: 0x20, bits: 32, fields: { nssrc: { at: 0, width: 32 } } } as const satisfies Register;
/** "NVMe" in ASCII. */
export const NSSR_RESET = 0x4e56_4d65;

/** Admin Queue Attributes (AQA): sizes in entries, zero-based. */
export const AQA = {
  offset: 0x24,
  bits: 32,
  fields: {
    asqs: { at: 0, width: 12 },
    reserved12: { at: 12, width: 4 },
    acqs: { at: 16, width: 12 },
    reserved28: { at: 28, width: 4 },
  },
} as const satisfies Register;

/** Admin Submission and Completion Queue Base Address (ASQ, ACQ), page-aligned. */
export const ASQ = {
  offset: 0x28,
  bits: 64,
  fields: { reserved0: { at: 0, width: 12 }, asqbLow: { at: 12, width: 20 }, asqbHigh: { at: 32, width: 32 } },
} as const satisfies Register;
export const ACQ = {
  offset: 0x30,
  bits: 64,
  fields: { reserved0: { at: 0, width: 12 }, acqbLow: { at: 12, width: 20 }, acqbHigh: { at: 32, width: 32 } },
} as const satisfies Register;

/** Controller Memory Buffer Location and Size (CMBLOC, CMBSZ): zero where CAP.CMBS is clear. */
export const CMBLOC = {
  offset: 0x38,
  bits: 32,
  fields: {
    bir: { at: 0, width: 3 },
    cqmms: { at: 3, width: 1 },
    cqpds: { at: 4, width: 1 },
    cdpmls: { at: 5, width: 1 },
    cdpcils: { at: 6, width: 1 },
    cdmmms: { at: 7, width: 1 },
    cqda: { at: 8, width: 1 },
    reserved9: { at: 9, width: 3 },
    ofst: { at: 12, width: 20 },
  },
} as const satisfies Register;
export const CMBSZ = {
  offset: 0x3c,
  bits: 32,
  fields: {
    sqs: { at: 0, width: 1 },
    cqs: { at: 1, width: 1 },
    lists: { at: 2, width: 1 },
    rds: { at: 3, width: 1 },
    wds: { at: 4, width: 1 },
    reserved5: { at: 5, width: 3 },
    szu: { at: 8, width: 4 },
    sz: { at: 12, width: 20 },
  },
} as const satisfies Register;

/** Every register above, in order of offset. */
export const REGISTERS: readonly Register[] = [CAP, VS, INTMS, INTMC, CC, CSTS, NSSR, AQA, ASQ, ACQ, CMBLOC, CMBSZ];

/** Bits of CAP.CSS. */
export const CommandSets = { nvm: 0x01, io: 0x40, none: 0x80 } as const;
/** Values of CC.CSS. */
export const SelectedCommandSet = { nvm: 0, allSupported: 6, adminOnly: 7 } as const;
/** Values of CC.SHN. */
export const ShutdownNotification = { none: 0, normal: 1, abrupt: 2 } as const;
/** Values of CSTS.SHST. */
export const ShutdownStatus = { none: 0, occurring: 1, complete: 2 } as const;

/** Offset of the first doorbell (the admin submission queue's tail). */
export const DOORBELLS = 0x1000;
/** Units of CAP.TO, milliseconds. */
export const TIMEOUT_UNIT_MS = 500;

/** Offset of a submission queue's tail doorbell (SQyTDBL, 3.1.16 of 1.4). */
export function submissionDoorbell(queue: number, stride: number): number {
  return DOORBELLS + 2 * queue * (4 << stride);
}

/** Offset of a completion queue's head doorbell (CQyHDBL, 3.1.17 of 1.4). */
export function completionDoorbell(queue: number, stride: number): number {
  return DOORBELLS + (2 * queue + 1) * (4 << stride);
}
