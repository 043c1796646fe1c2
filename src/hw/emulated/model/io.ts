/** Commands of the NVM command set (NVM Command Set 1.0, section 3; Base Specification 1.4, section 6). */
import {
  ALL_NAMESPACES,
  DATASET_RANGE_BYTES,
  DatasetCdw10,
  DatasetCdw11,
  DatasetRange,
  IoCdw12,
  MAX_DATASET_RANGES,
  NvmOpcode,
  Sqe,
  Status,
  fieldMax,
  getField,
  putField,
} from '../../nvme/spec/index.js';
import { NOTHING } from '../bus.js';
import type { Transfer } from '../transfer.js';
import { type Command, LATER } from './command.js';
import type { Features } from './features.js';
import { ALL_MEDIA, type Flushing } from './flushing.js';
import type { Health } from './health.js';
import { Held, type HeldCommand, type HeldCommands } from './held.js';
import type { Namespace } from './namespace.js';
import type { PrpWalker } from './prp.js';
import { ZEROING_BYTES, Zeroing } from './zeroing.js';

const SCRATCH_BYTES = 65_536;
/** Above this high word no block address is below 2^53. */
const HIGHEST_LBA_WORD = 0x20_0000;
/** Of each opcode: whether there is such a command. */
const SUPPORTED = new Uint8Array(256);
for (const opcode of [NvmOpcode.flush, NvmOpcode.write, NvmOpcode.read, NvmOpcode.compare, NvmOpcode.writeZeroes, NvmOpcode.datasetManagement])
  SUPPORTED[opcode] = 1;
const FORCED = putField(IoCdw12.fua, 1);
const BLOCKS = fieldMax(IoCdw12.nlb);

export interface IoTargets {
  readonly namespaces: readonly Namespace[];
  readonly transfer: Transfer;
  readonly walker: PrpWalker;
  readonly features: Features;
  readonly health: Health;
  readonly held: HeldCommands;
  readonly flushing: Flushing;
  /** Most bytes of one transfer; Infinity for no limit. */
  readonly mostBytes: number;
}

export class IoCommands {
  readonly #targets: IoTargets;
  readonly #scratch = new Uint8Array(SCRATCH_BYTES);
  readonly #ranges = new Uint8Array(MAX_DATASET_RANGES * DATASET_RANGE_BYTES);
  readonly #rangeView = new DataView(this.#ranges.buffer);
  /** Of the current command: where on the medium it starts, and how many bytes. */
  #position = 0;
  #bytes = 0;

  constructor(targets: IoTargets) {
    this.#targets = targets;
  }

  /** Returns a status, or {@link LATER}. */
  execute(command: Command): number {
    if (command.unsupportedBits !== 0) return command.wrong(Sqe.cdw0, Status.invalidField);
    const { opcode, namespace: id } = command;
    if (opcode === NvmOpcode.flush && id === ALL_NAMESPACES) return this.#flushed(this.#targets.flushing.flush(command, ALL_MEDIA));
    if (SUPPORTED[opcode] === 0) return command.wrong(Sqe.cdw0, Status.invalidOpcode);
    const namespace = this.#targets.namespaces[id - 1];
    if (namespace === undefined) return command.wrong(Sqe.nsid, Status.invalidNamespace);
    switch (opcode) {
      case NvmOpcode.read:
        return this.#read(command, namespace);
      case NvmOpcode.write:
        return this.#write(command, namespace);
      case NvmOpcode.flush:
        return this.#flushed(this.#targets.flushing.flush(command, id - 1));
      case NvmOpcode.writeZeroes:
        return this.#writeZeroes(command, namespace);
      case NvmOpcode.compare:
        return this.#compare(command, namespace);
      default:
        return this.#datasetManagement(command, namespace);
    }
  }

