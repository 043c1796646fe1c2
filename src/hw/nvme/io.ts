/** The I/O commands that the server writes for admitted requests (NVM Command Set 1.0, section 3). Hot path. */
import { type PageTable, writeAddress } from '../dma/index.js';
import { writePrps } from './prp.js';
import type { QueuePair } from './queue-pair.js';
import { DATASET_RANGE_BYTES, NvmOpcode, PAGE_BYTES, Sqe } from './spec/index.js';

const FORCE_UNIT_ACCESS = 0x4000_0000;
const DATASET_DEALLOCATE = 0x4;
const TWO_TO_32 = 0x1_0000_0000;

/** Read, Write or Compare of `blocks` (1 to 65536) at device block `lba`, data of `bytes` at `offset` of the memory in `region` of `table`. Returns the slot. */
export function submitTransfer(
  pair: QueuePair,
  opcode: number,
  namespace: number,
  lba: number,
  blocks: number,
  forceUnitAccess: boolean,
  table: PageTable,
  region: number,
  offset: number,
  bytes: number,
  now: number,
): number {
  const slot = pair.claim();
  const at = pair.begin(slot, opcode, namespace, lba, lba / TWO_TO_32, (blocks - 1) | (forceUnitAccess ? FORCE_UNIT_ACCESS : 0));
  writePrps(pair, at, slot, table, region, offset, bytes);
  pair.submit(slot, now);
  return slot;
}

/** Flush of a namespace: all that was written before it, by anybody. Returns the slot. */
export function submitFlush(pair: QueuePair, namespace: number, now: number): number {
  const slot = pair.claim();
  pair.begin(slot, NvmOpcode.flush, namespace);
  pair.submit(slot, now);
  return slot;
}

/** Write Zeroes. Returns the slot. */
export function submitWriteZeroes(pair: QueuePair, namespace: number, lba: number, blocks: number, forceUnitAccess: boolean, now: number): number {
  const slot = pair.claim();
  pair.begin(slot, NvmOpcode.writeZeroes, namespace, lba, lba / TWO_TO_32, (blocks - 1) | (forceUnitAccess ? FORCE_UNIT_ACCESS : 0));
  pair.submit(slot, now);
  return slot;
}

/**
 * Dataset Management, deallocate. `ranges` are attachment words as the validator saw them (lba low, lba high, blocks, zero); each lba is counted from
 * `firstBlock`. At most 256 ranges. Returns the slot.
 */
export function submitDeallocate(pair: QueuePair, namespace: number, firstBlock: number, ranges: Uint32Array, count: number, now: number): number {
  const slot = pair.claim();
  const at = pair.begin(slot, NvmOpcode.datasetManagement, namespace, count - 1, DATASET_DEALLOCATE);
  const lists = pair.memory.lists;
  const base = (slot * PAGE_BYTES) >>> 2;
  for (let range = 0; range < count; range++) {
    const from = range * (DATASET_RANGE_BYTES / 4);
    const lba = ranges[from] + ranges[from + 1] * TWO_TO_32 + firstBlock;
    lists.u32[base + from] = 0;
    lists.u32[base + from + 1] = ranges[from + 2];
    lists.u32[base + from + 2] = lba;
    lists.u32[base + from + 3] = lba / TWO_TO_32;
  }
  writeAddress(lists.memory, lists.offset + slot * PAGE_BYTES, pair.words, at + Sqe.prp1Low);
  pair.submit(slot, now);
  return slot;
}
