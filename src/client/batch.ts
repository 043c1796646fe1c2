import { atCaller, invalidArgument, RingwardenError } from './errors.js';
import type { ReadOptions, WriteOptions } from './block-device.js';
import type { BlockRange, ByteRange, Plan } from './plan.js';
import type { Queue } from './queue.js';
import type { Region, SignalOption } from './region.js';
import type { Request } from './request.js';
import { runAll } from './run.js';

type Durable = Omit<WriteOptions, 'signal'>;
type Into = Omit<ReadOptions, 'signal'>;

/** One request of a batch. It has its result once the batch was awaited. */
export class BatchEntry<Value> {
  readonly #request: Request;
  readonly #result: Value;
  #done = false;

  constructor(request: Request, result: Value) {
    this.#request = request;
    this.#result = result;
  }

  /** For the batch alone. */
  finish(): void {
    this.#done = true;
  }

  /** For the batch alone: it is sent again. */
  rewind(): void {
    this.#done = false;
    this.#request.rewind();
  }

  /** Why the request failed; undefined when it did not, or when the batch did not end. A difference that a compare found is no error. */
  get error(): RingwardenError | undefined {
    const { error } = this.#request;
    return this.#done && !this.#differs ? error : undefined;
  }

  /** What a read read, or what a compare found. Throws the request's error, and before the batch ended. */
  get value(): Value {
    if (!this.#done) throw invalidArgument(`${this.#request.name} in a batch`, 'value', 'none yet', 'a batch that was submitted and awaited');
    if (this.#differs) return false as Value;
    if (this.#request.error !== undefined) throw this.#request.error;
    return this.#result;
  }

  get #differs(): boolean {
    const { error } = this.#request;
    return this.#result === true && error instanceof RingwardenError && error.code === 'compareFailed';
  }
}

/**
 * Requests that go out together, in one message where it can hold them, and are awaited once. They may be done in any order: put requests
 * that depend on each other in batches one after the other. Arguments are as in the methods of the same name of `BlockDevice`; what could
 * not succeed throws when it is added.
 */
export class Batch {
  readonly #plan: Plan;
  readonly #queue: Queue;
  readonly #requests: Request[] = [];
  readonly #entries: BatchEntry<unknown>[] = [];
  #state: 'fresh' | 'sent' | 'ended' = 'fresh';

  constructor(plan: Plan, queue: Queue) {
    this.#plan = plan;
    this.#queue = queue;
  }

  /** Number of requests. */
  get length(): number {
    return this.#requests.length;
  }

  read(offset: number, length: number, { into }: Into = {}): BatchEntry<Buffer> {
    const memory = this.#plan.target(offset, length, into);
    return this.#add(this.#plan.inline('read', offset, memory), memory);
  }

  readBlocks(lba: number, count: number, options?: Into): BatchEntry<Buffer> {
    return this.read(this.#plan.bytes(lba), this.#plan.bytes(count), options);
  }

  write(offset: number, data: Uint8Array, { durable }: Durable = {}): BatchEntry<void> {
    return this.#add(this.#plan.inline('write', offset, data, durable), undefined);
  }

  writeBlocks(lba: number, data: Uint8Array, options?: Durable): BatchEntry<void> {
    return this.write(this.#plan.bytes(lba), data, options);
  }

  flush(): BatchEntry<void> {
    return this.#add(this.#plan.flush(), undefined);
  }

  writeZeroes(offset: number, length: number, { durable }: Durable = {}): BatchEntry<void> {
    return this.#add(this.#plan.writeZeroes(offset, length, durable), undefined);
  }

  writeZeroBlocks(lba: number, count: number, options?: Durable): BatchEntry<void> {
    return this.writeZeroes(this.#plan.bytes(lba), this.#plan.bytes(count), options);
  }

  compare(offset: number, data: Uint8Array): BatchEntry<boolean> {
    return this.#add(this.#plan.inline('compare', offset, data), true);
  }

  compareBlocks(lba: number, data: Uint8Array): BatchEntry<boolean> {
    return this.compare(this.#plan.bytes(lba), data);
  }

  deallocate(ranges: ByteRange | readonly ByteRange[]): BatchEntry<void> {
    return this.#add(this.#plan.deallocate('offset' in ranges ? [ranges] : ranges), undefined);
  }

  deallocateBlocks(ranges: BlockRange | readonly BlockRange[]): BatchEntry<void> {
    const list = 'lba' in ranges ? [ranges] : ranges;
    return this.deallocate(list.map((range) => this.#plan.bytesOf(range)));
  }

  readInto(region: Region, regionOffset: number, offset: number, length: number): BatchEntry<void> {
    return this.#add(this.#plan.inRegion('read', region, regionOffset, offset, length), undefined);
  }

  writeFrom(region: Region, regionOffset: number, offset: number, length: number, { durable }: Durable = {}): BatchEntry<void> {
    return this.#add(this.#plan.inRegion('write', region, regionOffset, offset, length, durable), undefined);
  }

  compareWith(region: Region, regionOffset: number, offset: number, length: number): BatchEntry<boolean> {
    return this.#add(this.#plan.inRegion('compare', region, regionOffset, offset, length), true);
  }

  #add<Value>(request: Request, result: Value): BatchEntry<Value> {
    if (this.#state !== 'fresh') throw invalidArgument('batch', 'request', request.name, 'a batch that was not submitted yet');
    const entry = new BatchEntry(request, result);
    this.#requests.push(request);
    this.#entries.push(entry);
    return entry;
  }

  /**
   * Sends the batch, and resolves when all of it ended, well or not: look at each entry. Rejects only with the reason of the signal. A batch that ended can be
   * sent again: the same requests, with what their memory holds then. After an aborted signal it is of no use any more.
   */
  async settle({ signal }: SignalOption = {}): Promise<void> {
    if (this.#state === 'sent') throw invalidArgument('batch', 'submit', 'again', 'a batch that is not under way');
    if (this.#state === 'ended') for (const entry of this.#entries) entry.rewind();
    this.#state = 'sent';
    await runAll(this.#queue, this.#requests, signal);
    for (const entry of this.#entries) entry.finish();
    this.#state = 'ended';
  }

  /** {@link settle} that rejects with the error of the first entry that failed, once all of them ended. */
  async submit(options?: SignalOption): Promise<void> {
    await this.settle(options);
    for (const { error } of this.#entries) {
      if (error !== undefined) throw atCaller(error);
    }
  }
}
