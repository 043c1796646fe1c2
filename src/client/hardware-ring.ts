/**
 * The hardware's rings behind a queue, mapped to read and decoded: the completion queue itself, and a mirror of the submission queue in which the server has put
 * regions and offsets in place of bus addresses (NVMe Base Specification 1.4, 4.2 and 4.6; NVM Command Set, 3.2).
 */
import { fstatSync } from 'node:fs';
import { shm } from '../native/shm.js';
import { CODES, type RingInfo } from '../protocol/index.js';
import { readView } from './answers.js';
import type { RingIndices } from './carrier.js';
import { RingwardenError } from './errors.js';
import { fetchDescriptors } from './handover.js';
import { statusName } from './nvme-status.js';
import type { SignalOption } from './region.js';
import type { Session } from './session.js';

/** An entry of the submission queue. Entries that were never used are all zero, and read as a flush. */
export interface SubmissionEntry {
  readonly slot: number;
  readonly opcode: number;
  /** Name of the opcode, or its number where it has none here. */
  readonly operation: string;
  /** Of the command; the server's own, not the tag of the request. */
  readonly commandId: number;
  readonly share: number;
  /** Memory of the request, where it has any: handle of the region, and offset in it. */
  readonly region: number;
  readonly offset: number;
  /** First block, counted from the start of the share, and number of blocks; of deallocate, 0 and the number of ranges. */
  readonly lba: number;
  readonly blocks: number;
  /** Force unit access. */
  readonly durable: boolean;
}

/** An entry of the completion queue. Entries that were never used are all zero. */
export interface CompletionEntry {
  readonly slot: number;
  readonly commandId: number;
  /** Inverts with each turn of the queue: where it changes from one entry to the next is the hardware's tail. */
  readonly phase: 0 | 1;
  /** Status code type in bits 10 to 8, status code in bits 7 to 0. */
  readonly status: number;
  readonly statusName: string;
  /** Head of the submission queue when the entry was written: what lies before it has been fetched. */
  readonly submissionHead: number;
  readonly submissionQueue: number;
}

export interface RingSnapshot {
  /** Of the lease. */
  readonly generation: number;
  readonly submissions: readonly SubmissionEntry[];
  readonly completions: readonly CompletionEntry[];
  /** Slot that the hardware writes next. */
  readonly completionTail: number;
  /** Of the rings between this program and the server; undefined where they are not in shared memory. */
  readonly indices: RingIndices | undefined;
}

/** Opcodes of the NVM command set that the server uses. */
const OPERATIONS: Readonly<Record<number, string>> = { 0: 'flush', 1: 'write', 2: 'read', 5: 'compare', 8: 'writeZeroes', 9: 'deallocate' };
const DEALLOCATE = 9;
const FLUSH = 0;
const TWO_32 = 0x1_0000_0000;
const SUBMISSION_WORDS = 16;
const COMPLETION_WORDS = 4;

export interface HardwareRingOptions {
  readonly session: Session;
  readonly device: string;
  readonly lease: number;
  readonly queue: number;
  readonly generation: () => number;
  /** Why the lease is gone; undefined while it is there. */
  readonly end: () => RingwardenError | undefined;
  readonly indices: () => RingIndices | undefined;
}

/** A view of the rings, until the lease is reset or ends: then there is another to ask for. */
export class HardwareRing {
  /** Of the lease when the view was made. */
  readonly generation: number;
  readonly #options: HardwareRingOptions;
  readonly #descriptors: readonly number[];
  readonly #submissions: Uint32Array;
  readonly #completions: Uint32Array;
  #closed = false;

