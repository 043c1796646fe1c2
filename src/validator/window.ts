/** The greatest upper word of a 64-bit field whose value a number holds exactly: 0x001f_ffff_ffff_ffff is 2^53 - 1. */
const MAX_EXACT_HIGH = 0x1f_ffff;

/**
 * Whether `count` units from a 64-bit start, given as two 32-bit words, lie inside `size` units (R16). The one piece of arithmetic that
 * every range check of the validator rests on: the start is proved exact before it is used, and nothing is ever added up, so nothing can
 * overflow. Every comparison is positive, so that NaN cannot pass either.
 *
 * `count` is 0 to 2^32 - 1, `size` is 0 to 2^53 - 1, both whole, all three in the same unit (blocks or bytes).
 */
export const liesInside = (startLow: number, startHigh: number, count: number, size: number): boolean =>
  startHigh <= MAX_EXACT_HIGH && count <= size && startHigh * 0x1_0000_0000 + startLow <= size - count;
