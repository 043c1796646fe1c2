/** Submission and completion queue entries, as indices of 32-bit words (Base Specification 1.4, sections 4.2 and 4.6). */

export const SUBMISSION_BYTES = 64;
export const COMPLETION_BYTES = 16;
/** CC.IOSQES and CC.IOCQES. */
export const SUBMISSION_SHIFT = 6;
export const COMPLETION_SHIFT = 4;

/** 32-bit words of a submission queue entry. */
export const Sqe = {
  cdw0: 0,
  nsid: 1,
  cdw2: 2,
  cdw3: 3,
  mptrLow: 4,
  mptrHigh: 5,
  prp1Low: 6,
  prp1High: 7,
  prp2Low: 8,
  prp2High: 9,
  cdw10: 10,
  cdw11: 11,
  cdw12: 12,
  cdw13: 13,
  cdw14: 14,
  cdw15: 15,
} as const;
export const SUBMISSION_WORDS = 16;

/** 32-bit words of a completion queue entry. */
export const Cqe = { dword0: 0, dword1: 1, /** SQ head (15:0) and SQ identifier (31:16). */ queue: 2, /** {@link CqeStatus}. */ status: 3 } as const;
export const COMPLETION_WORDS = 4;

/** Completion Dword 2. */
export const CqeQueue = { sqhd: { at: 0, width: 16 }, sqid: { at: 16, width: 16 } } as const;
/** Completion Dword 3. */
export const CqeStatus = {
  cid: { at: 0, width: 16 },
  /** Phase tag. */
  p: { at: 16, width: 1 },
  /** Status code. */
  sc: { at: 17, width: 8 },
  /** Status code type. */
  sct: { at: 25, width: 3 },
  /** Command retry delay. */
  crd: { at: 28, width: 2 },
  /** More information in the error log. */
  m: { at: 30, width: 1 },
  /** Do not retry. */
  dnr: { at: 31, width: 1 },
} as const;

/** Bytes of the smallest memory page (CC.MPS = 0). */
export const PAGE_BYTES = 4096;
/** Bytes of one PRP entry, and how many a page of 4096 holds. */
export const PRP_BYTES = 8;
export const PRPS_PER_PAGE = 512;
