import { Direction, EntryFlag, OPERATIONS, RING_FLAGS } from '../protocol/index.js';

/** What the rules ask about an operation. */
export interface Needs {
  /** The bits of `Right` that the share must hold. */
  readonly right: number;
  /** The flags that it takes. */
  readonly flags: number;
  /** Whether the entry names a range of blocks. */
  readonly blocks: boolean;
  /** Whether the device moves data, so that length is that of the blocks. */
  readonly data: boolean;
  /** Whether the entry names an attachment. */
  readonly attachment: boolean;
  /** Whether the entry names memory: for data or for an attachment. */
  readonly memory: boolean;
}

/** Indexed by operation code as `OPERATIONS` is, and worked out from it once. Force unit access means something only where blocks are touched. */
export const NEEDS: readonly Needs[] = OPERATIONS.map(({ right, data, blocks, attachment }) => ({
  right,
  flags: blocks ? RING_FLAGS : RING_FLAGS & ~EntryFlag.forceUnitAccess,
  blocks,
  data: data !== Direction.none,
  attachment,
  memory: attachment || data !== Direction.none,
}));
