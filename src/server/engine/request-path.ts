/**
 * The one way in: copy once, judge, issue; and back: a checked completion becomes an answer.
 *
 * Runs on the engine thread for every request and allocates nothing.
 */
import { Code, Direction, EntryFlag, EntryWord, Field, OPERATIONS, Operation } from '../../protocol/index.js';
import { admit, attachmentToFetch, refusedField, refusedValue } from '../../validator/index.js';
import { NvmOpcode, Status, submitDeallocate, submitFlush, submitTransfer, submitWriteZeroes } from '../../hw/nvme/index.js';
import type { CompletionSink, QueuePair } from '../../hw/nvme/index.js';
import type { ClientQueue } from './client-queue.js';
import { REQUEST_WORDS, RequestTable, RequestWord } from './request-table.js';

const TWO_TO_32 = 0x1_0000_0000;
const RANGE_WORDS = 4;

/** Of each operation: whether the device writes the region. */
const READS = Uint8Array.from(OPERATIONS, ({ data }) => (data === Direction.deviceWrites ? 1 : 0));
const OPCODES = new Uint8Array(8);
OPCODES[Operation.read] = NvmOpcode.read;
OPCODES[Operation.write] = NvmOpcode.write;
OPCODES[Operation.compare] = NvmOpcode.compare;

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
  readonly #entry = new Uint32Array(16);
  readonly #attachment = { words: new Uint32Array(1024), bytes: 0 };
  readonly #attachmentBytes = new Uint8Array(this.#attachment.words.buffer);
  readonly #value = new Uint32Array(2);

  constructor(epoch: number) {
    this.epoch = epoch;
  }

  /** Takes the next request of the queue to its end or to the device. Only when it has one, and its pair has room. Returns its cost. */
  takeOne(queue: ClientQueue): number {
    const entry = this.#entry;
    const lease = queue.owner;
    const cookie = queue.take(entry);
    this.#fetchAttachment(queue);
    const code = admit(entry, this.#attachment, lease.grant, queue);
    if (code !== Code.ok) {
      this.#refuse(queue, cookie, code);
      return REQUEST_COST;
    }
    const bytes = this.#issue(queue, queue.pair as QueuePair, cookie);
    const cost = (entry[EntryWord.head] & 0xff) === Operation.flush ? FLUSH_COST : REQUEST_COST + bytes;
    lease.tenant.operations.take(1);
    lease.tenant.bytes.take(bytes);
    return cost;
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
    const queue = table.queue[slot];
    this.#letGoOfMemory(table, slot, asker);
    if (queue === undefined) {
      asker.owner.abandoned--;
    } else {
      const code = status === Status.success ? Code.ok : codeOf(status, timedOut ? Code.timeout : table.endCode);
      this.answer(table, slot, pair.submittedAt[slot], code, code === Code.deviceError ? status : 0);
    }
    table.asker[slot] = undefined;
    table.queue[slot] = undefined;
    table.timedOut[slot] = 0;
  }

  /** Answers what is in `slot` and takes it off its lease's account. What the device still does with it is no more the client's business. */
  answer(table: RequestTable, slot: number, submittedAt: number, code: number, status: number): void {
    const queue = table.queue[slot] as ClientQueue;
    const lease = queue.owner;
    const { words } = table;
    const at = slot * REQUEST_WORDS;
    const tagLow = words[at + RequestWord.tagLow];
    const tagHigh = words[at + RequestWord.tagHigh];
    const head = words[at + RequestWord.head];
    const bytes = words[at + RequestWord.bytes];
    const operation = head & 0xff;
    queue.tags.delete(tagLow, tagHigh);
    queue.count--;
    lease.inFlight--;
    lease.tenant.inFlight--;
    if (!queue.dirty) this.dirty.push(queue);
    const field = code === Code.deviceError ? Field.status : Field.none;
    queue.complete(tagLow, tagHigh, words[at + RequestWord.cookie], code, field, status, 0, 0, words[at + RequestWord.generation], bytes);
    const done = code === Code.ok ? bytes : 0;
    const statistics = lease.tenant.statistics;
    const milliseconds = this.now - submittedAt;
    statistics.countCompleted(operation, code, READS[operation] === 1 ? done : 0, operation === Operation.write ? done : 0, milliseconds);
    statistics.inFlight = lease.tenant.inFlight;
    statistics.trace(
      this.epoch + this.now,
      lease.handle,
      queue.queue,
      operation,
      head >>> 16,
      words[at + RequestWord.lbaLow] + words[at + RequestWord.lbaHigh] * TWO_TO_32,
      words[at + RequestWord.blocks],
      words[at + RequestWord.handle],
      code,
      milliseconds * 1000,
    );
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
    const queue = table.queue[slot];
    if (queue === undefined) return;
    this.answer(table, slot, pair.submittedAt[slot], code, 0);
    queue.owner.abandoned++;
    table.queue[slot] = undefined;
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

  #fetchAttachment(queue: ClientQueue): void {
    const attachment = this.#attachment;
    attachment.bytes = 0;
    const bytes = attachmentToFetch(this.#entry, queue.regions);
    if (bytes === 0) return;
    const handle = this.#entry[EntryWord.region];
    const memory = queue.regions.find(handle);
    if (memory === undefined) return;
    this.#attachmentBytes.set(new Uint8Array(memory.buffer, this.#entry[EntryWord.offsetLow], bytes));
    attachment.bytes = bytes;
  }

  #issue(queue: ClientQueue, pair: QueuePair, cookie: number): number {
    const entry = this.#entry;
    const lease = queue.owner;
    const head = entry[EntryWord.head];
    const operation = head & 0xff;
    const share = head >>> 16;
    const window = lease.windows[share];
    const blocks = entry[EntryWord.blocks];
    const lba = entry[EntryWord.lbaLow] + entry[EntryWord.lbaHigh] * TWO_TO_32;
    const durable = ((head >>> 8) & EntryFlag.forceUnitAccess) !== 0;
    const table = this.#tableOf(pair) as RequestTable;
    let slot: number;
    let bytes = 0;
    let region = -1;
    if (operation === Operation.flush) {
      slot = this.#flush(queue, pair, table, share, window.namespace);
    } else if (operation === Operation.writeZeroes) {
      slot = submitWriteZeroes(pair, window.namespace, window.firstBlock + lba, blocks, durable, this.now);
    } else if (operation === Operation.deallocate) {
      const words = this.#attachment.words;
      slot = submitDeallocate(pair, window.namespace, window.firstBlock, words, this.#attachment.bytes / (RANGE_WORDS * 4), this.now);
    } else {
      bytes = entry[EntryWord.length];
      const handle = entry[EntryWord.region];
      region = handle & 0xffff;
      const memory = lease.domain.memory[region] as NonNullable<(typeof lease.domain.memory)[number]>;
      const at = window.firstBlock + lba;
      const offset = entry[EntryWord.offsetLow];
      slot = submitTransfer(pair, OPCODES[operation], window.namespace, at, blocks, durable, memory, offset, bytes, this.now);
      lease.domain.inFlight[region]++;
    }
    // Not for a flush that joins another's command.
    if (pair.view !== undefined && (operation !== Operation.flush || slot === table.unrungFlush))
      pair.view.show(pair.words, pair.last, share, lba, entry[EntryWord.region], entry[EntryWord.offsetLow]);
    table.queue[slot] = queue;
    table.asker[slot] = queue;
    table.region[slot] = region;
    const { words } = table;
    const at = slot * REQUEST_WORDS;
    words[at + RequestWord.tagLow] = entry[EntryWord.tagLow];
    words[at + RequestWord.tagHigh] = entry[EntryWord.tagHigh];
    words[at + RequestWord.cookie] = cookie;
    words[at + RequestWord.generation] = lease.generation;
    words[at + RequestWord.head] = head;
    words[at + RequestWord.lbaLow] = entry[EntryWord.lbaLow];
    words[at + RequestWord.lbaHigh] = entry[EntryWord.lbaHigh];
    words[at + RequestWord.blocks] = blocks;
    words[at + RequestWord.bytes] = bytes;
    words[at + RequestWord.handle] = entry[EntryWord.region];
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
    if (leader < 0 || table.queue[leader] !== queue || table.words[leader * REQUEST_WORDS + RequestWord.head] >>> 16 !== share) {
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

  #refuse(queue: ClientQueue, cookie: number, code: number): void {
    const entry = this.#entry;
    const statistics = queue.owner.tenant.statistics;
    refusedValue(code, entry, this.#attachment, this.#value);
    if (!queue.dirty) this.dirty.push(queue);
    queue.complete(
      entry[EntryWord.tagLow],
      entry[EntryWord.tagHigh],
      cookie,
      code,
      refusedField(code),
      0,
      this.#value[0],
      this.#value[1],
      entry[EntryWord.generation],
      0,
    );
    statistics.countRefused(code);
    const head = entry[EntryWord.head];
    const lba = entry[EntryWord.lbaLow] + entry[EntryWord.lbaHigh] * TWO_TO_32;
    statistics.trace(
      this.epoch + this.now,
      queue.lease,
      queue.queue,
      head & 0xff,
      head >>> 16,
      lba,
      entry[EntryWord.blocks],
      entry[EntryWord.region],
      code,
      0,
    );
  }

  #letGoOfMemory(table: RequestTable, slot: number, asker: ClientQueue): void {
    const region = table.region[slot];
    if (region < 0) return;
    asker.owner.domain.inFlight[region]--;
    table.region[slot] = -1;
  }
}

/** What a client is told of a device status other than success; `endCode` when the device did not do it because it was told so. */
function codeOf(status: number, endCode: number): number {
  if (status === Status.compareFailure) return Code.compareFailed;
  if (status === Status.abortRequested || status === Status.abortedQueueDeleted) return endCode;
  return Code.deviceError;
}
