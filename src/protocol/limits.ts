/** Limits of the wire contract, each with its reason. Limits that an operator sets are in the server's configuration. */

/** Blocks in one request. NVMe's NLB field is 16 bits, zero-based (NVM Command Set 3.2.4), so this is what one command can carry. */
export const MAX_BLOCKS = 65_536;

/** Bytes of one attachment: 256 deallocate ranges of 16 bytes, which is what one Dataset Management command carries. */
export const MAX_ATTACHMENT_BYTES = 4_096;

/** Bytes of one range in a deallocate attachment: lba (u64), blocks (u32), reserved (u32, zero). */
export const RANGE_BYTES = 16;

/** Entries of a request ring: powers of two in this range. The top keeps one tenant's share of the server's memory small. */
export const MIN_RING_ENTRIES = 2;
export const MAX_RING_ENTRIES = 1_024;

/** Requests in one socket message. A batch longer than a ring cannot be taken in whole. */
export const MAX_BATCH = 1_024;

/** Bytes of one socket message, in either direction. Large enough for a batch with its data, small enough to hold for every session. */
export const MAX_MESSAGE_BYTES = 4 * 1_048_576;

/** Nesting of a control message. The deepest real one has four levels; a decoder that recurses must never meet more. */
export const MAX_DEPTH = 6;

/** Characters of any text field that a client sends. */
export const MAX_TEXT = 256;

/** Bytes of one memory region. 2 GiB keeps every offset inside a region a small integer on the hot path. */
export const MAX_REGION_BYTES = 2 ** 31;

/** Bytes of a ticket for the descriptor socket: 128 random bits, which nobody guesses in the seconds that it lives. */
export const TICKET_BYTES = 16;

/** Most microseconds that a signal of an event descriptor waits for more interrupts: what waits longer is better asked for. */
export const MAX_COALESCING_MICROSECONDS = 1_000_000;

/** Most interrupts that wait for one signal of an event descriptor. */
export const MAX_COALESCING_EVENTS = 65_535;

/** Most bytes of expansion ROM in one message: the engine thread copies them, beside everybody's requests. */
export const MAX_ROM_READ_BYTES = 65_536;

/** The unit in which region memory is granted and pinned, bytes. */
export const PAGE_BYTES = 4_096;
