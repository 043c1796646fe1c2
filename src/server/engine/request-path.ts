/**
 * The one way in: copy once, judge, issue; and back: a checked completion becomes an answer.
 *
 * Runs on the engine thread for every request and allocates nothing.
 */
import { Code, Direction, ENTRY_HALVES, EntryFlag, EntryWord, Field, OPERATIONS, Operation } from '../../protocol/index.js';
import { admit, attachmentToFetch, refusedField, refusedValue } from '../../validator/index.js';
import { NvmOpcode, Status, submitDeallocate, submitFlush, submitTransfer, submitWriteZeroes } from '../../hw/nvme/index.js';
import type { CompletionSink, QueuePair } from '../../hw/nvme/index.js';
import type { ClientQueue } from './client-queue.js';
import { RequestTable } from './request-table.js';

const TWO_TO_32 = 0x1_0000_0000;
const RANGE_WORDS = 4;

/** Of each operation: whether the device moves data, and whether it writes the region. */
const MOVES = Uint8Array.from(OPERATIONS, ({ data }) => (data === Direction.none ? 0 : 1));
const READS = Uint8Array.from(OPERATIONS, ({ data }) => (data === Direction.deviceWrites ? 1 : 0));
const OPCODES = new Uint8Array(8);
OPCODES[Operation.read] = NvmOpcode.read;
OPCODES[Operation.write] = NvmOpcode.write;
OPCODES[Operation.compare] = NvmOpcode.compare;

/** Of each operation code, assigned or not: whether it has an attachment. */
const ATTACHES = Uint8Array.from({ length: 256 }, (_, operation) => Number(OPERATIONS.at(operation)?.attachment ?? false));

/** What a request costs its tenant beside its bytes: about what a 4 KiB read costs. */
export const REQUEST_COST = 4_096;
/** A flush makes the device write out what everybody wrote, so it weighs more. */
const FLUSH_COST = 16 * REQUEST_COST;

export class RequestPath implements CompletionSink {
  /** The turn's time, milliseconds of the engine's clock. */
  now = 0;
  /** Milliseconds since the epoch at clock 0. */
  readonly epoch: number;
  /** Queues with completions to tell of. */
  readonly dirty: ClientQueue[] = [];
  readonly tables = new Map<QueuePair, RequestTable>();
  /** The table that was looked up last: a batch is all of one pair. */
  #pair: QueuePair | undefined;
  #table: RequestTable | undefined;
  /** For the entry of a queue that has no pair: it can only be refused. */
  readonly #nowhere = new RequestTable(1);
  readonly #attachment = { words: new Uint32Array(1024), bytes: 0 };
  readonly #attachmentBytes = new Uint8Array(this.#attachment.words.buffer);
  readonly #value = new Uint32Array(2);

  constructor(epoch: number) {
    this.epoch = epoch;
  }

  /**
   * Takes the next request of the queue to its end or to the device. Only when it has one, and its pair has room. Returns its cost.
   *
   * The entry is copied to the slot of the request table that its command will have: once, and it stays there until it is answered.
   */
  takeOne(queue: ClientQueue): number {
    const { pair, owner: lease } = queue;
    // Every pair that a queue has is in the table of tables.
    const table = pair === undefined ? this.#nowhere : (this.#tableOf(pair) as RequestTable);
    const slot = pair === undefined ? 0 : pair.next;
    const entry = table.entries[slot];
    const cookie = queue.take(table.halves, slot * ENTRY_HALVES);
    this.#attachment.bytes = 0;
    if (ATTACHES[entry[EntryWord.head] & 0xff] === 1) this.#fetchAttachment(queue, entry);
    const code = admit(entry, this.#attachment, lease.grant, queue);
    if (code !== Code.ok) {
      this.#refuse(queue, entry, cookie, code);
      return REQUEST_COST;
    }
    const bytes = this.#issue(queue, entry, pair as QueuePair, table, cookie);
    lease.tenant.operations.take(1);
    lease.tenant.bytes.take(bytes);
    return (entry[EntryWord.head] & 0xff) === Operation.flush ? FLUSH_COST : REQUEST_COST + bytes;
  }

  completed(pair: QueuePair, slot: number, status: number): void {
    const table = this.#tableOf(pair);
    if (table === undefined) return;
    const timedOut = table.timedOut[slot] === 1;
    let follower = table.follower[slot];
    table.follower[slot] = -1;
    this.#settle(table, pair, slot, status, timedOut);
    while (follower >= 0) {
      const next = table.follower[follower];
      table.follower[follower] = -1;
      this.#settle(table, pair, follower, status, timedOut);
      pair.unclaim(follower);
      follower = next;
    }
  }

  /** Tells the device about what was issued to the pair: one doorbell for a batch. */
  ring(pair: QueuePair): void {
    const table = this.tables.get(pair);
    if (table !== undefined) table.unrungFlush = -1;
    pair.ring();
  }

  #settle(table: RequestTable, pair: QueuePair, slot: number, status: number, timedOut: boolean): void {
    const asker = table.asker[slot];
    if (asker === undefined) return;
    // Before anyone hears of it, and never for a request that was given up.
    if (asker.owner.domain.copies !== undefined && status === Status.success && table.abandoned[slot] === 0) copyOut(table, slot, asker);
    this.#letGoOfMemory(table, slot, asker);
    if (table.abandoned[slot] === 1) {
      asker.owner.abandoned--;
      table.abandoned[slot] = 0;
    } else {
      const code = status === Status.success ? Code.ok : codeOf(status, timedOut ? Code.timeout : table.endCode, asker.active);
      this.#answer(table, slot, asker, pair.submittedAt[slot], code, code === Code.deviceError ? status : 0);
    }
    table.asker[slot] = undefined;
    table.timedOut[slot] = 0;
  }

