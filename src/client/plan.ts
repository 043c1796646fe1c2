/**
 * Makes requests of what the program asks of a share. What could not succeed is refused here, before any part of it is sent: a transfer of
 * many parts must not be done by half because its end lies outside the share.
 */
import {
  Direction,
  EntryFlag,
  MAX_ATTACHMENT_BYTES,
  Operation,
  OPERATIONS,
  type OperationName,
  PAGE_BYTES,
  RANGE_BYTES,
  type SessionLimits,
  type ShareInfo,
} from '../protocol/index.js';
import { invalidArgument, misaligned, refusal } from './errors.js';
import type { Region } from './region.js';
import { Request } from './request.js';
import { MESSAGE_BYTES } from './socket-carrier.js';

/** Bytes at `offset` of a share. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** Blocks from `lba` of a share. */
export interface BlockRange {
  readonly lba: number;
  readonly blocks: number;
}

/** Bytes of an inline part that the SDK aims at: a long transfer is pipelined in parts of this size. */
const PART_BYTES = 256 * 1_024;

/** Parts that the staging memory should hold at a time, so that there is a pipeline at all. */
const PARTS_IN_STAGING = 4;

/** Bytes of a message that are not data, in either direction: heads, and the entries of a full batch. */
const MESSAGE_OVERHEAD = 66_000;

/** Bytes of one part in a region; its length is 32 bits wide. */
const MAX_PART_BYTES = 2 ** 31;

const MAX_RANGE_BLOCKS = 0xffff_ffff;
const TWO_32 = 0x1_0000_0000;

const isOffset = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;

export class Plan {
  readonly info: ShareInfo;
  /** For messages: device and share. */
  readonly place: string;
  /** Bytes of the share. */
  readonly size: number;
  /** Most blocks in one part: with its data in the message, and without. */
  readonly #inlineBlocks: number;
  readonly #blocks: number;
  readonly #canAttach: boolean;

  constructor(info: ShareInfo, device: string, limits: Readonly<SessionLimits>) {
    const { blockBytes, maxBlocks } = info;
    this.info = info;
    this.place = `${device}/${info.name}`;
    this.size = info.blocks * blockBytes;
    this.#blocks = Math.min(maxBlocks, Math.floor(MAX_PART_BYTES / blockBytes));
    const staging = Math.floor(limits.stagingBytes / PAGE_BYTES) * PAGE_BYTES;
    const room = Math.min(staging, limits.messageBytes - MESSAGE_OVERHEAD, MESSAGE_BYTES - MESSAGE_OVERHEAD);
    const aim = Math.min(PART_BYTES, room, staging / PARTS_IN_STAGING);
    this.#inlineBlocks = Math.min(maxBlocks, Math.floor(Math.max(aim, Math.min(room, blockBytes)) / blockBytes));
    this.#canAttach = room >= MAX_ATTACHMENT_BYTES;
  }

