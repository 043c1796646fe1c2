/** Rules about the memory that an entry names: how much of it, which, and where in it. */
import { Code, EntryWord, MAX_ATTACHMENT_BYTES, RANGE_BYTES } from '../protocol/index.js';
import { NEEDS, type Needs } from './needs.js';
import type { RegionView, Share } from './types.js';
import { liesInside } from './window.js';

const { head: HEAD, blocks: BLOCKS, region: REGION, offsetLow: OFFSET_LOW, offsetHigh: OFFSET_HIGH, length: LENGTH } = EntryWord;
const { lengthMismatch, lengthNotUsed, attachmentLength, unknownRegion, regionNotUsed, offsetOutsideRegion, offsetMisaligned, offsetNotUsed } = Code;

/** A whole number of ranges, at least one, at most what one command carries. */
const isAttachmentLength = (length: number): boolean => length >= RANGE_BYTES && length <= MAX_ATTACHMENT_BYTES && length % RANGE_BYTES === 0;

/**
 * The length is what the operation moves, so that the memory that is checked is the memory that the device reaches. The product is one of
 * numbers, not a shift: 65536 blocks of 65536 bytes are 2^32 bytes, and a 32-bit shift would make that 0.
 */
export function lengthRule(entry: Uint32Array, needs: Needs, share: Share): number {
  const length = entry[LENGTH];
  if (needs.attachment) return isAttachmentLength(length) ? 0 : attachmentLength;
  if (!needs.data) return length === 0 ? 0 : lengthNotUsed;
  return length === entry[BLOCKS] * (1 << share.blockShift) ? 0 : lengthMismatch;
}

/**
 * `length` bytes at `offset` lie in a usable region of the domain, and start at a multiple of four bytes (NVMe base specification,
 * "Physical Region Page Entry and List": the offset of a first entry is dword aligned). Handle 0 is never a region: it would match every free slot.
 */
export function memoryRule(entry: Uint32Array, regions: RegionView): number {
  const handle = entry[REGION];
  const { words } = regions;
  const at = 2 * (handle & 0xffff);
  const usable = handle !== 0 && at < words.length && words[at] === handle;
  if (!usable) return unknownRegion;
  const offsetLow = entry[OFFSET_LOW];
  if (!liesInside(offsetLow, entry[OFFSET_HIGH], entry[LENGTH], words[at + 1])) return offsetOutsideRegion;
  return (offsetLow & 3) === 0 ? 0 : offsetMisaligned;
}

/** {@link memoryRule} where the operation uses memory; where it does not, no memory is named. */
export function placeRule(entry: Uint32Array, needs: Needs, regions: RegionView): number {
  if (needs.memory) return memoryRule(entry, regions);
  if (entry[REGION] !== 0) return regionNotUsed;
  return (entry[OFFSET_LOW] | entry[OFFSET_HIGH]) === 0 ? 0 : offsetNotUsed;
}

/**
 * How many bytes of attachment the engine may fetch for an entry that was not judged yet: 0 when its operation has none, or when its length
 * or its place would be refused anyway. Never more than `MAX_ATTACHMENT_BYTES`, whatever the entry says.
 */
export function attachmentToFetch(entry: Uint32Array, regions: RegionView): number {
  const operation = entry[HEAD] & 0xff;
  if (operation >= NEEDS.length || !NEEDS[operation].attachment) return 0;
  const length = entry[LENGTH];
  return isAttachmentLength(length) && memoryRule(entry, regions) === 0 ? length : 0;
}
