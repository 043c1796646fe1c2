/** Memory of the server that this tenant's requests can name: data that stay there are not copied through the socket. */
import { shm } from '../native/shm.js';
import { MAX_REGION_BYTES, type RegionInfo } from '../protocol/index.js';
import { readData, readNothing, readRegion } from './answers.js';
import { ConnectionError, invalidArgument, RefusedError, refusal } from './errors.js';
import { handoverFailed, mapRegion } from './handover.js';
import type { Session } from './session.js';
import { addonMissing } from './shared-transport.js';

export interface SignalOption {
  /** Gives up waiting: the promise rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** Bytes of one `writeMemory` or `readMemory` message that the SDK aims at. */
const CHUNK_BYTES = 1_048_576;

/** Bytes of such a message beside its data, generously. */
const CHUNK_OVERHEAD = 1_024;

/** Messages of one transfer that are on their way at a time. */
const CHUNKS_AHEAD = 4;

export class Region {
  /** Handle of the region in the tenant's domain. */
  readonly region: number;
  /** Size in bytes: what was asked for, in whole pages. */
  readonly bytes: number;
  readonly #session: Session;
  #mapping: Promise<ArrayBuffer> | undefined;
  #unmapping: Promise<void> | undefined;

  constructor(session: Session, info: RegionInfo) {
    this.#session = session;
    this.region = info.region;
    this.bytes = info.bytes;
  }

  /** Maps `bytes` of zeroed memory. */
  static async allocate(session: Session, bytes: number, { signal }: SignalOption): Promise<Region> {
    if (!Number.isSafeInteger(bytes) || bytes <= 0 || bytes > MAX_REGION_BYTES) {
      throw invalidArgument('allocate', 'bytes', bytes, `a whole number from 1 to ${MAX_REGION_BYTES}`);
    }
    await session.domain(signal);
    const undo = (region: Region): void => void region.unmap().catch(() => undefined);
    return session.calls.call('mapMemory', { bytes }, (answer) => new Region(session, readRegion(answer)), { signal, undo });
  }

  /** Throws a RefusedError unless `length` bytes at `offset` lie inside the region and the region is still mapped. */
  check(context: string, offset: number, length: number): void {
    if (this.#unmapping !== undefined) throw new RefusedError('closed', `${context}: the region was unmapped by this program`, { field: 'region' });
    const whole = Number.isSafeInteger(offset) && offset >= 0;
    if (!whole || !(length <= this.bytes && offset <= this.bytes - length)) throw refusal(context, 'rangeOutsideRegion', offset);
  }

  /**
   * The region's memory itself, in this process: no copy, and no message. For the Unix socket with the native addon; rejects with `noHandover` elsewhere. No
   * request can use the region until the promise resolves, and it must not be in use (`regionBusy`). Afterwards the region is for the devices that are open
   * now, until they are closed: for one that is opened later, allocate another region. The array has length 0 once the region was unmapped. A second call
   * gives the same memory.
   */
  async map(): Promise<Uint8Array<ArrayBuffer>> {
    const context = `map region ${this.region}`;
    this.check(context, 0, 0);
    const missing = this.#session.noSharedMemory ?? addonMissing();
    if (missing !== undefined) throw handoverFailed(context, missing);
    if (this.#mapping === undefined) {
      const mapping = mapRegion(this.#session, context, this);
      this.#mapping = mapping;
      mapping.catch(() => {
        this.#mapping = undefined;
      });
    }
    return new Uint8Array(await this.#mapping);
  }

  /** Copies `data` into the region at `offset`, both in bytes. Any alignment. */
  async write(offset: number, data: Uint8Array, { signal }: SignalOption = {}): Promise<void> {
    if (!(data instanceof Uint8Array)) throw invalidArgument('write to region', 'data', typeof data, 'a Uint8Array');
    this.check('write to region', offset, data.length);
    await this.#inChunks(data.length, (start, length) =>
      this.#session.calls.call(
        'writeMemory',
        { region: this.region, offset: offset + start, data: data.subarray(start, start + length) },
        readNothing,
        { signal },
      ),
    );
  }

  /** Copies `length` bytes at `offset` out of the region. Any alignment. */
  async read(offset: number, length: number, { signal }: SignalOption = {}): Promise<Buffer> {
    if (!Number.isSafeInteger(length) || length < 0) throw invalidArgument('read from region', 'length', length, 'a whole number, not negative');
    this.check('read from region', offset, length);
    const result = Buffer.allocUnsafeSlow(length);
    await this.#inChunks(length, (start, part) =>
      this.#session.calls.call(
        'readMemory',
        { region: this.region, offset: offset + start, length: part },
        (answer) => {
          result.set(readData(answer, part), start);
        },
        { signal },
      ),
    );
    return result;
  }

  async #inChunks(length: number, copy: (start: number, length: number) => Promise<void>): Promise<void> {
    const chunk = Math.min(CHUNK_BYTES, Math.max(1, this.#session.info.limits.messageBytes - CHUNK_OVERHEAD));
    const ahead = chunk * CHUNKS_AHEAD;
    for (let group = 0; group < length; group += ahead) {
      const end = Math.min(length, group + ahead);
      const copies: Promise<void>[] = [];
      for (let start = group; start < end; start += chunk) copies.push(copy(start, Math.min(chunk, end - start)));
      await Promise.all(copies);
    }
  }

  /**
   * Gives the memory back. Rejects with `regionBusy` while requests that use it are in flight; it is still mapped then. A second call does nothing.
   */
  unmap({ signal }: SignalOption = {}): Promise<void> {
    if (this.#unmapping !== undefined) return this.#unmapping;
    const unmapping = this.#unmap(signal);
    this.#unmapping = unmapping;
    unmapping.catch((error: unknown) => {
      if (!(error instanceof ConnectionError)) this.#unmapping = undefined;
    });
    return unmapping;
  }

  async #unmap(signal: AbortSignal | undefined): Promise<void> {
    const mapped = await this.#mapping?.catch(() => undefined);
    await this.#session.calls.call('unmapMemory', { region: this.region }, readNothing, { signal });
    if (mapped !== undefined) shm().unmap(mapped);
  }

  /** {@link unmap} that is content when the connection is gone, and the memory with it. */
  async close(): Promise<void> {
    try {
      await this.unmap();
    } catch (error) {
      if (!(error instanceof ConnectionError)) throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
