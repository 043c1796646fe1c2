/** The queue pairs of a device, and which client queue has which: own ones, the one that leases share, and the one that is kept for the server. */
import { Code } from '../../protocol/index.js';
import type { ShownEnd } from '../../hw/dma/index.js';
import type { QueuePair } from '../../hw/nvme/index.js';
import { HardwareError, type Task } from '../../hw/task.js';
import { Refusal } from './api.js';
import { pairEntries } from './control.js';
import type { ClientQueue } from './client-queue.js';
import type { Holders } from './holders.js';
import type { DeviceParts, Lifecycle } from './lifecycle.js';
import { RequestTable } from './request-table.js';
import { Mutex } from './tasks.js';

/** Entries of the queue pair that leases with shared queues have in common. */
const SHARED_ENTRIES = 256;

/** Its tasks, but for `withServerPair`, are parts of others that run one at a time. */
export class QueuePairs {
  readonly #parts: DeviceParts;
  readonly #holders: Holders;
  readonly #life: Lifecycle;
  #sharedPair: QueuePair | undefined;
  /** The queue pair of the server's own work, while it has one. */
  #serverPair: QueuePair | undefined;
  readonly #serverWork = new Mutex();

  constructor(parts: DeviceParts, holders: Holders, life: Lifecycle) {
    this.#parts = parts;
    this.#holders = holders;
    this.#life = life;
  }

  /** Pairs that a lease can have for itself: one is kept for leases with shared queues, and one for the server. */
  get free(): number {
    const shared = this.#sharedPair === undefined ? 1 : 0;
    const server = this.#serverPair === undefined || this.#serverPair.closed ? 1 : 0;
    return this.#parts.driver.facts.queuePairs - this.#parts.driver.pairsInUse - shared - server;
  }

  /** Gives a queue its hardware queue pair: one of its own, or the one that is shared. */
  *connect(queue: ClientQueue): Task<void> {
    if (queue.pair !== undefined) return;
    if (queue.owner.kind === 'own') {
      if (this.free < 1) throw new Refusal('noFreeQueue', 'queues', 'own');
      queue.pair = yield* this.#create(pairEntries(queue.entries), queue.owner.ringViews);
      return;
    }
    this.#sharedPair ??= yield* this.#create(SHARED_ENTRIES);
    queue.pair = this.#sharedPair;
  }

  /**
   * Takes it away: what is in flight is answered with `code`. An own pair is deleted, and answers come after that: none of its writes lands after its answer.
   * On the shared pair the commands are aborted, and those that do not end keep their memory until they do. If that takes a controller reset, it counts against the tenant.
   */
  *disconnect(queue: ClientQueue, code: number): Task<void> {
    const pair = queue.pair;
    queue.pair = undefined;
    if (pair === undefined) return;
    const { resets } = this.#life;
    if (queue.owner.kind === 'own') yield* this.#delete(pair, code);
    else yield* this.#abandonOnShared(queue, pair, code);
    if (this.#life.resets !== resets) queue.owner.strike(this.#parts.clock());
  }

  /** Deletes the shared pair: nobody has a queue on it. */
  *deleteShared(): Task<void> {
    const shared = this.#sharedPair;
    this.#sharedPair = undefined;
    if (shared !== undefined) yield* this.#delete(shared, Code.aborted);
  }

  /** The controller ended all of them: whoever still waits is answered with `code`. */
  forget(code: number): void {
    for (const pair of [...this.#parts.path.tables.keys()]) this.#parts.path.forget(pair, code);
    this.#takeFromAll();
  }

  /** The device is lost: whoever still waits is answered. Memory is held until it is known to be quiet. */
  abandon(): void {
    this.#takeFromAll();
    const { path } = this.#parts;
    for (const [pair, table] of path.tables) {
      for (let slot = 0; slot < pair.capacity; slot++) if (table.asker[slot] !== undefined) path.abandon(pair, slot, Code.deviceLost);
    }
  }

  /** Work of the server with a queue pair of its own; one is kept for it, so one at a time. The device is open; the pair is made in its turn at `device`. */
  *withServerPair<T>(device: Mutex, entries: number, work: (pair: QueuePair) => Task<T>): Task<T> {
    return yield* this.#serverWork.run(() => this.#withServerPair(device, entries, work));
  }

  *#withServerPair<T>(device: Mutex, entries: number, work: (pair: QueuePair) => Task<T>): Task<T> {
    const { driver } = this.#parts;
    const pair = yield* device.run(() => driver.createPair(entries));
    this.#serverPair = pair;
    try {
      return yield* work(pair);
    } finally {
      yield* driver.deletePair(pair);
      driver.releasePair(pair);
      this.#serverPair = undefined;
    }
  }

  *#create(entries: number, shown?: ShownEnd): Task<QueuePair> {
    let pair: QueuePair;
    try {
      pair = yield* this.#parts.driver.createPair(entries, shown);
    } catch (error) {
      if (error instanceof HardwareError && error.code === 'exhausted') throw new Refusal('noFreeQueue', 'queues');
      throw error;
    }
    if (this.#life.state !== 'open' || pair.closed) throw new HardwareError('lost', this.#life.lostReason);
    this.#parts.path.tables.set(pair, new RequestTable(pair.capacity));
    return pair;
  }

  *#delete(pair: QueuePair, code: number): Task<void> {
    const { driver, path, post } = this.#parts;
    if (this.#life.state !== 'open') return;
    const table = path.tables.get(pair);
    if (table !== undefined) table.endCode = code;
    try {
      yield* driver.deletePair(pair);
      pair.reap(path);
      path.forget(pair, code);
      driver.releasePair(pair);
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      post.log('warn', 'a queue pair could not be deleted', { pair: pair.id, error: error.message });
      yield* this.#life.reset(`queue ${pair.id} could not be deleted`);
    }
  }

  *#abandonOnShared(queue: ClientQueue, pair: QueuePair, code: number): Task<void> {
    const { driver, path } = this.#parts;
    const table = path.tables.get(pair);
    if (table === undefined) return;
    const slots: number[] = [];
    for (let slot = 0; slot < pair.capacity; slot++) {
      if (table.asker[slot] !== queue) continue;
      slots.push(slot);
      if (table.abandoned[slot] === 0) path.abandon(pair, slot, code);
    }
    const mine = (slot: number): boolean => table.asker[slot] === queue && this.#life.state === 'open';
    try {
      for (const slot of slots) if (mine(slot) && pair.inFlight[slot] === 1) yield* driver.abort(pair, slot);
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      yield* this.#life.reset(`an abort got no answer: ${error.message}`);
    }
  }

  #takeFromAll(): void {
    this.#sharedPair = undefined;
    for (const lease of this.#holders.leases.values()) for (const queue of lease.queues) if (queue !== undefined) queue.pair = undefined;
  }
}
