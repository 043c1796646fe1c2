/** Physical Region Pages: how a command names its data (NVMe Base Specification 1.4, 4.3). The server builds them in memory that no client reaches. */
import { writeAddress, writePageAddresses, writeTableAddress, type PageTable } from '../dma/index.js';
import type { QueuePair } from './queue-pair.js';
import { PAGE_BYTES, PRPS_PER_PAGE, Sqe } from './spec/index.js';

const PAGE_MASK = PAGE_BYTES - 1;
const PAGE_SHIFT = 12;

/**
 * Most bytes that one command carries here, whatever MDTS allows: the first page and one page of list entries. So a list never chains, and a
 * slot needs one page.
 */
export const MAX_PRP_BYTES = PRPS_PER_PAGE * PAGE_BYTES;

/**
 * Writes PRP1 and PRP2 of the command that `pair` began at word `at`, for `bytes` (1 to {@link MAX_PRP_BYTES}) at `offset` of the memory in `region` of
 * `table`; from three pages on with a list in the page of its slot. The offset must be a multiple of four.
 * @throws RangeError when a page is not inside the memory.
 */
export function writePrps(pair: QueuePair, at: number, slot: number, table: PageTable, region: number, offset: number, bytes: number): void {
  const first = offset >>> PAGE_SHIFT;
  const pages = ((offset & PAGE_MASK) + bytes + PAGE_MASK) >>> PAGE_SHIFT;
  writeTableAddress(table, region, offset, pair.words, at + Sqe.prp1Low);
  if (pages === 1) return;
  if (pages === 2) {
    writePageAddresses(table, region, first + 1, 1, pair.halves, (at + Sqe.prp2Low) / 2);
    return;
  }
  const { lists } = pair.memory;
  writePageAddresses(table, region, first + 1, pages - 1, lists.u64, slot * PRPS_PER_PAGE);
  writeAddress(lists.memory, lists.offset + slot * PAGE_BYTES, pair.words, at + Sqe.prp2Low);
}
