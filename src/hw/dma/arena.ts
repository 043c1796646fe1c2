/**
 * The server's own DMA memory of one device: rings, PRP lists, identify buffers. No client ever reaches it.
 *
 * Page-granular, first fit, in chunks of memory files that are contiguous on the bus, but for large tables of pages that are found one by one. Not for the hot path.
 */
import { PAGE_BYTES } from '../../protocol/index.js';
import { shm } from '../../native/shm.js';
import type { Backing, DmaMemory } from '../backing.js';
import type { Task } from '../task.js';
import { createMemoryFile, needsHugePages, wholePages } from './file.js';
import { writeAddress } from './translate.js';

const CHUNK_BYTES = 2 * 1_048_576;

/** A piece of a memory: contiguous in this process and on the bus. */
export interface DmaSlice {
  readonly bytes: number;
  readonly memory: DmaMemory;
  /** Bytes from the start of `memory`. */
  readonly offset: number;
  /** Bus address of the first byte, as two words. */
  readonly busLow: number;
  readonly busHigh: number;
  readonly u8: Uint8Array;
  readonly u32: Uint32Array;
  readonly u64: BigUint64Array;
}

interface Chunk {
  readonly fd: number;
  readonly memory: DmaMemory;
  readonly contiguous: boolean;
  /** One byte a page: 1 while it is used. */
  readonly used: Uint8Array;
}

export class DmaArena {
  readonly #backing: Backing;
  readonly #name: string;
  readonly #chunks: Chunk[] = [];

  constructor(backing: Backing, name: string) {
    this.#backing = backing;
    this.#name = name;
  }

  /** Bytes in use. */
  get usedBytes(): number {
    return this.#chunks.reduce((sum, chunk) => sum + chunk.used.reduce((pages, page) => pages + page, 0) * PAGE_BYTES, 0);
  }

  /**
   * Memory of at least `bytes`, zeroed and in one piece on the bus; unless the `pages` are found one by one and written before they are read: zeroing megabytes
   * stops the thread for a moment, and machines do not have many in one piece. Throws `exhausted` when the backing has no room.
   */
  *allocate(bytes: number, pages = false): Task<DmaSlice> {
    const size = wholePages(bytes);
    for (const chunk of this.#chunks) {
      const page = pages || chunk.contiguous ? findRun(chunk.used, size / PAGE_BYTES) : -1;
      if (page >= 0) return take(chunk, page, size, pages);
    }
    const chunkBytes = Math.max(CHUNK_BYTES, size);
    const contiguous = !pages || chunkBytes === CHUNK_BYTES;
    const fd = createMemoryFile(`ringwarden:${this.#name}`, chunkBytes, needsHugePages(this.#backing, chunkBytes, contiguous));
    let memory: DmaMemory;
    try {
      memory = yield* this.#backing.attach(fd, chunkBytes, { contiguous, owner: 'server' });
    } catch (error) {
      shm().close(fd);
      throw error;
    }
    const chunk: Chunk = { fd, memory, contiguous, used: new Uint8Array(chunkBytes / PAGE_BYTES) };
    this.#chunks.push(chunk);
    return take(chunk, 0, size, pages);
  }

  /** Gives a slice back; once. The caller knows that the device does not use it any more. What went with `dispose` is gone already. */
  free(slice: DmaSlice): void {
    const chunk = this.#chunks.find((candidate) => candidate.memory === slice.memory);
    chunk?.used.fill(0, slice.offset / PAGE_BYTES, (slice.offset + slice.bytes) / PAGE_BYTES);
  }

  /** Gives every chunk back to the backing, whatever becomes of the others. Nothing of the arena may be in use by the device. */
  *dispose(): Task<void> {
    const chunk = this.#chunks.pop();
    if (chunk === undefined) return;
    try {
      yield* this.#backing.detach(chunk.memory);
    } finally {
      shm().close(chunk.fd);
      yield* this.dispose();
    }
  }
}

function take(chunk: Chunk, page: number, bytes: number, mayBeStale: boolean): DmaSlice {
  chunk.used.fill(1, page, page + bytes / PAGE_BYTES);
  const slice = sliceOf(chunk.memory, page * PAGE_BYTES, bytes);
  if (!mayBeStale) slice.u8.fill(0);
  return slice;
}

/** `bytes` from `offset` on of a memory that is contiguous on the bus; both are whole pages. */
export function sliceOf(memory: DmaMemory, offset: number, bytes: number): DmaSlice {
  const address = new Uint32Array(2);
  writeAddress(memory, offset, address, 0);
  const u8 = new Uint8Array(memory.buffer, offset, bytes);
  const u32 = new Uint32Array(memory.buffer, offset, bytes / 4);
  return { bytes, memory, offset, busLow: address[0], busHigh: address[1], u8, u32, u64: new BigUint64Array(memory.buffer, offset, bytes / 8) };
}

/** First page of a run of `pages` free ones, or -1. */
function findRun(used: Uint8Array, pages: number): number {
  for (let start = 0, length = 0, page = 0; page < used.length; page++) {
    length = used[page] === 0 ? length + 1 : 0;
    if (length === 1) start = page;
    if (length === pages) return start;
  }
  return -1;
}