  /** Memory for a read: `into`, which is as long as the read, or new. */
  target(offset: number, length: number, into: Uint8Array | undefined): Buffer {
    this.#check('read', offset, length);
    if (into === undefined) return Buffer.allocUnsafe(length);
    if (!(into instanceof Uint8Array) || into.length !== length) {
      throw invalidArgument(this.#context('read'), 'into', into.length, `a Uint8Array of ${length} bytes`);
    }
    return Buffer.from(into.buffer, into.byteOffset, into.length);
  }

  /** Read, write or compare with the program's memory. `memory` is as long as the transfer. */
  inline(name: 'read' | 'write' | 'compare', offset: number, memory: Uint8Array, durable = false): Request {
    if (!(memory instanceof Uint8Array)) throw invalidArgument(this.#context(name), 'data', typeof memory, 'a Uint8Array');
    return this.#transfer(name, offset, memory.length, this.#inlineBlocks, durable, memory, 0, 0);
  }

  /** Read, write or compare with a region. */
  inRegion(name: 'read' | 'write' | 'compare', region: Region, regionOffset: number, offset: number, length: number, durable = false): Request {
    const context = this.#context(name);
    region.check(context, regionOffset, length);
    if (regionOffset % 4 !== 0) throw refusal(context, 'offsetMisaligned', regionOffset);
    return this.#transfer(name, offset, length, this.#blocks, durable, undefined, region.region, regionOffset);
  }

  writeZeroes(offset: number, length: number, durable = false): Request {
    return this.#transfer('writeZeroes', offset, length, this.info.maxBlocks, durable, undefined, 0, 0);
  }

  #transfer(
    name: OperationName,
    offset: number,
    length: number,
    partUnits: number,
    durable: boolean,
    memory: Uint8Array | undefined,
    region: number,
    regionOffset: number,
  ): Request {
    const { blockBytes } = this.info;
    this.#check(name, offset, length);
    if (partUnits < 1) throw refusal(this.#context(name), this.info.maxBlocks < 1 ? 'blocksTooMany' : 'stagingFull', blockBytes);
    const operation = Operation[name];
    return new Request({
      operation,
      flags: durable ? EntryFlag.forceUnitAccess : 0,
      share: this.info.index,
      place: this.place,
      lba: offset / blockBytes,
      units: length / blockBytes,
      partUnits,
      unitBytes: OPERATIONS[operation].data === Direction.none ? 0 : blockBytes,
      memory,
      region,
      regionOffset,
    });
  }

  /** Whole blocks, at least one, inside the share. */
  #check(name: OperationName, offset: number, length: number): void {
    const { blockBytes } = this.info;
    if (blockBytes === 0) throw refusal(this.#context(name), 'deviceUnavailable', 'its namespace is gone');
    if (!isOffset(offset)) throw invalidArgument(this.#context(name), 'offset', offset, 'a whole number of bytes, not negative');
    if (!isOffset(length)) throw invalidArgument(this.#context(name), 'length', length, 'a whole number of bytes, not negative');
    if (offset % blockBytes !== 0) throw misaligned(this.#context(name), 'offset', offset, blockBytes);
    if (length % blockBytes !== 0) throw misaligned(this.#context(name), 'length', length, blockBytes);
    if (length === 0) throw refusal(this.#context(name), 'blocksZero', 0);
    const inside = length <= this.size && offset <= this.size - length;
    if (!inside) throw refusal(this.#context(name), 'lbaOutsideShare', offset / blockBytes);
  }

  #context(name: OperationName): string {
    return `${name} in ${this.place}`;
  }

  flush(): Request {
    return new Request({
      operation: Operation.flush,
      flags: 0,
      share: this.info.index,
      place: this.place,
      lba: 0,
      units: 1,
      partUnits: 1,
      unitBytes: 0,
      memory: undefined,
      region: 0,
      regionOffset: 0,
    });
  }

  /** The ranges travel as an attachment of 16 bytes each: lba (u64), blocks (u32), zero (u32). */
  deallocate(ranges: readonly ByteRange[]): Request {
    const { blockBytes } = this.info;
    const context = this.#context('deallocate');
    if (ranges.length === 0) throw refusal(context, 'blocksZero', 0);
    if (!this.#canAttach) throw refusal(context, 'stagingFull', MAX_ATTACHMENT_BYTES);
    const words: number[] = [];
    for (const { offset, length } of ranges) {
      this.#check('deallocate', offset, length);
      const end = (offset + length) / blockBytes;
      for (let lba = offset / blockBytes; lba < end; lba += MAX_RANGE_BLOCKS) {
        words.push(lba % TWO_32, Math.floor(lba / TWO_32), Math.min(MAX_RANGE_BLOCKS, end - lba), 0);
      }
    }
    return new Request({
      operation: Operation.deallocate,
      flags: 0,
      share: this.info.index,
      place: this.place,
      lba: 0,
      units: (words.length * 4) / RANGE_BYTES,
      partUnits: MAX_ATTACHMENT_BYTES / RANGE_BYTES,
      unitBytes: RANGE_BYTES,
      memory: new Uint8Array(Uint32Array.from(words).buffer),
      region: 0,
      regionOffset: 0,
    });
  }

  /** The bytes of a range of blocks. Numbers that could not be blocks stay as they are, and are refused as bytes. */
  bytesOf(range: BlockRange): ByteRange {
    return { offset: this.bytes(range.lba), length: this.bytes(range.blocks) };
  }

  bytes(blocks: number): number {
    return blocks * this.info.blockBytes;
  }
}