  private constructor(options: HardwareRingOptions, generation: number, descriptors: readonly number[], mappings: readonly Uint32Array[]) {
    this.#options = options;
    this.generation = generation;
    this.#descriptors = descriptors;
    [this.#submissions, this.#completions] = mappings;
  }

  /** For `hardwareRing` of the device. */
  static async open(options: HardwareRingOptions, { signal }: SignalOption): Promise<HardwareRing> {
    const { session, device, lease, queue } = options;
    const view = await session.calls.call('viewQueue', { lease, queue }, readView, { signal });
    const { descriptors, connection } = await fetchDescriptors(`see the rings of ${device}`, view, 2);
    shm().close(connection);
    const mapped: Uint32Array[] = [];
    try {
      for (const [index, info] of [view.submission, view.completion].entries()) mapped.push(mapRing(descriptors[index], info));
      return new HardwareRing(options, view.generation, descriptors, mapped);
    } catch (error) {
      for (const words of mapped) shm().unmap(words.buffer as ArrayBuffer);
      for (const fd of descriptors) shm().close(fd);
      throw error;
    }
  }

  /**
   * What the rings hold now. The hardware and the server go on writing, so an entry may be half of one command and half of the next. Throws a RingwardenError
   * `revoked` once the view has ended, with a reset of the lease or with the lease, and `closed` after `close`.
   */
  inspect(): RingSnapshot {
    this.#checkOpen();
    const submissions = Array.from({ length: this.#submissions.length / SUBMISSION_WORDS }, (_, slot) => submissionAt(this.#submissions, slot));
    const completions = Array.from({ length: this.#completions.length / COMPLETION_WORDS }, (_, slot) => completionAt(this.#completions, slot));
    const indices = this.#options.indices();
    // Memory that is taken back reads as zeroes: what was read counts only if it was there until now.
    this.#checkOpen();
    const changed = completions.findIndex(({ phase }) => phase !== completions[0].phase);
    return { generation: this.generation, submissions, completions, completionTail: Math.max(0, changed), indices };
  }

  /** Gives the view up. A second call does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const words of [this.#submissions, this.#completions]) shm().unmap(words.buffer as ArrayBuffer);
    for (const fd of this.#descriptors) shm().close(fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #checkOpen(): void {
    const { device, end, generation } = this.#options;
    if (this.#closed) throw new RingwardenError('closed', `rings of ${device}: the view was closed by this program; ask for another`);
    const ended = end();
    if (ended !== undefined) throw ended;
    const taken = this.#descriptors.some((fd) => fstatSync(fd).size === 0);
    if (!taken && generation() === this.generation) return;
    throw new RingwardenError('revoked', `rings of ${device}: the view ended with a reset of the lease, or with the lease; ask for another`, {
      number: CODES.revoked.code,
      field: 'generation',
      value: String(this.generation),
    });
  }
}

function mapRing(fd: number, { bytes, entries, entryBytes }: RingInfo): Uint32Array {
  const buffer = shm().map(fd, 0, bytes, false);
  // The server takes it back by truncation, and at any time.
  shm().guard(buffer);
  return new Uint32Array(buffer, 0, (entries * entryBytes) / 4);
}

function submissionAt(ring: Uint32Array, slot: number): SubmissionEntry {
  const words = ring.slice(slot * SUBMISSION_WORDS, (slot + 1) * SUBMISSION_WORDS);
  const opcode = words[0] & 0xff;
  const ranges = opcode === DEALLOCATE;
  return {
    slot,
    opcode,
    operation: OPERATIONS[opcode] ?? String(opcode),
    commandId: words[0] >>> 16,
    share: words[1],
    region: words[6],
    offset: words[8],
    lba: ranges ? 0 : words[10] + words[11] * TWO_32,
    blocks: ranges ? (words[10] & 0xff) + 1 : opcode === FLUSH ? 0 : (words[12] & 0xffff) + 1,
    durable: (words[12] & 0x4000_0000) !== 0,
  };
}

function completionAt(ring: Uint32Array, slot: number): CompletionEntry {
  const [, , queue, status] = ring.slice(slot * COMPLETION_WORDS, (slot + 1) * COMPLETION_WORDS);
  const code = (status >>> 17) & 0x7ff;
  return {
    slot,
    commandId: status & 0xffff,
    phase: (status & 0x1_0000) === 0 ? 0 : 1,
    status: code,
    statusName: statusName(code),
    submissionHead: queue & 0xffff,
    submissionQueue: queue >>> 16,
  };
}
