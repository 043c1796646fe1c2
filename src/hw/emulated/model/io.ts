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
  getField,
} from '../../nvme/spec/index.js';
import { NOTHING } from '../bus.js';
import type { Transfer } from '../transfer.js';
import { type Command, LATER } from './command.js';
import type { Features } from './features.js';
import type { Health } from './health.js';
import { Held, type HeldCommands } from './held.js';
import { DURABLE, FlushState } from './media.js';
import type { Namespace } from './namespace.js';
import type { PrpWalker } from './prp.js';

const SCRATCH_BYTES = 65_536;
/** Above this high word no block address is below 2^53. */
const HIGHEST_LBA_WORD = 0x20_0000;
/** Stands for all namespaces in {@link HeldCommand.medium}. */
export const ALL_MEDIA = -1;

export interface IoTargets {
  readonly namespaces: readonly Namespace[];
  readonly transfer: Transfer;
  readonly walker: PrpWalker;
  readonly features: Features;
  readonly health: Health;
  readonly held: HeldCommands;
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
    if (opcode === NvmOpcode.flush && id === ALL_NAMESPACES) return this.#await(command, ALL_MEDIA, this.flushAll());
    if (!isSupported(opcode)) return command.wrong(Sqe.cdw0, Status.invalidOpcode);
    const namespace = this.#targets.namespaces[id - 1];
    if (namespace === undefined) return command.wrong(Sqe.nsid, Status.invalidNamespace);
    switch (opcode) {
      case NvmOpcode.read:
        return this.#read(command, namespace);
      case NvmOpcode.write:
        return this.#write(command, namespace);
      case NvmOpcode.flush:
        return this.#await(command, id - 1, namespace.media.flush());
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
    for (let index = 0; index < ranges; index++) {
      const { lba, blocks } = this.#datasetRange(index);
      if (!(lba <= namespace.blocks && blocks <= namespace.blocks - lba)) return command.wrong(Sqe.prp1Low, Status.lbaOutOfRange);
    }
    // The other attributes are hints.
    if (getField(DatasetCdw11.ad, command.words[Sqe.cdw11]) === 0) return Status.success;
    for (let index = 0; index < ranges; index++) {
      const { lba, blocks } = this.#datasetRange(index);
      const result = namespace.media.zero(lba * namespace.blockBytes, blocks * namespace.blockBytes);
      if (result !== Status.success) return this.#mediaError(result);
    }
    return Status.success;
  }

  #datasetRange(index: number): { lba: number; blocks: number } {
    const at = index * DATASET_RANGE_BYTES;
    const lba = this.#rangeView.getUint32(at + DatasetRange.lba.at + 4, true) * 2 ** 32 + this.#rangeView.getUint32(at + DatasetRange.lba.at, true);
    return { lba, blocks: this.#rangeView.getUint32(at + DatasetRange.blocks.at, true) };
  }

  /** Starts making everything durable. Returns a ticket for `flushState` with {@link ALL_MEDIA}. */
  flushAll(): number {
    let ticket = DURABLE;
    for (const { media } of this.#targets.namespaces) {
      const own = media.flush();
      // Tickets are counted up by whoever makes files durable, so the later one covers the earlier.
      if (own !== DURABLE && (ticket === DURABLE || ((own - ticket) | 0) > 0)) ticket = own;
    }
    return ticket;
  }

  /** Force Unit Access, and every write while the write cache is off: completes when it is durable. */
  #finishWrite(command: Command, namespace: Namespace): number {
    const forced = getField(IoCdw12.fua, command.words[Sqe.cdw12]) !== 0;
    if (!forced && this.#targets.features.writeCache) return Status.success;
    return this.#await(command, namespace.id - 1, namespace.media.flush());
  }

  #await(command: Command, medium: number, ticket: number): number {
    const state = this.flushState(medium, ticket);
    if (state === FlushState.failed) return this.#mediaError(Status.writeFault);
    if (state === FlushState.done) return Status.success;
    const held = this.#targets.held.add(Held.durable, command.queue, command.id);
    held.medium = medium;
    held.ticket = ticket;
    return LATER;
  }

  /** One of {@link FlushState}, for one medium or for all of them. */
  flushState(medium: number, ticket: number): number {
    if (ticket === DURABLE) return FlushState.done;
    const { namespaces } = this.#targets;
    if (medium !== ALL_MEDIA) return namespaces[medium].media.flushed(ticket);
    let all: number = FlushState.done;
    for (const { media } of namespaces) {
      const state = media.flushed(ticket);
      if (state === FlushState.waiting) return state;
      if (state === FlushState.failed) all = state;
    }
    return all;
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
    const blocks = getField(IoCdw12.nlb, words[Sqe.cdw12]) + 1;
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

  #mediaError(status: number): number {
    this.#targets.health.mediaErrors++;
    return status;
  }
}

function isSupported(opcode: number): boolean {
  switch (opcode) {
    case NvmOpcode.flush:
    case NvmOpcode.write:
    case NvmOpcode.read:
    case NvmOpcode.compare:
    case NvmOpcode.writeZeroes:
    case NvmOpcode.datasetManagement:
      return true;
    default:
      return false;
  }
}
