/**
 * One device and the leases on it: opened by the first, closed after the last (R12, R17), reset by whoever is alone.
 *
 * Every method that takes time is a task; those that change queues run one at a time.
 */
import { Code, MAX_BLOCKS, Right, type LeaseMode } from '../../protocol/index.js';
import type { Backing } from '../../hw/backing.js';
import { DeviceDomain, type ShownEnd } from '../../hw/dma/index.js';
import { NvmeDriver, type NvmeFacts, type QueuePair } from '../../hw/nvme/index.js';
import { HardwareError, type Clock, type Task } from '../../hw/task.js';
import { Refusal, type DeviceReport, type DeviceState, type OpenLease, type OpenedLease, type ShareGrant } from './api.js';
import type { ChannelMemory } from './channel.js';
import { ClientQueue } from './client-queue.js';
import { Lease } from './lease.js';
import { LEASES_OF_A_DEVICE, type EnginePost } from './control.js';
import type { RequestPath } from './request-path.js';
import { RequestTable } from './request-table.js';
import type { Scheduler } from './scheduler.js';
import type { TenantState } from './tenant-state.js';
import { Mutex } from './tasks.js';

/** Entries of the queue pair that leases with shared queues have in common. */
const SHARED_ENTRIES = 256;
/** How long a command that was aborted, or whose lease ends, may still take. */
const SETTLE_MS = 1_000;

export class Device {
  readonly driver: NvmeDriver;
  readonly leases = new Map<number, Lease>();
  readonly domains = new Map<number, DeviceDomain>();
  state: DeviceState = 'closed';
  lostReason = '';
  resets = 0;
  readonly #backing: Backing;
  readonly #path: RequestPath;
  readonly #scheduler: Scheduler;
  readonly #clock: Clock;
  readonly #post: EnginePost;
  readonly #mutex = new Mutex();
  #sharedPair: QueuePair | undefined;
  /** Wipes and other work of the server that needs the device open. */
  #users = 0;
  /** Domain of the last exclusive holder: while memory of it is left, nobody else gets in (R22). */
  #exclusiveDomain: number | undefined;
  /** What the leases were judged by. */
  #facts: NvmeFacts | undefined;
  /** Controller resets that have ended, well or not. */
  #resetsEnded = 0;
  readonly #leaseBase: number;
  #lastLease = 0;
  #generation = 0;
  #wasFree = true;

  constructor(backing: Backing, driver: NvmeDriver, path: RequestPath, scheduler: Scheduler, clock: Clock, post: EnginePost, leaseBase: number) {
    this.#backing = backing;
    this.driver = driver;
    this.#path = path;
    this.#scheduler = scheduler;
    this.#clock = clock;
    this.#post = post;
    this.#leaseBase = leaseBase;
    this.#generation = 1 + Math.floor(Math.random() * 0x7fff_ffff);
  }

  /** Opens the device, learns what it is, and closes it again: an unused device holds nothing. */
  *probe(): Task<NvmeFacts> {
    yield* this.driver.open();
    const facts = this.driver.facts;
    yield* this.driver.close();
    return facts;
  }

  *openLease(request: OpenLease, tenant: TenantState): Task<OpenedLease> {
    return yield* this.#alone(() => this.#openLease(request, tenant));
  }

  /** Ends a lease: when it returns, its requests are answered, its queues deleted, and the device no longer works for it. */
  *closeLease(handle: number, code: number): Task<void> {
    const lease = this.leases.get(handle);
    if (lease === undefined) return;
    lease.active = false;
    lease.closing = true;
    yield* this.#alone(() => this.#closeLease(lease, code));
  }

  *openQueue(handle: number, channel: number, memory: ChannelMemory, tagSeed: number): Task<ClientQueue> {
    return yield* this.#alone(() => this.#openQueue(this.lease(handle), channel, memory, tagSeed));
  }

  *closeQueue(handle: number, index: number): Task<void> {
    const lease = this.lease(handle);
    yield* this.#alone(() => this.#closeQueue(lease, this.queue(lease, index), Code.aborted));
  }

  /** A lease's own reset: its requests end, its queues are empty, nobody else notices (R21). */
  *resetLease(handle: number, reason: string): Task<number> {
    const lease = this.lease(handle);
    lease.active = false;
    return yield* this.#alone(() => this.#resetLease(lease, reason, Code.reset));
  }

