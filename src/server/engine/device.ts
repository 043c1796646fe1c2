/**
 * One device and the leases on it: opened by the first, closed after the last (R12, R17), reset by whoever is alone.
 *
 * Every method that takes time is a task; those that change queues run one at a time.
 */
import { Code } from '../../protocol/index.js';
import type { Backing } from '../../hw/backing.js';
import type { DeviceDomain } from '../../hw/dma/index.js';
import type { NvmeDriver, NvmeFacts, QueuePair } from '../../hw/nvme/index.js';
import { HardwareError, type Clock, type Task } from '../../hw/task.js';
import type { DeviceReport, DeviceState, OpenLease, OpenedLease, ShareGrant } from './api.js';
import type { ChannelMemory } from './channel.js';
import type { ClientQueue } from './client-queue.js';
import type { EnginePost } from './control.js';
import { grantOf } from './grant.js';
import { Holders } from './holders.js';
import type { Lease } from './lease.js';
import { LeaseSteps, SETTLE_MS } from './lease-steps.js';
import { Lifecycle, type DeviceParts } from './lifecycle.js';
import { reportOf } from './report.js';
import type { RequestPath } from './request-path.js';
import type { Scheduler } from './scheduler.js';
import type { TenantState } from './tenant-state.js';
import { Mutex } from './tasks.js';

export class Device {
  readonly driver: NvmeDriver;
  readonly #backing: Backing;
  readonly #parts: DeviceParts;
  readonly #holders: Holders;
  readonly #life: Lifecycle;
  readonly #steps: LeaseSteps;
  readonly #mutex = new Mutex();
  #wasFree = true;

  constructor(
    backing: Backing,
    driver: NvmeDriver,
    path: RequestPath,
    scheduler: Scheduler,
    clock: Clock,
    post: EnginePost,
    leaseBase: number,
    lastLease = 0,
  ) {
    this.#backing = backing;
    this.driver = driver;
    this.#parts = { driver, path, clock, post };
    this.#holders = new Holders(leaseBase, lastLease);
    this.#life = new Lifecycle(this.#parts, this.#holders);
    this.#steps = new LeaseSteps(this.#parts, this.#holders, this.#life, scheduler);
  }

  get leases(): ReadonlyMap<number, Lease> {
    return this.#holders.leases;
  }

  get domains(): ReadonlyMap<number, DeviceDomain> {
    return this.#holders.domains;
  }

  get state(): DeviceState {
    return this.#life.state;
  }

  get resets(): number {
    return this.#life.resets;
  }

  lease(handle: number): Lease {
    return this.#holders.lease(handle);
  }

  /** Vectors of a lease: one for each queue that it may have; none where the device has no interrupts. */
  vectorsOf(lease: Lease): number {
    return this.#steps.vectorsOf(lease);
  }

  queue(lease: Lease, index: number): ClientQueue {
    return this.#holders.queue(lease, index);
  }

  domain(id: number): DeviceDomain {
    return this.#holders.domain(id);
  }

  /** Forgets a domain that nobody uses. */
  dropDomain(id: number): void {
    this.#holders.dropDomain(id);
  }

  /** Opens the device, learns what it is, and closes it again: an unused device holds nothing. */
  *probe(): Task<NvmeFacts> {
    yield* this.driver.open();
    const facts = this.driver.facts;
    yield* this.driver.close();
    return facts;
  }

  *openLease(request: OpenLease, tenant: TenantState): Task<OpenedLease> {
    const opened = yield* this.#alone(() => this.#steps.open(request, tenant, () => this.report().free));
    this.#wasFree = false;
    return opened;
  }

  /** Ends a lease: when it returns, its requests are answered, its queues deleted, and the device no longer works for it. */
  *closeLease(handle: number, code: number): Task<void> {
    const lease = this.leases.get(handle);
    if (lease === undefined) return;
    lease.active = false;
    lease.closing = true;
    yield* this.#alone(() => this.#steps.closeQueues(lease, code));
    yield* this.#steps.settle(lease);
    yield* this.#alone(() => this.#steps.close(lease));
  }

  *openQueue(handle: number, channel: number, memory: ChannelMemory, tagSeed: number): Task<ClientQueue> {
    return yield* this.#alone(() => this.#steps.openQueue(this.lease(handle), channel, memory, tagSeed));
  }

  *closeQueue(handle: number, index: number): Task<void> {
    const lease = this.lease(handle);
    yield* this.#alone(() => this.#steps.closeQueue(lease, this.queue(lease, index), Code.aborted));
    yield* this.#steps.settle(lease);
  }

  /** A lease's own reset: its requests end, its queues are empty, nobody else notices (R21). */
  *resetLease(handle: number, reason: string): Task<number> {
    const lease = this.lease(handle);
    lease.active = false;
    const [generation, ended] = yield* this.#alone(() => this.#steps.reset(lease, reason, Code.reset));
    if (ended) return generation;
    yield* this.#steps.settle(lease);
    return yield* this.#alone(() => this.#steps.resume(lease, generation, reason));
  }

