/** What the validator judges by. Plain data: the engine keeps it, clients never see or touch it. */

/** One window of one namespace. All numbers are whole and not negative. */
export interface Share {
  /** Logical blocks in the window, at most 2^53 - 1. */
  readonly blocks: number;
  /** log2 of the bytes of a logical block, 9 to 16. */
  readonly blockShift: number;
  /** Bits of `Right`. */
  readonly access: number;
  /** Mask of `1 << operation`. */
  readonly operations: number;
  /** Most blocks in one request, 1 to 65536. */
  readonly maxBlocks: number;
}

/** What a lease may do. Replaced as a whole, never edited. */
export interface Grant {
  readonly shares: readonly Share[];
  /** Most requests in flight over all queues of the lease. */
  readonly maxInFlight: number;
}

/**
 * The regions of the domain, two words for each slot, at most 65536 slots: the handle of its region, which is `slot | sequence << 16`, or 0 while the slot is
 * free or its region is not usable; and the region's bytes, at most 2^31. Side by side, because a rule looks at both.
 */
export interface RegionView {
  readonly words: Uint32Array;
}

/** The tags of the requests in flight on one queue. */
export interface TagView {
  has(low: number, high: number): boolean;
}

/** What a rule needs to know of the moment. */
export interface LeaseState {
  /** False while the lease is being reset, revoked or closed. */
  readonly active: boolean;
  readonly lease: number;
  readonly queue: number;
  readonly generation: number;
  readonly inFlight: number;
  readonly regions: RegionView;
  readonly tags: TagView;
}

/** What an operation needs beside its entry: fetched once by the engine into memory of its own. */
export interface Attachment {
  readonly words: Uint32Array;
  /** Bytes fetched; 0 where the operation has none or where it could not be fetched. */
  readonly bytes: number;
}
