/**
 * Copies of one entry and of one completion, word by word: what the hot paths of both sides do for every request. Written out, because a loop over
 * shared memory costs half as much again: V8 looks up both arrays anew for each word.
 */

/** Copies the 16 words of an entry from `from[start]` to `to[at]`. Each word is read once. */
export function copyEntry(to: Uint32Array, at: number, from: Uint32Array, start: number): void {
  to[at] = from[start];
  to[at + 1] = from[start + 1];
  to[at + 2] = from[start + 2];
  to[at + 3] = from[start + 3];
  to[at + 4] = from[start + 4];
  to[at + 5] = from[start + 5];
  to[at + 6] = from[start + 6];
  to[at + 7] = from[start + 7];
  to[at + 8] = from[start + 8];
  to[at + 9] = from[start + 9];
  to[at + 10] = from[start + 10];
  to[at + 11] = from[start + 11];
  to[at + 12] = from[start + 12];
  to[at + 13] = from[start + 13];
  to[at + 14] = from[start + 14];
  to[at + 15] = from[start + 15];
}

/**
 * The same in 64-bit halves, eight of them, where both sides have them: from half `start` to half `at`. V8 makes no BigInt of what is only moved, and it
 * costs less than half as much.
 */
export function copyEntryHalves(to: BigUint64Array, at: number, from: BigUint64Array, start: number): void {
  to[at] = from[start];
  to[at + 1] = from[start + 1];
  to[at + 2] = from[start + 2];
  to[at + 3] = from[start + 3];
  to[at + 4] = from[start + 4];
  to[at + 5] = from[start + 5];
  to[at + 6] = from[start + 6];
  to[at + 7] = from[start + 7];
}

/** Copies the 8 words of a completion from `from[start]` to `to[at]`. */
export function copyCompletion(to: Uint32Array, at: number, from: Uint32Array, start: number): void {
  to[at] = from[start];
  to[at + 1] = from[start + 1];
  to[at + 2] = from[start + 2];
  to[at + 3] = from[start + 3];
  to[at + 4] = from[start + 4];
  to[at + 5] = from[start + 5];
  to[at + 6] = from[start + 6];
  to[at + 7] = from[start + 7];
}
