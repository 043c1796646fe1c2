/** Physical Region Pages: how a command names its data (NVMe Base Specification 1.4, 4.3). The server builds them in memory that no client reaches. */
import { writeAddress, writePageAddresses, writeTableAddress, type DmaSlice, type PageTable } from '../dma/index.js';
import { PAGE_BYTES, PRPS_PER_PAGE, Sqe } from './spec/index.js';

const PAGE_MASK = PAGE_BYTES - 1;
const PAGE_SHIFT = 12;

/**
 * Most bytes that one command carries here, whatever MDTS allows: the first page and one page of list entries. So a list never chains, and a
 * slot needs one page.
 */
export const MAX_PRP_BYTES = PRPS_PER_PAGE * PAGE_BYTES;

/**
 * Writes PRP1 and PRP2 of the command at word `at` for `bytes` (1 to {@link MAX_PRP_BYTES}) at `offset` of the memory in `region` of `table`; from three
 * pages on with a list in page `slot` of `lists`. The offset must be a multiple of four, and PRP2 zero so far.
 * @throws RangeError when a page is not inside the memory.
 */
export function writePrps(
  words: Uint32Array,
  at: number,
  table: PageTable,
  region: number,
  offset: number,
  bytes: number,
  lists: DmaSlice,
  slot: number,
): void {
  const first = offset >>> PAGE_SHIFT;
  const pages = ((offset & PAGE_MASK) + bytes + PAGE_MASK) >>> PAGE_SHIFT;
  writeTableAddress(table, region, offset, words, at + Sqe.prp1Low);
  if (pages === 1) return;
  if (pages === 2) {
    writeTableAddress(table, region, (first + 1) * PAGE_BYTES, words, at + Sqe.prp2Low);
    return;
  }
  writePageAddresses(table, region, first + 1, pages - 1, lists.u32, (slot * PAGE_BYTES) >>> 2);
  writeAddress(lists.memory, lists.offset + slot * PAGE_BYTES, words, at + Sqe.prp2Low);
}
