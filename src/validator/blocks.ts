/** Rules about the share: what may be done in it, and which blocks. */
import { Code, EntryWord, Right } from '../protocol/index.js';
import type { Needs } from './needs.js';
import type { Share } from './types.js';
import { liesInside } from './window.js';

const { blocks: BLOCKS, lbaLow: LBA_LOW, lbaHigh: LBA_HIGH } = EntryWord;
const { read: READ, write: WRITE } = Right;
const { noReadRight, noWriteRight, operationNotGranted, blocksZero, blocksTooMany, blocksNotUsed, lbaOutsideShare, lbaNotUsed } = Code;

/**
 * The share holds the right that the operation needs, and grants the operation. The right comes first: it is about data, and no list of
 * operations makes up for it. Compare needs the right to read, because its outcome tells what the blocks hold.
 */
export function rightRule(operation: number, needs: Needs, share: Share): number {
  const missing = needs.right & ~share.access;
  if ((missing & READ) !== 0) return noReadRight;
  if ((missing & WRITE) !== 0) return noWriteRight;
  return (share.operations & (1 << operation)) !== 0 ? 0 : operationNotGranted;
}

/** As many blocks as one command can carry and the share allows; never none, which a device would read as a zero-based 65536. */
export function blocksRule(entry: Uint32Array, needs: Needs, share: Share): number {
  const blocks = entry[BLOCKS];
  if (!needs.blocks) return blocks === 0 ? 0 : blocksNotUsed;
  if (blocks === 0) return blocksZero;
  return blocks <= share.maxBlocks ? 0 : blocksTooMany;
}

/** All of the blocks lie inside the share, whose start the client never learns. */
export function lbaRule(entry: Uint32Array, needs: Needs, share: Share): number {
  const low = entry[LBA_LOW];
  const high = entry[LBA_HIGH];
  if (!needs.blocks) return (low | high) === 0 ? 0 : lbaNotUsed;
  return liesInside(low, high, entry[BLOCKS], share.blocks) ? 0 : lbaOutsideShare;
}
