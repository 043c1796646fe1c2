import type { OperationName } from '../protocol/index.js';
import { Batch } from './batch.js';
import { atCaller, RingwardenError } from './errors.js';
import type { BlockRange, ByteRange, Plan } from './plan.js';
import type { Queue } from './queue.js';
import type { Region, SignalOption } from './region.js';
import type { Request } from './request.js';
import { run } from './run.js';

export interface ReadOptions extends SignalOption {
  /** Memory to read into, exactly as long as the read. Without it: new memory. */
  into?: Uint8Array | undefined;
}

export interface WriteOptions extends SignalOption {
  /** The write is durable when it is done (FUA), without a flush. */
  durable?: boolean | undefined;
}

/** Waits for a compare: false when the device found a difference. */
async function equal(ended: Promise<void>): Promise<boolean> {
  try {
    await ended;
    return true;
  } catch (error) {
    if (error instanceof RingwardenError && error.code === 'compareFailed') return false;
    throw error;
  }
}

/**
 * One share of a device: a row of blocks, counted from 0, that this lease may use.
 *
 * Methods without `Blocks` in their name count in bytes; offsets and lengths are then multiples of {@link blockBytes}. What is not, or does not
 * lie inside the share, rejects with a RefusedError before anything is sent. Transfers of any length are cut into requests that the device
 * can take, and pipelined; when one fails, no more are sent, and the promise rejects once none is in flight. Two requests in flight may be
 * done in any order: await the first one where the second depends on it.
 *
 * Memory that is written must not change until the promise settles.
 */
export class BlockDevice {
  readonly #plan: Plan;
  readonly #queue: Queue;

  constructor(plan: Plan, queue: Queue) {
    this.#plan = plan;
    this.#queue = queue;
  }

  /** Name of the share. */
  get name(): string {
    return this.#plan.info.name;
  }

  /** Index of the share in the lease. */
  get index(): number {
    return this.#plan.info.index;
  }

  /** Number of blocks. */
  get blocks(): number {
    return this.#plan.info.blocks;
  }

  /** Bytes of a block. */
  get blockBytes(): number {
    return this.#plan.info.blockBytes;
  }

  /** Size in bytes. */
  get size(): number {
    return this.#plan.size;
  }

  /** Most blocks that the device takes in one request; longer transfers are cut. */
  get maxBlocks(): number {
    return this.#plan.info.maxBlocks;
  }

  get access(): readonly ('read' | 'write')[] {
    return this.#plan.info.access;
  }

  get operations(): readonly OperationName[] {
    return this.#plan.info.operations;
  }

  /** Reads `length` bytes at `offset`. */
  async read(offset: number, length: number, { into, signal }: ReadOptions = {}): Promise<Buffer> {
    const memory = this.#plan.target(offset, length, into);
    await this.#run(this.#plan.inline('read', offset, memory), signal);
    return memory;
  }

  /** Reads `count` blocks from block `lba` on. */
  readBlocks(lba: number, count: number, options?: ReadOptions): Promise<Buffer> {
    return this.read(this.#plan.bytes(lba), this.#plan.bytes(count), options);
  }

  /** Writes `data` at `offset` bytes. */
  async write(offset: number, data: Uint8Array, { durable, signal }: WriteOptions = {}): Promise<void> {
    await this.#run(this.#plan.inline('write', offset, data, durable), signal);
  }

  /** Writes `data`, whole blocks, from block `lba` on. */
  writeBlocks(lba: number, data: Uint8Array, options?: WriteOptions): Promise<void> {
    return this.write(this.#plan.bytes(lba), data, options);
  }

  /** Makes everything that was written before durable. */
  async flush({ signal }: SignalOption = {}): Promise<void> {
    await this.#run(this.#plan.flush(), signal);
  }

  /** Writes zeroes over `length` bytes at `offset`, without sending them. */
  async writeZeroes(offset: number, length: number, { durable, signal }: WriteOptions = {}): Promise<void> {
    await this.#run(this.#plan.writeZeroes(offset, length, durable), signal);
  }

  /** Writes zeroes over `count` blocks from block `lba` on. */
  writeZeroBlocks(lba: number, count: number, options?: WriteOptions): Promise<void> {
    return this.writeZeroes(this.#plan.bytes(lba), this.#plan.bytes(count), options);
  }

  /** Whether the bytes at `offset` equal `data`. The device compares. */
  async compare(offset: number, data: Uint8Array, { signal }: SignalOption = {}): Promise<boolean> {
    return equal(this.#run(this.#plan.inline('compare', offset, data), signal));
  }

  /** Whether the blocks from block `lba` on equal `data`. */
  compareBlocks(lba: number, data: Uint8Array, options?: SignalOption): Promise<boolean> {
    return this.compare(this.#plan.bytes(lba), data, options);
  }

  /** Tells the device that these bytes are no longer needed. What they read as afterwards is up to the device. */
  async deallocate(ranges: ByteRange | readonly ByteRange[], { signal }: SignalOption = {}): Promise<void> {
    await this.#run(this.#plan.deallocate('offset' in ranges ? [ranges] : ranges), signal);
  }

  /** Tells the device that these blocks are no longer needed. */
  deallocateBlocks(ranges: BlockRange | readonly BlockRange[], options?: SignalOption): Promise<void> {
    const list = 'lba' in ranges ? [ranges] : ranges;
    return this.deallocate(
      list.map((range) => this.#plan.bytesOf(range)),
      options,
    );
  }

  /** Reads `length` bytes at `offset` of the share to `regionOffset` of the region, a multiple of 4. No data cross the socket. */
  async readInto(region: Region, regionOffset: number, offset: number, length: number, { signal }: SignalOption = {}): Promise<void> {
    await this.#run(this.#plan.inRegion('read', region, regionOffset, offset, length), signal);
  }

  /** Writes `length` bytes at `regionOffset` of the region (a multiple of 4) to `offset` of the share. */
  async writeFrom(region: Region, regionOffset: number, offset: number, length: number, { durable, signal }: WriteOptions = {}): Promise<void> {
    await this.#run(this.#plan.inRegion('write', region, regionOffset, offset, length, durable), signal);
  }

  /** Whether `length` bytes at `offset` of the share equal those at `regionOffset` of the region, a multiple of 4. */
  async compareWith(region: Region, regionOffset: number, offset: number, length: number, { signal }: SignalOption = {}): Promise<boolean> {
    return equal(this.#run(this.#plan.inRegion('compare', region, regionOffset, offset, length), signal));
  }

  /** Requests that are sent together and awaited once. */
  batch(): Batch {
    return new Batch(this.#plan, this.#queue);
  }

  async #run(request: Request, signal: AbortSignal | undefined): Promise<void> {
    try {
      await run(this.#queue, request, signal);
    } catch (error) {
      throw atCaller(error);
    }
  }
}
