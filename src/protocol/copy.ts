/**
 * Copies of one entry and of one completion, in 64-bit halves: what the hot paths of both sides do for every request. V8 makes no BigInt of what is only moved.
 * Written out, because in a loop over shared memory V8 looks up both arrays anew each time.
 */
import { COMPLETION_BYTES } from './completion.js';
import { ENTRY_BYTES } from './entry.js';
import { RING_HEADER_BYTES } from './ring.js';

/** 64-bit halves of an entry, of a completion, and before the first of them in a ring's memory. */
export const ENTRY_HALVES = ENTRY_BYTES / 8;
export const COMPLETION_HALVES = COMPLETION_BYTES / 8;
export const RING_HEADER_HALVES = RING_HEADER_BYTES / 8;

/** Copies an entry from `from[start]` to `to[at]`. Each byte is read once. */
export function copyEntry(to: BigUint64Array, at: number, from: BigUint64Array, start: number): void {
  copyCompletion(to, at, from, start);
  copyCompletion(to, at + COMPLETION_HALVES, from, start + COMPLETION_HALVES);
}

/** Copies a completion, which is half as long, from `from[start]` to `to[at]`. */
export function copyCompletion(to: BigUint64Array, at: number, from: BigUint64Array, start: number): void {
  to[at] = from[start];
  to[at + 1] = from[start + 1];
  to[at + 2] = from[start + 2];
  to[at + 3] = from[start + 3];
}