  /**
   * Resets the controller: everybody's requests end with `reset`, and every open queue is made again. A reset for another reason that ended since this one
   * was asked for will do: many find out at once that a controller is sick.
   */
  *resetController(reason: string): Task<void> {
    const ended = this.#resetsEnded;
    yield* this.#alone(() => this.#resetController(reason, () => this.#resetsEnded === ended));
  }

  /** What the ladder does last for a command that does not end, if it is still `stuck`: see `Watchdog`. */
  *recoverQueue(lease: Lease, reason: string, stuck: () => boolean): Task<void> {
    yield* this.#alone(() => this.#recoverQueue(lease, reason, stuck));
  }

  /** The device is gone: every request in flight is answered, and nothing more is asked of it. Memory is held until the device is known to be quiet. */
  *lose(reason: string): Task<void> {
    if (this.state === 'lost') return;
    this.#declareLost(reason);
    yield* this.#alone(() => this.#goDown());
  }

  /** Tries to bring a lost device back; its leases go on with a new generation. True if it worked. */
  *revive(): Task<boolean> {
    if (this.state !== 'lost' || this.#backing.lost !== undefined) return false;
    return yield* this.#alone(() => this.#revive());
  }

  /** Work of the server itself that needs the device open. */
  *withOpen<T>(work: () => Task<T>): Task<T> {
    yield* this.#alone(() => this.#ensureOpen());
    this.#users++;
    try {
      return yield* work();
    } finally {
      this.#users--;
      if (this.state !== 'lost') yield* this.#alone(() => this.#closeIfUnused());
    }
  }

  /** When it returns, no request that was admitted under the earlier grant is in flight: its windows can be given away. */
  *replaceGrant(handle: number, shares: readonly ShareGrant[]): Task<void> {
    const lease = this.lease(handle);
    Object.assign(lease, this.#grantOf(shares, lease.grant.maxInFlight));
    const replaced = this.#clock();
    const left = (): boolean => this.#path.oldest((asker) => asker.owner === lease) <= replaced;
    // Those that were not given up have the watchdog behind them.
    while (left() && lease.inFlight > 0) yield 1;
    yield* this.#outlive(left, 'commands under an earlier grant do not end');
  }

  /**
   * Waits until no command of a lease that has ended is left: a write that comes late must not hit what the window holds by then. If they do not end, the
   * controller is reset.
   */
  *settleOrphans(): Task<void> {
    yield* this.#outlive(() => this.#path.oldest((asker) => !this.leases.has(asker.lease)) < Infinity, 'commands of an ended lease do not end');
  }

  /** Waits until no such command is `left`; in the end the controller is reset. @throws HardwareError `lost` when not even that is known to have ended them. */
  *#outlive(left: () => boolean, reason: string): Task<void> {
    const deadline = this.#clock() + SETTLE_MS;
    while (left() && this.#clock() < deadline) yield 1;
    if (left()) yield* this.resetController(reason);
    if (left()) throw new HardwareError('lost', reason);
  }

  /** Changes of queues, one at a time. What is taken out of sight by them is waited for, too, but keeps nobody else waiting. */
  *#alone<T>(change: () => Task<T>): Task<T> {
    try {
      return yield* this.#mutex.run(change);
    } finally {
      yield* this.driver.endViews();
    }
  }

  lease(handle: number): Lease {
    const lease = this.leases.get(handle);
    if (lease === undefined) throw new Refusal('unknownLease', 'lease', handle);
    return lease;
  }

  queue(lease: Lease, index: number): ClientQueue {
    const queue = lease.queues[index];
    if (queue === undefined) throw new Refusal('unknownQueue', 'queue', index);
    return queue;
  }

  domain(id: number): DeviceDomain {
    let domain = this.domains.get(id);
    if (domain === undefined) {
      domain = new DeviceDomain();
      this.domains.set(id, domain);
    }
    return domain;
  }

  /** Forgets a domain that nobody uses. */
  dropDomain(id: number): void {
    if (this.domains.get(id)?.count !== 0) return;
    for (const lease of this.leases.values()) if (lease.domainId === id) return;
    this.domains.delete(id);
  }

  /** One for each queue that the lease may have; none where the device has no interrupts. */
  vectorsOf(lease: Lease): number {
    return this.driver.facts.vectors === 0 ? 0 : lease.maxQueues;
  }

  report(): DeviceReport {
    const heldBy: string[] = [];
    for (const lease of this.leases.values()) heldBy.push(`lease ${lease.handle} of tenant ${lease.tenant.name}${lease.closing ? ', closing' : ''}`);
    let regions = 0;
    let quarantineBytes = 0;
    for (const domain of this.domains.values()) {
      regions += domain.count;
      quarantineBytes += domain.closedBytes;
    }
    if (regions > 0) heldBy.push(`${regions} memory regions, ${quarantineBytes} bytes of them in quarantine`);
    const commands = this.commandsInFlight();
    if (commands > 0 && this.leases.size === 0) heldBy.push(`${commands} commands of ended leases`);
    if (this.#users > 0) heldBy.push('the server itself, wiping a window');
    return {
      state: this.state,
      free: heldBy.length === 0,
      heldBy,
      leases: [...this.leases.values()].map((lease) => ({
        lease: lease.handle,
        tenant: lease.tenant.name,
        session: lease.session,
        mode: lease.mode,
        queues: lease.kind,
        generation: lease.generation,
        inFlight: lease.inFlight,
      })),
      quarantineBytes,
      resets: this.resets,
      lost: this.lostReason,
    };
  }

  /** Commands that the device has not ended. */
  commandsInFlight(): number {
    let count = 0;
    for (const pair of this.#path.tables.keys()) count += pair.count;
    return count;
  }

  /** Tells once when nothing of an earlier holder is left (R23). */
  announceFree(): void {
    const free = this.leases.size === 0 && this.report().free;
    if (free && !this.#wasFree) this.#post.event('free', []);
    this.#wasFree = free;
  }

  *#openLease(request: OpenLease, tenant: TenantState): Task<OpenedLease> {
    this.#checkMode(request.mode, request.domain);
    yield* this.#ensureOpen();
    try {
      if (request.queues === 'own' && this.#freePairs() < 1) throw new Refusal('noFreeQueue', 'queues', 'own');
      const grant = this.#grantOf(request.shares, request.maxInFlight);
      const lease = new Lease({
        handle: this.#newHandle(),
        tenant,
        session: request.session,
        domainId: request.domain,
        domain: this.domain(request.domain),
        mode: request.mode,
        kind: request.queues,
        maxQueues: request.maxQueues,
        ringViews: request.ringViews,
        ...grant,
        generation: this.#nextGeneration(),
      });
      this.leases.set(lease.handle, lease);
      tenant.leases++;
      this.#wasFree = false;
      return {
        lease: lease.handle,
        generation: lease.generation,
        vectors: this.vectorsOf(lease),
        maxBlocks: grant.grant.shares.map((share) => share.maxBlocks),
      };
    } catch (error) {
      yield* this.#closeIfUnused();
      throw error;
    }
  }

  #checkMode(mode: LeaseMode, domain: number): void {
    if (this.state === 'lost') throw new Refusal('deviceLost', 'device', this.lostReason);
    for (const lease of this.leases.values()) {
      if (mode === 'exclusive' || lease.mode === 'exclusive') throw new Refusal(lease.closing ? 'notFree' : 'deviceBusy', 'mode', mode);
    }
    if (mode === 'exclusive' && !this.report().free) throw new Refusal('notFree', 'mode', mode);
    const left = this.#exclusiveDomain;
    if (left !== undefined && left !== domain && (this.domains.get(left)?.count ?? 0) > 0) throw new Refusal('notFree', 'mode', mode);
    this.#exclusiveDomain = undefined;
  }

  *#closeLease(lease: Lease, code: number): Task<void> {
    if (!this.leases.has(lease.handle)) return;
    for (const queue of lease.queues) if (queue !== undefined) yield* this.#closeQueue(lease, queue, code);
    const deadline = this.#clock() + SETTLE_MS;
    while (lease.abandoned > 0 && this.#clock() < deadline && this.state === 'open') yield 1;
    this.leases.delete(lease.handle);
    lease.tenant.leases--;
    this.dropDomain(lease.domainId);
    if (lease.mode === 'exclusive') this.#exclusiveDomain = lease.domainId;
    if (this.state === 'open' && lease.abandoned > 0 && this.leases.size === 0) yield* this.#resetController('commands of the last lease do not end');
    yield* this.#closeIfUnused();
  }

  *#openQueue(lease: Lease, channel: number, memory: ChannelMemory, tagSeed: number): Task<ClientQueue> {
    if (this.state !== 'open') throw new Refusal('deviceLost', 'lease', lease.handle);
    if (!lease.active) throw new Refusal('leaseNotActive', 'lease', lease.handle);
    let index = 0;
    while (lease.queues[index] !== undefined) index++;
    if (index >= lease.maxQueues) throw new Refusal('queueLimit', 'lease', lease.handle);
    const queue = new ClientQueue(lease, index, channel, memory, tagSeed);
    yield* this.#connect(queue);
    // The device may have been lost on the way.
    if (this.state !== 'open') throw new Refusal('deviceLost', 'lease', lease.handle);
    lease.queues[index] = queue;
    return queue;
  }

  *#closeQueue(lease: Lease, queue: ClientQueue, code: number): Task<void> {
    this.#scheduler.remove(queue);
    // Before anything else: a reset on the way would give it a new queue pair.
    lease.queues[queue.queue] = undefined;
    yield* this.#disconnect(queue, code);
  }

  *#recoverQueue(lease: Lease, reason: string, stuck: () => boolean): Task<void> {
    if (stuck()) yield* this.#resetLease(lease, reason, Code.timeout);
  }

