/** Memory as a program with raw access has it: a file that is pinned and on the bus, and whose bus addresses the program knows. */
import type { Backing, DmaMemory } from '../../../hw/backing.js';
import { createMemoryFile, needsHugePages, sliceOf, type DmaSlice } from '../../../hw/dma/index.js';
import type { Task } from '../../../hw/task.js';
import { shm } from '../../../native/shm.js';

export const PAGE_BYTES = 4_096;
const TWO_TO_32 = 2 ** 32;

export class RawMemory {
  readonly bytes: Buffer;
  readonly #memory: DmaMemory;
  readonly #fd: number;
  #nextPage = 0;

  private constructor(memory: DmaMemory, fd: number) {
    this.#memory = memory;
    this.#fd = fd;
    this.bytes = Buffer.from(memory.buffer);
  }

  /** `pages` pages that follow each other on the bus. */
  static *attach(backing: Backing, pages: number, owner: string): Task<RawMemory> {
    const bytes = pages * PAGE_BYTES;
    const fd = createMemoryFile(`ringwarden:demo:${owner}`, bytes, needsHugePages(backing, bytes, true));
    try {
      return new RawMemory(yield* backing.attach(fd, bytes, { contiguous: true, owner }), fd);
    } catch (error) {
      shm().close(fd);
      throw error;
    }
  }

  /** The bus address of a byte: what /proc/self/pagemap tells a program with raw access (Linux, admin-guide/mm/pagemap). Below 2^53. */
  address(offset: number): number {
    const page = Math.floor(offset / PAGE_BYTES);
    return this.#memory.pageHigh[page] * TWO_TO_32 + this.#memory.pageLow[page] + (offset % PAGE_BYTES);
  }

  page(index: number): Buffer {
    return this.bytes.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES);
  }

  /** Offset of `pages` pages that nobody has yet. */
  take(pages: number): number {
    const offset = this.#nextPage * PAGE_BYTES;
    this.#nextPage += pages;
    if (this.#nextPage * PAGE_BYTES > this.bytes.length) throw new RangeError('no page is left');
    return offset;
  }

  /** The same, zeroed, in the terms of a queue pair. */
  takeSlice(pages: number): DmaSlice {
    const offset = this.take(pages);
    const bytes = pages * PAGE_BYTES;
    new Uint8Array(this.#memory.buffer, offset, bytes).fill(0);
    return sliceOf(this.#memory, offset, bytes);
  }

  /** Only after the backing was disposed of. */
  close(): void {
    shm().close(this.#fd);
  }
}
