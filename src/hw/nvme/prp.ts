/** Physical Region Pages: how a command names its data (NVMe Base Specification 1.4, 4.3). The server builds them in memory that no client reaches. */
import type { DmaMemory } from '../backing.js';
import { writeAddress, writePageAddresses, type DmaSlice } from '../dma/index.js';
import { PAGE_BYTES, PRPS_PER_PAGE, Sqe } from './spec/index.js';

const PAGE_MASK = PAGE_BYTES - 1;
const PAGE_SHIFT = 12;

/**
 * Most bytes that one command carries here, whatever MDTS allows: the first page and one page of list entries. So a list never chains, and a
 * slot needs one page.
 */
export const MAX_PRP_BYTES = PRPS_PER_PAGE * PAGE_BYTES;

/**
 * Writes PRP1 and PRP2 of the command at word `at` for `bytes` (1 to {@link MAX_PRP_BYTES}) at `offset` of `memory`; from three pages on with a
 * list in page `slot` of `lists`. The offset must be a multiple of four.
 * @throws RangeError when a page is not inside the memory.
 */
export function writePrps(words: Uint32Array, at: number, memory: DmaMemory, offset: number, bytes: number, lists: DmaSlice, slot: number): void {
  const first = offset >>> PAGE_SHIFT;
  const pages = ((offset & PAGE_MASK) + bytes + PAGE_MASK) >>> PAGE_SHIFT;
  writeAddress(memory, offset, words, at + Sqe.prp1Low);
  if (pages === 1) return;
  if (pages === 2) {
    writePageAddresses(memory, first + 1, 1, words, at + Sqe.prp2Low);
    return;
  }
  writePageAddresses(memory, first + 1, pages - 1, lists.u32, (slot * PAGE_BYTES) >>> 2);
  writeAddress(lists.memory, lists.offset + slot * PAGE_BYTES, words, at + Sqe.prp2Low);
}
