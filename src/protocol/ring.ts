/**
 * The pair of memories that carries one queue of a lease: requests one way, completions the other.
 *
 * Each side writes one memory and only reads the other, so that the kernel can enforce it where the two are different processes.
 * Indices run freely from 0 to 2^32-1 and wrap; the slot of an index is `index & (entries - 1)`.
 *
 * Request memory (the client writes):
 * | byte | field            | meaning                                                                 |
 * | ---- | ---------------- | ----------------------------------------------------------------------- |
 * | 0    | u32 requestTail  | index after the last request written                                    |
 * | 64   | u32 completionHead | index after the last completion taken                                 |
 * | 128  | u32 needsWakeup  | 1 when the client sleeps and wants to be woken for completions          |
 * | 4096 | entries          | `entries` x 64 bytes                                                    |
 *
 * Completion memory (the server writes):
 * | byte | field            | meaning                                                                 |
 * | ---- | ---------------- | ----------------------------------------------------------------------- |
 * | 0    | u32 requestHead  | index after the last request taken                                      |
 * | 64   | u32 completionTail | index after the last completion written                               |
 * | 128  | u32 needsWakeup  | 1 when the engine no longer polls this queue and wants to be woken      |
 * | 4096 | completions      | `entries` x 32 bytes                                                    |
 *
 * A producer writes entries, then the tail; then reads the other side's `needsWakeup`. A consumer about to sleep sets `needsWakeup`, then
 * looks at the tail once more. The server takes a request only when a completion slot is free for its answer.
 */
import { COMPLETION_BYTES } from './completion.js';
import { ENTRY_BYTES } from './entry.js';

/** Version of this layout, told in the answer to `openQueue`. */
export const RING_VERSION = 1;

/** Word indices in the request memory. */
export const RequestRing = { requestTail: 0, completionHead: 16, needsWakeup: 32 } as const;

/** Word indices in the completion memory. */
export const CompletionRing = { requestHead: 0, completionTail: 16, needsWakeup: 32 } as const;

/** Where the entries start in either memory: bytes, and 32-bit words. */
export const RING_HEADER_BYTES = 4_096;
export const RING_HEADER_WORDS = RING_HEADER_BYTES / 4;

/** Bytes of the request memory of a ring of `entries`. */
export const requestRingBytes = (entries: number): number => RING_HEADER_BYTES + entries * ENTRY_BYTES;

/** Bytes of the completion memory of a ring of `entries`. */
export const completionRingBytes = (entries: number): number => RING_HEADER_BYTES + entries * COMPLETION_BYTES;
