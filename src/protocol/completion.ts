/**
 * The completion entry: 32 bytes, little-endian, the same in a socket message and in a shared-memory ring.
 *
 * | byte | size | field      | meaning                                                                      |
 * | ---- | ---- | ---------- | ---------------------------------------------------------------------------- |
 * | 0    | u64  | tag        | the request's tag                                                            |
 * | 8    | u16  | code       | one of `Code`; zero is success                                               |
 * | 10   | u16  | field      | which field of the entry offended, one of `Field`; zero where none did       |
 * | 12   | u16  | status     | the device's status where code is `deviceError`: type (bits 10:8), code (7:0)  |
 * | 14   | u16  | queue      | index of the queue in the lease                                              |
 * | 16   | u64  | value      | the value that offended; zero where none did                                 |
 * | 24   | u32  | generation | the generation of the request                                                |
 * | 28   | u32  | bytes      | bytes of data transferred                                                    |
 */
export const COMPLETION_BYTES = 32;
export const COMPLETION_WORDS = 8;

/** Indices of the completion's 32-bit words. */
export const CompletionWord = {
  tagLow: 0,
  tagHigh: 1,
  /** code (bits 15:0), field (31:16) */
  code: 2,
  /** status (bits 15:0), queue (31:16) */
  status: 3,
  valueLow: 4,
  valueHigh: 5,
  generation: 6,
  bytes: 7,
} as const;

/** A completion in the terms of a program. */
export interface CompletionFields {
  tag: bigint;
  code: number;
  field: number;
  status: number;
  queue: number;
  value: bigint;
  generation: number;
  bytes: number;
}

/** Reads the completion at `at` (in words). */
export function unpackCompletion(words: Uint32Array, at: number): CompletionFields {
  return {
    tag: BigInt(words[at + CompletionWord.tagLow]) | (BigInt(words[at + CompletionWord.tagHigh]) << 32n),
    code: words[at + CompletionWord.code] & 0xffff,
    field: words[at + CompletionWord.code] >>> 16,
    status: words[at + CompletionWord.status] & 0xffff,
    queue: words[at + CompletionWord.status] >>> 16,
    value: BigInt(words[at + CompletionWord.valueLow]) | (BigInt(words[at + CompletionWord.valueHigh]) << 32n),
    generation: words[at + CompletionWord.generation],
    bytes: words[at + CompletionWord.bytes],
  };
}
