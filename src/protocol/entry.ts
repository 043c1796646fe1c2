/**
 * The request entry: 64 bytes, little-endian, the same in a socket message and in a shared-memory ring.
 *
 * | byte | size | field      | meaning                                                                         |
 * | ---- | ---- | ---------- | ------------------------------------------------------------------------------- |
 * | 0    | u8   | operation  | one of `Operation`                                                              |
 * | 1    | u8   | flags      | bits of `EntryFlag`; the others are zero                                        |
 * | 2    | u16  | share      | index of the share in the lease's grant                                         |
 * | 4    | u32  | generation | the lease's generation when the entry was written                               |
 * | 8    | u64  | tag        | the client's own; comes back untouched; unique among this queue's requests in flight |
 * | 16   | u64  | lba        | first logical block, counted from the start of the share                        |
 * | 24   | u32  | blocks     | number of logical blocks, 1 to 65536 (a count, not zero-based)                  |
 * | 28   | u32  | region     | handle of the memory region that holds the data or the attachment               |
 * | 32   | u64  | offset     | bytes from the start of the region                                              |
 * | 40   | u32  | length     | bytes of data (`blocks` x block size) or of attachment; zero where there is none |
 * | 44   | u32  | lease      | the lease's handle                                                              |
 * | 48   | u16  | queue      | index of the queue in the lease                                                 |
 * | 50   | 14   | reserved   | zero                                                                            |
 *
 * Fields that an operation does not use are zero. All of it is read as sixteen 32-bit words; the 64-bit fields are two words, low first.
 */
export const ENTRY_BYTES = 64;
export const ENTRY_WORDS = 16;

/** Bits of the flags byte. */
export const EntryFlag = {
  /** Force unit access: a write is durable when it completes. */
  forceUnitAccess: 0x01,
  /** Socket sessions only: the data travels in the message. `region` and `offset` are zero; the server fills them in with its staging memory. */
  inline: 0x02,
} as const;

/** The flags that a request ring may carry: `inline` is resolved by the session, before the entry reaches a ring. */
export const RING_FLAGS = EntryFlag.forceUnitAccess;

/** Indices of the entry's 32-bit words. */
export const EntryWord = {
  /** operation (bits 7:0), flags (15:8), share (31:16) */
  head: 0,
  generation: 1,
  tagLow: 2,
  tagHigh: 3,
  lbaLow: 4,
  lbaHigh: 5,
  blocks: 6,
  region: 7,
  offsetLow: 8,
  offsetHigh: 9,
  length: 10,
  lease: 11,
  /** queue (bits 15:0), reserved (31:16) */
  queue: 12,
  reserved: 13,
} as const;

/** A request in the terms of a program, for {@link packEntry} and {@link unpackEntry}; the hot path works on words. */
export interface RequestFields {
  operation: number;
  flags: number;
  share: number;
  generation: number;
  tag: bigint;
  lba: bigint;
  blocks: number;
  region: number;
  offset: bigint;
  length: number;
  lease: number;
  queue: number;
}

/** Writes `fields` as an entry at `at` (in words). The fields are cut to their widths: a client that sends nonsense gets a refusal. */
export function packEntry(words: Uint32Array, at: number, fields: Readonly<RequestFields>): void {
  words[at] = (fields.operation & 0xff) | ((fields.flags & 0xff) << 8) | ((fields.share & 0xffff) << 16);
  words[at + EntryWord.generation] = fields.generation;
  words[at + EntryWord.tagLow] = Number(fields.tag & 0xffff_ffffn);
  words[at + EntryWord.tagHigh] = Number((fields.tag >> 32n) & 0xffff_ffffn);
  words[at + EntryWord.lbaLow] = Number(fields.lba & 0xffff_ffffn);
  words[at + EntryWord.lbaHigh] = Number((fields.lba >> 32n) & 0xffff_ffffn);
  words[at + EntryWord.blocks] = fields.blocks;
  words[at + EntryWord.region] = fields.region;
  words[at + EntryWord.offsetLow] = Number(fields.offset & 0xffff_ffffn);
  words[at + EntryWord.offsetHigh] = Number((fields.offset >> 32n) & 0xffff_ffffn);
  words[at + EntryWord.length] = fields.length;
  words[at + EntryWord.lease] = fields.lease;
  words[at + EntryWord.queue] = fields.queue & 0xffff;
  words[at + 13] = 0;
  words[at + 14] = 0;
  words[at + 15] = 0;
}

/** Reads the entry at `at` (in words). */
export function unpackEntry(words: Uint32Array, at: number): RequestFields {
  const head = words[at];
  return {
    operation: head & 0xff,
    flags: (head >>> 8) & 0xff,
    share: head >>> 16,
    generation: words[at + EntryWord.generation],
    tag: BigInt(words[at + EntryWord.tagLow]) | (BigInt(words[at + EntryWord.tagHigh]) << 32n),
    lba: BigInt(words[at + EntryWord.lbaLow]) | (BigInt(words[at + EntryWord.lbaHigh]) << 32n),
    blocks: words[at + EntryWord.blocks],
    region: words[at + EntryWord.region],
    offset: BigInt(words[at + EntryWord.offsetLow]) | (BigInt(words[at + EntryWord.offsetHigh]) << 32n),
    length: words[at + EntryWord.length],
    lease: words[at + EntryWord.lease],
    queue: words[at + EntryWord.queue] & 0xffff,
  };
}
