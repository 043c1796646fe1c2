/**
 * From an offset in a memory to what the device needs: the one file that turns a region offset into a bus address.
 *
 * It yields pinned RAM of the memory it is given or nothing: never a BAR, never an interrupt address, because the page tables that it reads
 * are filled by `Backing.attach` alone.
 */
import type { DmaMemory } from '../backing.js';
import { type PageTable, SPAN_WORDS, Span } from './page-table.js';

const PAGE_SHIFT = 12;
const PAGE_MASK = 0xfff;

/** Offsets in a region, in bytes. A number of its own kind, so that it is not mistaken for a bus address. */
export type RegionOffset = number & { readonly __brand?: 'RegionOffset' };

/**
 * Writes the bus address of `offset` as two words (low, high) at `at`.
 * @throws RangeError when the offset is not inside the memory: the validator should have seen it, and the engine stops rather than guess.
 */
export function writeAddress(memory: DmaMemory, offset: RegionOffset, into: Uint32Array, at: number): void {
  if (!(offset >= 0 && offset < memory.bytes)) throw new RangeError(`offset ${offset} outside memory of ${memory.bytes} bytes`);
  const page = offset >>> PAGE_SHIFT;
  into[at] = memory.pageLow[page] | (offset & PAGE_MASK);
  into[at + 1] = memory.pageHigh[page];
}

/**
 * Writes the bus address of byte `offset` of the memory in `slot` as two words at `at`.
 * @throws RangeError likewise, here and in {@link writePageAddresses}.
 */
export function writeTableAddress(table: PageTable, slot: number, offset: RegionOffset, into: Uint32Array, at: number): void {
  const word = 2 * pageIn(table, slot, offset >>> PAGE_SHIFT, 1);
  into[at] = table.words[word] | (offset & PAGE_MASK);
  into[at + 1] = table.words[word + 1];
}

/** Writes the bus addresses of `count` whole pages of the memory in `slot` from page number `first`, 64 bits each, from `at` on. */
export function writePageAddresses(table: PageTable, slot: number, first: number, count: number, into: BigUint64Array, at: number): void {
  const { addresses } = table;
  const start = pageIn(table, slot, first, count);
  for (let page = 0; page < count; page++) into[at + page] = addresses[start + page];
}

/** The number in the table of page `first` of the memory in `slot`; it and the `count` - 1 after it belong to that memory. */
function pageIn({ spans }: PageTable, slot: number, first: number, count: number): number {
  const span = SPAN_WORDS * slot;
  if (!(first >= 0 && count > 0 && first <= spans[span + Span.pages] - count)) {
    throw new RangeError(`pages ${first}+${count} outside memory of ${spans[span + Span.pages]} pages`);
  }
  return spans[span + Span.first] + first;
}
