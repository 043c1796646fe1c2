/** The command that is being carried out. The controller has one; it is fetched once, and everything is judged and used from this copy. */
import { Cdw0, SUBMISSION_WORDS, Sqe, fieldMax, putField } from '../../nvme/spec/index.js';
import type { SubmissionQueue } from './queues.js';

/** What `execute` returns when the completion comes later, or never. Not a status. */
export const LATER = -1;

/** Parameter error location: not known, or none (error log, bytes 15:14). */
export const NO_PARAMETER = 0xffff;

/** Bits of Dword 0 that this controller supports only as zero. */
const UNSUPPORTED = putField(Cdw0.fuse, fieldMax(Cdw0.fuse)) | putField(Cdw0.psdt, fieldMax(Cdw0.psdt));

export class Command {
  readonly words = new Int32Array(SUBMISSION_WORDS);
  /** The same memory in 64-bit halves. */
  readonly halves = new BigUint64Array(this.words.buffer);
  queue: SubmissionQueue;
  /** Result, completion Dword 0. */
  dword0 = 0;
  /** Byte of the command that is wrong, for the error log. */
  parameter = NO_PARAMETER;

  constructor(queue: SubmissionQueue) {
    this.queue = queue;
  }

  get opcode(): number {
    return this.words[0] & 0xff;
  }

  get id(): number {
    return this.words[0] >>> 16;
  }

  /** Namespace id, unsigned. */
  get namespace(): number {
    return this.words[Sqe.nsid] >>> 0;
  }

  /** Bits of Dword 0 that this controller supports only as zero: FUSE and PSDT. */
  get unsupportedBits(): number {
    return this.words[0] & UNSUPPORTED;
  }

  /** Says which Dword of the command is wrong, and returns the status unchanged. */
  wrong(dword: number, status: number): number {
    this.parameter = 4 * dword;
    return status;
  }
}