  #read(command: Command, namespace: Namespace): number {
    const status = this.#locate(command, namespace, true);
    if (status !== Status.success) return status;
    const { transfer, health } = this.#targets;
    const { bus } = transfer;
    let position = this.#position;
    for (let index = 0; index < transfer.count; index++) {
      const slot = transfer.slots[index];
      const length = transfer.lengths[index];
      const result =
        slot >= 0 ? namespace.media.read(position, bus.bytes[slot], transfer.offsets[index], length) : this.#readToOther(namespace, position, index);
      if (result !== Status.success) return this.#mediaError(result);
      position += length;
    }
    health.readCommands++;
    health.bytesRead += this.#bytes;
    return Status.success;
  }

  #write(command: Command, namespace: Namespace): number {
    const status = this.#locate(command, namespace, false);
    if (status !== Status.success) return status;
    const { transfer, health } = this.#targets;
    const { bus } = transfer;
    let position = this.#position;
    for (let index = 0; index < transfer.count; index++) {
      const slot = transfer.slots[index];
      const length = transfer.lengths[index];
      const result =
        slot >= 0
          ? namespace.media.write(position, bus.bytes[slot], transfer.offsets[index], length)
          : this.#writeFromOther(namespace, position, index);
      if (result !== Status.success) return this.#mediaError(result);
      position += length;
    }
    health.writeCommands++;
    health.bytesWritten += this.#bytes;
    return this.#finishWrite(command, namespace);
  }

  #writeZeroes(command: Command, namespace: Namespace): number {
    const status = this.#range(command, namespace);
    if (status !== Status.success) return status;
    if (this.#bytes > ZEROING_BYTES) return this.#zeroLater(command, namespace, [[this.#position, this.#bytes]]);
    const result = namespace.media.zero(this.#position, this.#bytes);
    return result === Status.success ? this.#finishWrite(command, namespace) : this.#mediaError(result);
  }

  #compare(command: Command, namespace: Namespace): number {
    const status = this.#locate(command, namespace, false);
    if (status !== Status.success) return status;
    const { transfer, health } = this.#targets;
    health.readCommands++;
    health.bytesRead += this.#bytes;
    let position = this.#position;
    for (let index = 0; index < transfer.count; index++) {
      const result = this.#comparePiece(namespace, position, index);
      if (result !== Status.success) return result === Status.compareFailure ? result : this.#mediaError(result);
      position += transfer.lengths[index];
    }
    return Status.success;
  }

  #comparePiece(namespace: Namespace, position: number, index: number): number {
    const { transfer } = this.#targets;
    const { bus } = transfer;
    const slot = transfer.slots[index];
    const half = SCRATCH_BYTES / 2;
    const stored = this.#scratch.subarray(0, half);
    const given = this.#scratch.subarray(half);
    for (let done = 0; done < transfer.lengths[index]; done += half) {
      const length = Math.min(half, transfer.lengths[index] - done);
      const result = namespace.media.read(position + done, stored, 0, length);
      if (result !== Status.success) return result;
      const offset = transfer.offsets[index] + done;
      if (slot >= 0) given.set(bus.bytes[slot].subarray(offset, offset + length));
      else bus.readOther(slot, transfer.lows[index] + done, transfer.highs[index], given, 0, length);
      if (Buffer.compare(stored.subarray(0, length), given.subarray(0, length)) !== 0) return Status.compareFailure;
    }
    return Status.success;
  }

  #datasetManagement(command: Command, namespace: Namespace): number {
    const { transfer, walker } = this.#targets;
    const ranges = getField(DatasetCdw10.nr, command.words[Sqe.cdw10]) + 1;
    const status = walker.walk(command.words, ranges * DATASET_RANGE_BYTES, false);
    if (status !== Status.success) return command.wrong(Sqe.prp1Low, status);
    transfer.take(this.#ranges);
    const zeros: [position: number, bytes: number][] = [];
    for (let index = 0; index < ranges; index++) {
      const { lba, blocks } = this.#datasetRange(index);
      if (!(lba <= namespace.blocks && blocks <= namespace.blocks - lba)) return command.wrong(Sqe.prp1Low, Status.lbaOutOfRange);
      zeros.push([lba * namespace.blockBytes, blocks * namespace.blockBytes]);
    }
    // The other attributes are hints.
    if (getField(DatasetCdw11.ad, command.words[Sqe.cdw11]) === 0) return Status.success;
    return this.#zeroLater(command, namespace, zeros);
  }

  /** Starts a command that may have much to make zero. */
  #zeroLater(command: Command, namespace: Namespace, ranges: readonly (readonly [position: number, bytes: number])[]): number {
    const zeroing = new Zeroing(namespace, ranges, command.opcode === NvmOpcode.writeZeroes && this.#isForced(command));
    const held = this.#targets.held.add(Held.zeroing, command.queue, command.id);
    held.zeroing = zeroing;
    return LATER;
  }

  /** Goes on with a command that makes zeros. Returns its status, or {@link LATER} while it is held, for this or for its durability. */
  continueZeroing(held: HeldCommand): number {
    const { zeroing } = held;
    const status = zeroing === undefined ? Status.internalError : zeroing.step();
    if (status === LATER) return LATER;
    if (status !== Status.success || zeroing === undefined) return this.#mediaError(status);
    if (!zeroing.forced) return status;
    held.kind = Held.durable;
    held.medium = zeroing.namespace.id - 1;
    held.ticket = zeroing.namespace.media.flush();
    return LATER;
  }

  #datasetRange(index: number): { lba: number; blocks: number } {
    const at = index * DATASET_RANGE_BYTES;
    const lba = this.#rangeView.getUint32(at + DatasetRange.lba.at + 4, true) * 2 ** 32 + this.#rangeView.getUint32(at + DatasetRange.lba.at, true);
    return { lba, blocks: this.#rangeView.getUint32(at + DatasetRange.blocks.at, true) };
  }

  /** Force Unit Access, and every write while the write cache is off: completes when it is durable. */
  #finishWrite(command: Command, namespace: Namespace): number {
    if (!this.#isForced(command)) return Status.success;
    return this.#flushed(this.#targets.flushing.flush(command, namespace.id - 1));
  }

  #isForced(command: Command): boolean {
    return (command.words[Sqe.cdw12] & FORCED) !== 0 || !this.#targets.features.writeCache;
  }

  /** Range, size limit and data pointer; fills in the transfer. */
  #locate(command: Command, namespace: Namespace, write: boolean): number {
    const status = this.#range(command, namespace);
    if (status !== Status.success) return status;
    if (this.#bytes > this.#targets.mostBytes) return command.wrong(Sqe.cdw12, Status.invalidField);
    const found = this.#targets.walker.walk(command.words, this.#bytes, write);
    return found === Status.success ? found : command.wrong(Sqe.prp1Low, found);
  }

  #range(command: Command, namespace: Namespace): number {
    const { words } = command;
    const high = words[Sqe.cdw11] >>> 0;
    const lba = high < HIGHEST_LBA_WORD ? high * 2 ** 32 + (words[Sqe.cdw10] >>> 0) : Infinity;
    const blocks = (words[Sqe.cdw12] & BLOCKS) + 1;
    if (!(lba <= namespace.blocks && blocks <= namespace.blocks - lba)) return command.wrong(Sqe.cdw10, Status.lbaOutOfRange);
    this.#position = lba * namespace.blockBytes;
    this.#bytes = blocks * namespace.blockBytes;
    return Status.success;
  }

  #readToOther(namespace: Namespace, position: number, index: number): number {
    const { transfer } = this.#targets;
    const slot = transfer.slots[index];
    const status = namespace.media.read(position, this.#scratch, 0, transfer.lengths[index]);
    if (status === Status.success && slot !== NOTHING) {
      transfer.bus.writeOther(slot, transfer.lows[index], transfer.highs[index], this.#scratch, 0, transfer.lengths[index]);
    }
    return status;
  }

  #writeFromOther(namespace: Namespace, position: number, index: number): number {
    const { transfer } = this.#targets;
    const length = transfer.lengths[index];
    transfer.bus.readOther(transfer.slots[index], transfer.lows[index], transfer.highs[index], this.#scratch, 0, length);
    return namespace.media.write(position, this.#scratch, 0, length);
  }

  #flushed(status: number): number {
    return status === Status.writeFault ? this.#mediaError(status) : status;
  }

  #mediaError(status: number): number {
    this.#targets.health.mediaErrors++;
    return status;
  }
}
