/** Bit fields and byte fields, as the figures of the specification give them. */

/** A run of bits: `at` is the lowest bit's number in its register or command Dword, `width` how many. Never crosses a 32-bit boundary. */
export interface BitField {
  readonly at: number;
  readonly width: number;
}

/** A register of 32 or 64 bits, at byte `offset` of BAR 0. Reserved fields are named `reserved<lowest bit>`. */
export interface Register {
  readonly offset: number;
  readonly bits: 32 | 64;
  readonly fields: Readonly<Record<string, BitField>>;
}

/** A field of a data structure: `at` is its byte offset, `bytes` its size. Little-endian where it is a number. */
export interface ByteField {
  readonly at: number;
  readonly bytes: number;
}

/** The largest value that fits into the field. */
export function fieldMax(field: BitField): number {
  return 2 ** field.width - 1;
}

/** Takes a field out of a register or Dword that is given as one or two unsigned 32-bit words. */
export function getField(field: BitField, low: number, high = 0): number {
  const word = field.at < 32 ? low : high;
  return field.width === 32 ? word >>> 0 : (word >>> (field.at & 31)) & ((1 << field.width) - 1);
}

/** Puts a value into its place within its 32-bit word (the high word if `at` >= 32), unsigned; add or OR several of them. Surplus bits are cut off. */
export function putField(field: BitField, value: number): number {
  return field.width === 32 ? value >>> 0 : ((value & ((1 << field.width) - 1)) << (field.at & 31)) >>> 0;
}