  *#resetLease(lease: Lease, reason: string, code: number): Task<number> {
    if (!this.leases.has(lease.handle) || lease.closing) throw new Refusal('unknownLease', 'lease', lease.handle);
    if (this.state !== 'open') throw new Refusal('deviceLost', 'lease', lease.handle);
    lease.tenant.statistics.countReset();
    if (lease.mode === 'exclusive') {
      yield* this.#resetController(reason);
      return lease.generation;
    }
    lease.active = false;
    lease.generation = this.#nextGeneration();
    const resets = this.#resetsEnded;
    for (const queue of lease.queues) {
      if (queue !== undefined) yield* this.#disconnect(queue, code);
      // If the controller had to be reset for it, all is done, and told.
      if (this.#resetsEnded !== resets) return lease.generation;
    }
    try {
      for (const queue of lease.queues) if (queue !== undefined) yield* this.#connect(queue);
    } catch (error) {
      if (this.state !== 'open') throw error;
      if (error instanceof Refusal) {
        this.#post.event('revoked', [lease.handle, 'no queue pair is left for it']);
        throw error;
      }
      yield* this.#resetController(`a queue could not be made again: ${error instanceof Error ? error.message : String(error)}`);
      return lease.generation;
    }
    if (this.state !== 'open') throw new Refusal('deviceLost', 'lease', lease.handle);
    lease.active = !lease.closing;
    this.#post.event('reset', [lease.handle, lease.generation, reason]);
    return lease.generation;
  }

