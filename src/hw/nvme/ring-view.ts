/**
 * What the holder of a queue pair may see of its rings, and how they look to it.
 *
 * The completion queue is the hardware's own, in a memory file that holds nothing else. The submission queue is a *mirror* that the server writes: it has
 * the entries of the ring in their places, in the layout of the hardware's, with what the client named where the device is given what only the server may know:
 *
 * | words | the hardware's         | the mirror's                                                |
 * | ----- | ---------------------- | ----------------------------------------------------------- |
 * | 0     | opcode and identifier  | the same                                                    |
 * | 1     | namespace              | share of the lease                                          |
 * | 6-7   | PRP1, a bus address    | handle of the region; 0                                     |
 * | 8-9   | PRP2, a bus address    | offset in the region; 0                                     |
 * | 10-11 | block on the device    | block in the share; for deallocate as the hardware's        |
 * | 12-15 | command-specific       | the same                                                    |
 *
 * A reader may find an entry half written: it is told of completions elsewhere.
 */
import type { Backing, DmaMemory } from '../backing.js';
import { ShownFile, needsHugePages, sliceOf, wholePages, type DmaSlice, type ShownEnd } from '../dma/index.js';
import { shm } from '../../native/shm.js';
import { HardwareError, type Task } from '../task.js';
import { COMPLETION_BYTES, NvmOpcode, SUBMISSION_BYTES, SUBMISSION_WORDS, Sqe } from './spec/index.js';

const TWO_TO_32 = 0x1_0000_0000;

/** Bytes of memory that the view of a pair of `entries` takes: its completion queue and the mirror. */
export const ringViewBytes = (entries: number): number => wholePages(entries * COMPLETION_BYTES) + wholePages(entries * SUBMISSION_BYTES);

export class RingView {
  /** The hardware's completion queue. */
  readonly completion: DmaSlice;
  readonly submissionFile: ShownFile;
  readonly completionFile: ShownFile;
  readonly #memory: DmaMemory;
  readonly #mapping: ArrayBuffer;
  readonly #mirror: Uint32Array;

  private constructor(completionFile: ShownFile, memory: DmaMemory, submissionFile: ShownFile, mapping: ArrayBuffer) {
    this.completionFile = completionFile;
    this.#memory = memory;
    this.completion = sliceOf(memory, 0, memory.bytes);
    this.submissionFile = submissionFile;
    this.#mapping = mapping;
    this.#mirror = new Uint32Array(mapping);
  }

  /** Memory for the completion queue and the mirror of a pair of `entries`. @throws HardwareError `exhausted` when the backing cannot split its memory further. */
  static *create(backing: Backing, entries: number, end: ShownEnd): Task<RingView> {
    const bytes = wholePages(entries * COMPLETION_BYTES);
    const completionFile = new ShownFile('ringwarden:completions', bytes, end, needsHugePages(backing, bytes, true));
    let memory: DmaMemory | undefined;
    try {
      memory = yield* backing.attach(completionFile.fd, completionFile.bytes, { contiguous: true, owner: 'server' });
      completionFile.seal();
      const [submissionFile, mapping] = createMirror(entries, end);
      return new RingView(completionFile, memory, submissionFile, mapping);
    } catch (error) {
      if (memory !== undefined) yield* backing.detach(memory);
      completionFile.end(false);
      throw error;
    }
  }

  /**
   * Shows the command that begins at word `at` of the ring. `share`, `block`, `region` and `offset` (below 2^32) are the client's own names for what it asked
   * for. Hot path of pairs that have a view.
   */
  show(ring: Uint32Array, at: number, share: number, block: number, region: number, offset: number): void {
    const mirror = this.#mirror;
    mirror[at] = ring[at];
    mirror[at + Sqe.nsid] = share;
    mirror[at + Sqe.prp1Low] = region;
    mirror[at + Sqe.prp2Low] = offset;
    const namesRanges = (ring[at] & 0xff) === NvmOpcode.datasetManagement;
    mirror[at + Sqe.cdw10] = namesRanges ? ring[at + Sqe.cdw10] : block;
    mirror[at + Sqe.cdw11] = namesRanges ? ring[at + Sqe.cdw11] : block / TWO_TO_32;
    for (let word = at + Sqe.cdw12; word < at + SUBMISSION_WORDS; word++) mirror[word] = ring[word];
  }

  /**
   * The pair is deleted, and nobody is shown it any more. Where it is certain that nothing of ours maps the files, readers fault from now on; else their pages
   * are nobody's, and die with the last mapping.
   */
  *end(backing: Backing): Task<void> {
    shm().unmap(this.#mapping);
    this.submissionFile.end(true);
    let unmapped = false;
    try {
      yield* backing.detach(this.#memory);
      // A lost device may have a thread behind it that is stuck, and that would fault with us.
      unmapped = backing.lost === undefined;
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
    } finally {
      this.completionFile.end(unmapped);
    }
  }
}

function createMirror(entries: number, end: ShownEnd): [file: ShownFile, mapping: ArrayBuffer] {
  const file = new ShownFile('ringwarden:submissions', wholePages(entries * SUBMISSION_BYTES), end);
  try {
    const mapping = shm().map(file.fd, 0, file.bytes, true);
    file.seal();
    return [file, mapping];
  } catch (error) {
    file.end(false);
    throw error;
  }
}