  /**
   * Resets the controller: everybody's requests end with `reset`, and every open queue is made again. A reset for another reason that ended since this one
   * was asked for will do: many find out at once that a controller is sick. True if it was this one.
   */
  *resetController(reason: string): Task<boolean> {
    const ended = this.#life.resetsEnded;
    return yield* this.#alone(() => this.#life.reset(reason, () => this.#life.resetsEnded === ended));
  }

  /** What the ladder does last for a command of an own queue pair that does not end, if it is still `stuck`: see `Watchdog`. */
  *recoverQueue(lease: Lease, reason: string, stuck: () => boolean): Task<void> {
    yield* this.#alone(() => this.#recoverQueue(lease, reason, stuck));
  }

  /** The device is gone: every request in flight is answered, and nothing more is asked of it. Memory is held until the device is known to be quiet. */
  *lose(reason: string): Task<void> {
    if (this.state === 'lost') return;
    this.#life.declareLost(reason);
    yield* this.#alone(() => this.#life.goDown());
  }

  /** The world that the device is in has ended: so do all leases. Told in that order: lost, revoked, gone. */
  *leave(reason: string): Task<void> {
    // A reset that is under way finds it out by itself.
    while (this.state === 'resetting') yield 1;
    yield* this.lose(reason);
    for (const lease of [...this.leases.values()]) {
      if (!lease.closing) this.#parts.post.event('revoked', [lease.handle, `the device is gone: ${reason}`]);
      yield* this.closeLease(lease.handle, Code.revoked);
    }
    this.#parts.post.event('gone', [reason]);
  }

  /** Tries to bring a lost device back; its leases go on with a new generation. True if it worked. */
  *revive(): Task<boolean> {
    if (this.state !== 'lost' || this.#backing.lost !== undefined) return false;
    return yield* this.#alone(() => this.#life.revive());
  }

  /** Work of the server itself that needs the device open. */
  *withOpen<T>(work: () => Task<T>): Task<T> {
    yield* this.#alone(() => this.#life.open());
    this.#life.users++;
    try {
      return yield* work();
    } finally {
      this.#life.users--;
      if (this.state !== 'lost') yield* this.#alone(() => this.#life.closeIfUnused());
    }
  }

  /** Work of the server with a queue pair of its own; one is kept for it, so one at a time. The device is open. */
  *withPair<T>(entries: number, work: (pair: QueuePair) => Task<T>): Task<T> {
    return yield* this.#life.pairs.withServerPair(this.#mutex, entries, work);
  }

  /** When it returns, no request that was admitted under the earlier grant is in flight: its windows can be given away. */
  *replaceGrant(handle: number, shares: readonly ShareGrant[]): Task<void> {
    const lease = this.lease(handle);
    Object.assign(lease, grantOf(this.driver.facts, shares, lease.grant.maxInFlight));
    const replaced = this.#parts.clock();
    const left = (): boolean => this.#parts.path.oldest((asker) => asker.owner === lease) <= replaced;
    // Those that were not given up have the watchdog behind them.
    while (left() && lease.inFlight > 0) yield 1;
    yield* this.#outlive(left, 'commands under an earlier grant do not end');
  }

  /**
   * Waits until no command of a lease that has ended is left: a write that comes late must not hit what the window holds by then. If they do not end, the
   * controller is reset.
   */
  *settleOrphans(): Task<void> {
    yield* this.#outlive(() => this.#parts.path.oldest((asker) => !this.leases.has(asker.lease)) < Infinity, 'commands of an ended lease do not end');
  }

  /** How many queue pairs raise a hardware vector. */
  pairsOnVector(vector: number): number {
    let count = 0;
    for (const pair of this.#parts.path.tables.keys()) if (pair.vector === vector) count++;
    return count;
  }

  /** Commands that the device has not ended. */
  commandsInFlight(): number {
    let count = 0;
    for (const pair of this.#parts.path.tables.keys()) count += pair.count;
    return count;
  }

  report(): DeviceReport {
    return reportOf(this.#life, this.#holders, this.commandsInFlight());
  }

  /** Tells once when nothing of an earlier holder is left (R23). */
  announceFree(): void {
    const free = this.leases.size === 0 && this.report().free;
    if (free && !this.#wasFree) this.#parts.post.event('free', []);
    this.#wasFree = free;
  }

  /** Changes of queues, one at a time. What is taken out of sight by them is waited for, too, but keeps nobody else waiting. */
  *#alone<T>(change: () => Task<T>): Task<T> {
    try {
      return yield* this.#mutex.run(change);
    } finally {
      yield* this.driver.endViews();
    }
  }

  *#recoverQueue(lease: Lease, reason: string, stuck: () => boolean): Task<void> {
    if (stuck()) yield* this.#steps.reset(lease, reason, Code.timeout);
  }

  /** Waits until no such command is `left`; in the end the controller is reset. @throws HardwareError `lost` when not even that is known to have ended them. */
  *#outlive(left: () => boolean, reason: string): Task<void> {
    const { clock } = this.#parts;
    const deadline = clock() + SETTLE_MS;
    while (left() && clock() < deadline) yield 1;
    if (left()) yield* this.resetController(reason);
    if (left()) throw new HardwareError('lost', reason);
  }
}
