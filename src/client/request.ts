/** One request of the program. It is sent in as many parts (entries) as the limits of the share make it. */
import { OPERATIONS, type OperationName } from '../protocol/index.js';
import type { RingwardenError } from './errors.js';

/** What the parts of a request are cut from. */
export interface Work {
  /** One of `Operation`. */
  readonly operation: number;
  readonly flags: number;
  /** Index of the share in the lease. */
  readonly share: number;
  /** For messages, for example `nvme0/data`. */
  readonly place: string;
  /** First block; 0 where the operation has none. */
  readonly lba: number;
  /** Blocks, ranges of a deallocation, or 1 for a flush. */
  readonly units: number;
  /** Most units in one part. */
  readonly partUnits: number;
  /** Bytes of data of one unit; 0 where no data move. */
  readonly unitBytes: number;
  /** Data of this process that travel in the message: read from, or (read) written to. */
  readonly memory: Uint8Array | undefined;
  /** Handle of a region and offset in it, where the data lie there; else 0. */
  readonly region: number;
  readonly regionOffset: number;
}

export class Request {
  readonly operation: number;
  readonly flags: number;
  readonly share: number;
  readonly place: string;
  readonly partUnits: number;
  readonly unitBytes: number;
  readonly region: number;
  /** Whether the operation names blocks. */
  readonly blocks: boolean;
  readonly inline: boolean;
  /** Undefined where no data travel in the message, and once nobody waits for them. */
  memory: Uint8Array | undefined;

  /** Of the next part. */
  lba = 0;
  offset = 0;
  /** Bytes of `memory` that belong to earlier parts. */
  taken = 0;
  /** Units that no part was made of yet. */
  left = 0;
  /** Parts in flight. */
  outstanding = 0;
  /** The first error of a part. */
  error: RingwardenError | undefined;
  /** Called once, when no part is in flight and none will be sent. */
  onEnd: ((request: Request) => void) | undefined;
  readonly #work: Work;

  constructor(work: Work) {
    this.#work = work;
    this.operation = work.operation;
    this.flags = work.flags;
    this.share = work.share;
    this.place = work.place;
    this.partUnits = work.partUnits;
    this.unitBytes = work.unitBytes;
    this.region = work.region;
    this.blocks = OPERATIONS[work.operation].blocks;
    this.inline = work.memory !== undefined;
    this.rewind();
  }

  /** Makes it ready to be sent, from its beginning. Only while nothing of it is in flight. */
  rewind(): void {
    const work = this.#work;
    this.memory = work.memory;
    this.lba = work.lba;
    this.offset = work.regionOffset;
    this.taken = 0;
    this.left = work.units;
    this.error = undefined;
  }

  get name(): OperationName | 'none' {
    return OPERATIONS[this.operation].name;
  }

  /** Sends no more parts, and forgets the program's memory: what is in flight is still waited for. */
  abandon(): void {
    this.left = 0;
    this.memory = undefined;
  }

  /** Notes the first error, after which no more parts are sent. */
  fail(error: RingwardenError): void {
    this.error ??= error;
    this.left = 0;
  }

  /** Ends the request if nothing of it is in flight or left. */
  endIfDone(): void {
    if (this.left > 0 || this.outstanding > 0) return;
    const onEnd = this.onEnd;
    this.onEnd = undefined;
    onEnd?.(this);
  }
}
