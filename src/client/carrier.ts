/** How the entries of one queue and their data travel: in messages of the session, or through shared memory. */
import type { Request } from './request.js';

/** The indices of rings in shared memory: running numbers of 32 bits, and who asks to be woken. */
export interface RingIndices {
  /** After the last request that this program wrote, and the last that the server took. */
  readonly requestTail: number;
  readonly requestHead: number;
  /** After the last completion that the server wrote, and the last that this program took. */
  readonly completionTail: number;
  readonly completionHead: number;
  readonly clientSleeps: boolean;
  readonly serverSleeps: boolean;
}

export interface Carrier {
  /** The words of the entries that are being added. */
  readonly words: Uint32Array;
  /** Entries that were added and not sent. */
  readonly count: number;
  /** By which number the server would refuse what is sent next as a whole; 0 where it judges each entry for itself. */
  readonly submit: number;
  /** Of the entry that was added last, where its data are the program's: flag, region and offset. */
  readonly flag: number;
  readonly region: number;
  readonly offset: number;

  /** Whether one more part with `length` bytes of data can go now; takes what it needs. If not, `retry` is called when it may. */
  reserve(request: Request, length: number, retry: () => void): boolean;
  /** Adds an entry for the part in `slot`, which has its reserve, and takes its data. Returns the index of its words; the caller writes all but the reserved ones, which are zero. */
  add(request: Request, slot: number, length: number): number;
  send(): void;

  /** A message of completions brought data, where the completions are due `expected` bytes. Throws a ConnectionError if that is not so. */
  arrived(data: Uint8Array, expected: number): void;
  /** Copies the completions (64-bit halves) that are there, at most `most`, and returns how many. Throws a ConnectionError for what is none. */
  take(completions: BigUint64Array, most: number): number;
  /** Gives the program the data of the read in `slot`, in the order of completions. */
  deliver(request: Request, slot: number, at: number, length: number): void;
  /** Gives back what the part in `slot` took. `uncertain`: the device may still be at work on its data. */
  release(slot: number, uncertain: boolean): void;
  /** Lets those who wait for room try again; called once for a batch of completions. */
  wake(): void;
  /** Of rings in shared memory that are there. */
  indices(): RingIndices | undefined;
  /** The queue is gone. */
  end(): void;
}
