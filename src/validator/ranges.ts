/** Rules about what a deallocate attachment holds: ranges of lba (u64), blocks (u32) and reserved (u32), little-endian. */
import { Code, EntryWord, RANGE_BYTES } from '../protocol/index.js';
import type { Attachment, Share } from './types.js';
import { liesInside } from './window.js';

const LENGTH = EntryWord.length;
const { attachmentMissing, rangeReserved, rangeEmpty, rangeOutsideShare } = Code;

/** Indices of a range's 32-bit words, from its first. */
export const RangeWord = { lbaLow: 0, lbaHigh: 1, blocks: 2, reserved: 3 } as const;
export const RANGE_WORDS = RANGE_BYTES / 4;

/** The range that starts at word `at`. Empty ranges are refused: controllers differ in what they make of one. */
function rangeRule(words: Uint32Array, at: number, share: Share): number {
  if (words[at + RangeWord.reserved] !== 0) return rangeReserved;
  const blocks = words[at + RangeWord.blocks];
  if (blocks === 0) return rangeEmpty;
  return liesInside(words[at + RangeWord.lbaLow], words[at + RangeWord.lbaHigh], blocks, share.blocks) ? 0 : rangeOutsideShare;
}

/**
 * All of the attachment was fetched, and each range of it lies inside the share. The length was judged before, so there are at most 256
 * ranges. The first range that offends decides.
 */
export function rangesRule(entry: Uint32Array, attachment: Attachment, share: Share): number {
  const words = attachment.words;
  const count = entry[LENGTH] >>> 2;
  if (attachment.bytes !== entry[LENGTH] || count > words.length) return attachmentMissing;
  for (let at = 0; at < count; at += RANGE_WORDS) {
    const code = rangeRule(words, at, share);
    if (code !== 0) return code;
  }
  return 0;
}
