/** What holds the blocks of a namespace. Positions and sizes are in bytes from the start of the namespace; the caller has checked the range. */

/** A ticket of {@link Media.flush} when there is nothing to wait for. */
export const DURABLE = 0;
/** Answers of {@link Media.flushed}. */
export const FlushState = { waiting: 0, done: 1, failed: 2 } as const;

/** Every operation returns a status of the specification (0: success) and never throws for what its storage does. */
export interface Media {
  readonly bytes: number;
  /** Bytes that are allocated, where that is known; else all. */
  readonly usedBytes: number;
  read(position: number, into: Uint8Array, at: number, bytes: number): number;
  write(position: number, from: Uint8Array, at: number, bytes: number): number;
  /** Makes the range read as zeros; gives its space back where that can be done. */
  zero(position: number, bytes: number): number;
  /** Starts making durable what was written so far: a ticket for `flushed`, or {@link DURABLE}. */
  flush(): number;
  flushed(ticket: number): number;
}
