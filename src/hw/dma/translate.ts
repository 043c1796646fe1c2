/**
 * From an offset in a memory to what the device needs: the one file that turns a region offset into a bus address.
 *
 * It yields pinned RAM of the memory it is given or nothing: never a BAR, never an interrupt address, because the page tables that it reads
 * are filled by `Backing.attach` alone.
 */
import type { DmaMemory } from '../backing.js';

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

/** Writes the bus addresses of `count` whole pages from page number `first`, two words each, from `at` on. Same errors as {@link writeAddress}. */
export function writePageAddresses(memory: DmaMemory, first: number, count: number, into: Uint32Array, at: number): void {
  if (!(first >= 0 && count >= 0 && first <= memory.pageLow.length - count)) {
    throw new RangeError(`pages ${first}+${count} outside memory of ${memory.pageLow.length} pages`);
  }
  for (let page = first, word = at; page < first + count; page++, word += 2) {
    into[word] = memory.pageLow[page];
    into[word + 1] = memory.pageHigh[page];
  }
}