  *#resetController(reason: string, needed: () => boolean = () => true): Task<void> {
    if (this.state !== 'open' || !needed()) return;
    this.state = 'resetting';
    this.resets++;
    this.#post.log('warn', 'controller reset', { reason });
    for (const lease of this.leases.values()) lease.active = false;
    try {
      yield* this.driver.disable();
      this.#forgetPairs(Code.reset);
      yield* this.driver.enable();
      this.#checkUnchanged();
      this.state = 'open';
      for (const lease of yield* this.#resume()) this.#post.event('reset', [lease.handle, lease.generation, reason]);
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      this.#declareLost(error.message);
      yield* this.#goDown();
    } finally {
      this.#resetsEnded++;
    }
  }

  #declareLost(reason: string): void {
    if (this.state !== 'lost') this.#post.event('deviceLost', [reason]);
    this.state = 'lost';
    this.lostReason = reason;
    for (const lease of this.leases.values()) {
      lease.active = false;
      for (const queue of lease.queues) if (queue !== undefined) queue.pair = undefined;
    }
    this.#sharedPair = undefined;
    for (const [pair, table] of this.#path.tables) {
      for (let slot = 0; slot < pair.capacity; slot++) if (table.asker[slot] !== undefined) this.#path.abandon(pair, slot, Code.deviceLost);
    }
  }

  /** Closes a lost device. Where it is not known whether it still writes, its commands and their memory stay until it is opened again. */
  *#goDown(): Task<void> {
    if (yield* this.driver.close()) this.#forgetPairs(Code.deviceLost);
  }

  /** Leases go on after the controller was enabled again only on a device that is what they were judged by. @throws HardwareError `unsupported` */
  #checkUnchanged(): void {
    const [before, now] = [this.#facts, this.driver.facts];
    if (before === undefined || this.leases.size === 0) return;
    const same =
      now.maxTransferBytes >= before.maxTransferBytes &&
      before.namespaces.every((old) =>
        now.namespaces.some(({ id, blocks, blockBytes }) => id === old.id && blocks >= old.blocks && blockBytes === old.blockBytes),
      );
    if (!same) throw new HardwareError('unsupported', 'the device is not what it was: its leases have to be closed');
  }

  *#revive(): Task<boolean> {
    if (this.state !== 'lost') return false;
    try {
      yield* this.driver.open();
      // Opening disabled the controller: whatever it was still at has ended.
      this.#forgetPairs(Code.deviceLost);
      this.#checkUnchanged();
      this.state = 'open';
      const resumed = yield* this.#resume();
      this.lostReason = '';
      this.#post.event('deviceRestored', [resumed.map((lease) => ({ lease: lease.handle, generation: lease.generation }))]);
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      this.#declareLost(error.message);
      yield* this.#goDown();
      return false;
    }
    yield* this.#closeIfUnused();
    return true;
  }

  /** Leases go on with new generations and new hardware queues; returns which. One for which no queue pair is left is put out. */
  *#resume(): Task<Lease[]> {
    const resumed: Lease[] = [];
    for (const lease of [...this.leases.values()]) {
      if (lease.closing) continue;
      lease.generation = this.#nextGeneration();
      try {
        for (const queue of lease.queues) if (queue !== undefined) yield* this.#connect(queue);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        this.#post.event('revoked', [lease.handle, 'no queue pair is left for it']);
        continue;
      }
      if (this.state !== 'open') throw new HardwareError('lost', this.lostReason);
      lease.active = !lease.closing;
      resumed.push(lease);
    }
    return resumed;
  }

  /** Gives a queue its hardware queue pair: one of its own, or the one that is shared. */
  *#connect(queue: ClientQueue): Task<void> {
    if (queue.pair !== undefined) return;
    if (queue.owner.kind === 'own') {
      if (this.#freePairs() < 1) throw new Refusal('noFreeQueue', 'queues', 'own');
      queue.pair = yield* this.#createPair(queue.entries * 2, queue.owner.ringViews);
      return;
    }
    this.#sharedPair ??= yield* this.#createPair(SHARED_ENTRIES);
    queue.pair = this.#sharedPair;
  }

  /**
   * Takes it away: what is in flight is answered with `code`. An own pair is deleted, after which the device no longer works for it. On the shared pair
   * the commands are aborted, and those that do not end keep their memory until they do.
   */
  *#disconnect(queue: ClientQueue, code: number): Task<void> {
    const pair = queue.pair;
    queue.pair = undefined;
    if (pair === undefined) return;
    if (queue.owner.kind === 'own') {
      yield* this.#deletePair(pair, code);
    } else {
      yield* this.#abandonOnShared(queue, pair, code);
    }
  }

  *#deletePair(pair: QueuePair, code: number): Task<void> {
    if (this.state !== 'open') return;
    const table = this.#path.tables.get(pair);
    for (let slot = 0; slot < pair.capacity; slot++) if (table?.asker[slot] !== undefined) this.#path.abandon(pair, slot, code);
    try {
      yield* this.driver.deletePair(pair);
      pair.reap(this.#path);
      this.#path.forget(pair, code);
      this.driver.releasePair(pair);
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      this.#post.log('warn', 'a queue pair could not be deleted', { pair: pair.id, error: error.message });
      yield* this.#resetController(`queue ${pair.id} could not be deleted`);
    }
  }

  *#abandonOnShared(queue: ClientQueue, pair: QueuePair, code: number): Task<void> {
    const table = this.#path.tables.get(pair);
    if (table === undefined) return;
    const slots: number[] = [];
    for (let slot = 0; slot < pair.capacity; slot++) {
      if (table.asker[slot] !== queue) continue;
      slots.push(slot);
      if (table.queue[slot] !== undefined) this.#path.abandon(pair, slot, code);
    }
    const mine = (slot: number): boolean => table.asker[slot] === queue && this.state === 'open';
    try {
      for (const slot of slots) if (mine(slot) && pair.inFlight[slot] === 1) yield* this.driver.abort(pair, slot);
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      yield* this.#resetController(`an abort got no answer: ${error.message}`);
    }
    const deadline = this.#clock() + SETTLE_MS;
    while (slots.some(mine) && this.#clock() < deadline) yield 1;
  }

  *#createPair(entries: number, shown?: ShownEnd): Task<QueuePair> {
    let pair: QueuePair;
    try {
      pair = yield* this.driver.createPair(entries, shown);
    } catch (error) {
      if (error instanceof HardwareError && error.code === 'exhausted') throw new Refusal('noFreeQueue', 'queues');
      throw error;
    }
    if (this.state !== 'open' || pair.closed) throw new HardwareError('lost', this.lostReason);
    this.#path.tables.set(pair, new RequestTable(pair.capacity));
    return pair;
  }

  #forgetPairs(code: number): void {
    for (const pair of [...this.#path.tables.keys()]) this.#path.forget(pair, code);
    this.#sharedPair = undefined;
    for (const lease of this.leases.values()) for (const queue of lease.queues) if (queue !== undefined) queue.pair = undefined;
  }

  /** Pairs that a lease can have for itself: one is kept for leases with shared queues. */
  #freePairs(): number {
    const kept = this.#sharedPair === undefined ? 1 : 0;
    return this.driver.facts.queuePairs - this.driver.pairsInUse - kept;
  }

  *#ensureOpen(): Task<void> {
    if (this.state === 'open') return;
    if (this.state === 'lost') throw new Refusal('deviceLost', 'device', this.lostReason);
    try {
      yield* this.driver.open();
      this.#facts = this.driver.facts;
      this.state = 'open';
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      this.#post.log('error', 'the device could not be opened', { error: error.message });
      throw new Refusal('deviceUnavailable', 'device');
    }
  }

  *#closeIfUnused(): Task<void> {
    if (this.state !== 'open' || this.leases.size > 0 || this.#users > 0) return;
    const shared = this.#sharedPair;
    if (shared !== undefined) {
      this.#sharedPair = undefined;
      yield* this.#deletePair(shared, Code.aborted);
    }
    if (this.state !== 'open') return;
    this.state = 'closed';
    yield* this.driver.close();
  }

  /** A handle that no lease of this server has, and that none had for long. */
  #newHandle(): number {
    do this.#lastLease = (this.#lastLease % LEASES_OF_A_DEVICE) + 1;
    while (this.leases.has(this.#leaseBase + this.#lastLease));
    return this.#leaseBase + this.#lastLease;
  }

  #nextGeneration(): number {
    this.#generation = (this.#generation + 1) >>> 0;
    return this.#generation;
  }

  #grantOf(shares: readonly ShareGrant[], maxInFlight: number): Pick<Lease, 'grant' | 'windows'> {
    const facts = this.driver.facts;
    const judged = shares.map((share) => {
      const namespace = facts.namespaces.find((candidate) => candidate.id === share.namespace);
      if (namespace === undefined) throw new Refusal('notInGrant', 'device', share.name);
      const fits = share.blocks <= namespace.blocks && share.firstBlock <= namespace.blocks - share.blocks;
      const { compare, writeZeroes, datasetManagement } = facts.controller;
      const unsupported = (compare ? 0 : 1 << 5) | (writeZeroes ? 0 : 1 << 4) | (datasetManagement ? 0 : 1 << 6);
      return {
        blocks: fits ? share.blocks : 0,
        blockShift: Math.log2(namespace.blockBytes),
        access: fits ? share.access : Right.none,
        operations: share.operations & ~unsupported,
        maxBlocks: Math.min(MAX_BLOCKS, facts.maxTransferBytes / namespace.blockBytes),
      };
    });
    return {
      grant: { shares: judged, maxInFlight },
      windows: shares.map((share) => ({ namespace: share.namespace, firstBlock: share.firstBlock })),
    };
  }
}