  /** Answers what is in `slot` and takes it off its lease's account. What the device still does with it is no more the client's business. */
  #answer(table: RequestTable, slot: number, queue: ClientQueue, submittedAt: number, code: number, status: number): void {
    const { owner: lease } = queue;
    const { tenant } = lease;
    const entry = table.entries[slot];
    const operation = entry[EntryWord.head] & 0xff;
    queue.tags.delete(entry[EntryWord.tagLow], entry[EntryWord.tagHigh]);
    queue.count--;
    lease.inFlight--;
    tenant.inFlight--;
    if (!queue.dirty) this.dirty.push(queue);
    const bytes = code === Code.ok && MOVES[operation] === 1 ? entry[EntryWord.length] : 0;
    queue.complete(entry, table.cookie[slot], code, code === Code.deviceError ? Field.status : Field.none, status, 0, 0, bytes);
    const { statistics } = tenant;
    const milliseconds = this.now - submittedAt;
    statistics.countCompleted(operation, code, READS[operation] === 1 ? bytes : 0, operation === Operation.write ? bytes : 0, milliseconds);
    statistics.inFlight = tenant.inFlight;
    statistics.trace(this.epoch + this.now, milliseconds, lease.handle, queue.queue, entry, code);
  }

  /**
   * Gives up the request in `slot` after the fact, with those that wait for the same command: answered with `code` now, its memory held until the device is
   * done with it.
   */
  abandon(pair: QueuePair, slot: number, code: number): void {
    const table = this.tables.get(pair);
    if (table === undefined) return;
    for (let next = slot; next >= 0; next = table.follower[next]) this.#abandonOne(table, pair, next, code);
  }

  #abandonOne(table: RequestTable, pair: QueuePair, slot: number, code: number): void {
    const queue = table.waiting(slot);
    if (queue === undefined) return;
    this.#answer(table, slot, queue, pair.submittedAt[slot], code, 0);
    queue.owner.abandoned++;
    table.abandoned[slot] = 1;
  }

  /** The device can do nothing any more for any command of the pair: whoever still waits is answered with `code`, and all memory is let go. */
  forget(pair: QueuePair, code: number): void {
    const table = this.tables.get(pair);
    if (table === undefined) return;
    for (let slot = 0; slot < pair.capacity; slot++) {
      const asker = table.asker[slot];
      if (asker === undefined) continue;
      this.abandon(pair, slot, code);
      asker.owner.abandoned--;
      this.#letGoOfMemory(table, slot, asker);
      table.asker[slot] = undefined;
      table.abandoned[slot] = 0;
    }
    this.tables.delete(pair);
    this.#pair = undefined;
  }

  #tableOf(pair: QueuePair): RequestTable | undefined {
    if (pair === this.#pair) return this.#table;
    const table = this.tables.get(pair);
    this.#pair = table && pair;
    this.#table = table;
    return table;
  }

  /** When the oldest command in flight was submitted whose asker fits (engine's clock, ms); Infinity when there is none. */
  oldest(fits: (asker: ClientQueue) => boolean): number {
    let oldest = Infinity;
    for (const [pair, table] of this.tables) {
      for (let slot = 0; slot < pair.capacity; slot++) {
        const asker = table.asker[slot];
        if (asker !== undefined && fits(asker)) oldest = Math.min(oldest, pair.submittedAt[slot]);
      }
    }
    return oldest;
  }

  #fetchAttachment(queue: ClientQueue, entry: Uint32Array): void {
    const bytes = attachmentToFetch(entry, queue.regions);
    if (bytes === 0) return;
    const buffer = queue.regions.clientBuffer(entry[EntryWord.region]);
    if (buffer === undefined) return;
    this.#attachmentBytes.set(new Uint8Array(buffer, entry[EntryWord.offsetLow], bytes));
    this.#attachment.bytes = bytes;
  }

  /** Writes the command of an entry that was admitted, and keeps account of it. Returns the bytes that the device moves. */
  #issue(queue: ClientQueue, entry: Uint32Array, pair: QueuePair, table: RequestTable, cookie: number): number {
    const lease = queue.owner;
    const head = entry[EntryWord.head];
    const operation = head & 0xff;
    const share = head >>> 16;
    const window = lease.windows[share];
    const lba = entry[EntryWord.lbaLow] + entry[EntryWord.lbaHigh] * TWO_TO_32;
    const durable = ((head >>> 8) & EntryFlag.forceUnitAccess) !== 0;
    let slot: number;
    let bytes = 0;
    if (MOVES[operation] === 1) {
      const { domain } = lease;
      const region = entry[EntryWord.region] & 0xffff;
      const at = window.firstBlock + lba;
      const offset = entry[EntryWord.offsetLow];
      const blocks = entry[EntryWord.blocks];
      bytes = entry[EntryWord.length];
      slot = submitTransfer(pair, OPCODES[operation], window.namespace, at, blocks, durable, domain.pages, region, offset, bytes, this.now);
      // Before the doorbell.
      if (domain.copies !== undefined && READS[operation] === 0) domain.copies.toDevice(region, offset, bytes);
      table.region[slot] = region;
      domain.countInFlight(region, 1);
    } else if (operation === Operation.flush) {
      slot = this.#flush(queue, pair, table, share, window.namespace);
    } else if (operation === Operation.writeZeroes) {
      slot = submitWriteZeroes(pair, window.namespace, window.firstBlock + lba, entry[EntryWord.blocks], durable, this.now);
    } else {
      const words = this.#attachment.words;
      slot = submitDeallocate(pair, window.namespace, window.firstBlock, words, this.#attachment.bytes / (RANGE_WORDS * 4), this.now);
    }
    // Not for a flush that joins another's command.
    if (pair.view !== undefined && (operation !== Operation.flush || slot === table.unrungFlush))
      pair.view.show(pair.words, pair.last, share, lba, entry[EntryWord.region], entry[EntryWord.offsetLow]);
    table.asker[slot] = queue;
    table.cookie[slot] = cookie;
    queue.tags.add(entry[EntryWord.tagLow], entry[EntryWord.tagHigh]);
    queue.count++;
    lease.inFlight++;
    lease.tenant.inFlight++;
    return bytes;
  }

  /**
   * A flush covers every write that completed before the device takes it, so flushes of one queue that go out with the same doorbell are one command.
   * Never across queues: how long another's flush takes is nobody's business.
   */
  #flush(queue: ClientQueue, pair: QueuePair, table: RequestTable, share: number, namespace: number): number {
    const leader = table.unrungFlush;
    if (leader < 0 || table.waiting(leader) !== queue || table.entries[leader][EntryWord.head] >>> 16 !== share) {
      const slot = submitFlush(pair, namespace, this.now);
      table.unrungFlush = slot;
      return slot;
    }
    const slot = pair.claim();
    pair.submittedAt[slot] = this.now;
    table.follower[slot] = table.follower[leader];
    table.follower[leader] = slot;
    return slot;
  }

  #refuse(queue: ClientQueue, entry: Uint32Array, cookie: number, code: number): void {
    const { statistics } = queue.owner.tenant;
    refusedValue(code, entry, this.#attachment, this.#value);
    if (!queue.dirty) this.dirty.push(queue);
    queue.complete(entry, cookie, code, refusedField(code), 0, this.#value[0], this.#value[1], 0);
    statistics.countRefused(code);
    statistics.trace(this.epoch + this.now, 0, queue.lease, queue.queue, entry, code);
  }

  #letGoOfMemory(table: RequestTable, slot: number, asker: ClientQueue): void {
    const region = table.region[slot];
    if (region < 0) return;
    asker.owner.domain.countInFlight(region, -1);
    table.region[slot] = -1;
  }
}

/** Copied DMA: what the device has read for the request goes to the client's memory. */
function copyOut(table: RequestTable, slot: number, asker: ClientQueue): void {
  const entry = table.entries[slot];
  if (READS[entry[EntryWord.head] & 0xff] === 0) return;
  asker.owner.domain.copies?.toClient(table.region[slot], entry[EntryWord.offsetLow], entry[EntryWord.length]);
}

/**
 * What a client is told of a device status other than success; `endCode` when the device did not do it because it was told so. Controllers end what they
 * cancel with whatever status they like (QEMU: Write Fault for a flush), so of a queue that is being taken down none is believed.
 */
function codeOf(status: number, endCode: number, active: boolean): number {
  if (status === Status.compareFailure) return Code.compareFailed;
  if (!active || status === Status.abortRequested || status === Status.abortedQueueDeleted) return endCode;
  return Code.deviceError;
}
