/**
 * One device and the leases on it: opened by the first, closed after the last (R12, R17), reset by whoever is alone.
 *
 * Every method that takes time is a task; those that change queues run one at a time.
 */
import { Code, MAX_BLOCKS, Right, type LeaseMode } from '../../protocol/index.js';
import type { Backing } from '../../hw/backing.js';
import { DeviceDomain } from '../../hw/dma/index.js';
import { NvmeDriver, type NvmeFacts, type QueuePair } from '../../hw/nvme/index.js';
import { HardwareError, type Clock, type Task } from '../../hw/task.js';
import { Refusal, type DeviceReport, type DeviceState, type OpenLease, type OpenedLease, type ShareGrant } from './api.js';
import type { ChannelMemory } from './channel.js';
import { ClientQueue } from './client-queue.js';
import { Lease } from './lease.js';
import type { EnginePost } from './control.js';
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
  #nextLease = 1;
  #generation = 0;
  #wasFree = true;

  constructor(backing: Backing, driver: NvmeDriver, path: RequestPath, scheduler: Scheduler, clock: Clock, post: EnginePost) {
    this.#backing = backing;
    this.driver = driver;
    this.#path = path;
    this.#scheduler = scheduler;
    this.#clock = clock;
    this.#post = post;
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
    return yield* this.#mutex.run(() => this.#openLease(request, tenant));
  }

  /** Ends a lease: when it returns, its requests are answered, its queues deleted, and the device no longer works for it. */
  *closeLease(handle: number, code: number): Task<void> {
    const lease = this.leases.get(handle);
    if (lease === undefined) return;
    lease.active = false;
    lease.closing = true;
    yield* this.#mutex.run(() => this.#closeLease(lease, code));
  }

  *openQueue(handle: number, channel: number, memory: ChannelMemory, tagSeed: number): Task<ClientQueue> {
    return yield* this.#mutex.run(() => this.#openQueue(this.lease(handle), channel, memory, tagSeed));
  }

  *closeQueue(handle: number, index: number): Task<void> {
    const lease = this.lease(handle);
    yield* this.#mutex.run(() => this.#closeQueue(lease, this.queue(lease, index), Code.aborted));
  }

  /** A lease's own reset: its requests end, its queues are empty, nobody else notices (R21). */
  *resetLease(handle: number, reason: string): Task<number> {
    const lease = this.lease(handle);
    lease.active = false;
    return yield* this.#mutex.run(() => this.#resetLease(lease, reason, Code.reset));
  }

  /** Resets the controller: everybody's requests end with `reset`, and every open queue is made again. */
  *resetController(reason: string): Task<void> {
    yield* this.#mutex.run(() => this.#resetController(reason));
  }

  /** What the ladder does last for a command that does not end: see `Watchdog`. */
  *recoverQueue(lease: Lease, reason: string): Task<void> {
    lease.active = false;
    yield* this.#mutex.run(() => this.#resetLease(lease, reason, Code.timeout));
  }

  /** The device is gone: every request in flight is answered, and nothing more is asked of it. */
  *lose(reason: string): Task<void> {
    if (this.state === 'lost') return;
    this.state = 'lost';
    this.lostReason = reason;
    for (const lease of this.leases.values()) lease.active = false;
    this.#forgetPairs(Code.deviceLost);
    this.#post.event('deviceLost', [reason]);
    yield* this.#mutex.run(() => this.driver.close());
  }

  /** Tries to bring a lost device back; its leases go on with a new generation. True if it worked. */
  *revive(): Task<boolean> {
    if (this.state !== 'lost' || this.#backing.lost !== undefined) return false;
    return yield* this.#mutex.run(() => this.#revive());
  }

  /** Work of the server itself that needs the device open. */
  *withOpen<T>(work: () => Task<T>): Task<T> {
    yield* this.#mutex.run(() => this.#ensureOpen());
    this.#users++;
    try {
      return yield* work();
    } finally {
      this.#users--;
      if (this.state !== 'lost') yield* this.#mutex.run(() => this.#closeIfUnused());
    }
  }

  /** When it returns, no request that was admitted under the earlier grant is in flight: its windows can be given away. */
  *replaceGrant(handle: number, shares: readonly ShareGrant[]): Task<void> {
    const lease = this.lease(handle);
    Object.assign(lease, this.#grantOf(shares, lease.grant.maxInFlight));
    const replaced = this.#clock();
    while (this.#path.oldest((asker) => asker.owner === lease) <= replaced) yield 1;
  }

  /**
   * Waits until no command of a lease that has ended is left: a write that comes late must not hit what the window holds by then. If they do not end, the
   * controller is reset.
   */
  *settleOrphans(): Task<void> {
    const orphans = (): boolean => this.#path.oldest((asker) => !this.leases.has(asker.lease)) < Infinity;
    const deadline = this.#clock() + SETTLE_MS;
    while (orphans() && this.#clock() < deadline) yield 1;
    if (orphans()) yield* this.resetController('commands of an ended lease do not end');
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

  /** How many queue pairs raise a hardware vector. */
  pairsOnVector(vector: number): number {
    let count = 0;
    for (const pair of this.#path.tables.keys()) if (pair.vector === vector) count++;
    return count;
  }

  report(): DeviceReport {
    const heldBy: string[] = [];
    for (const lease of this.leases.values()) heldBy.push(`lease ${lease.handle} of tenant ${lease.tenant.name}${lease.closing ? ', closing' : ''}`);
    let regions = 0;
    let quarantineBytes = 0;
    for (const domain of this.domains.values()) {
      domain.memory.forEach((memory, slot) => {
        if (memory === undefined) return;
        regions++;
        if (domain.handles[slot] === 0) quarantineBytes += memory.bytes;
      });
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
        handle: this.#nextLease++,
        tenant,
        session: request.session,
        domainId: request.domain,
        domain: this.domain(request.domain),
        mode: request.mode,
        kind: request.queues,
        maxQueues: request.maxQueues,
        ...grant,
        generation: this.#nextGeneration(),
      });
      this.leases.set(lease.handle, lease);
      tenant.leases++;
      this.#wasFree = false;
      return {
        lease: lease.handle,
        generation: lease.generation,
        vectors: this.driver.facts.vectors === 0 ? 0 : lease.maxQueues,
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
    if (left !== undefined && left !== domain && this.domains.get(left)?.memory.some((memory) => memory !== undefined)) {
      throw new Refusal('notFree', 'mode', mode);
    }
    this.#exclusiveDomain = undefined;
  }

  *#closeLease(lease: Lease, code: number): Task<void> {
    if (!this.leases.has(lease.handle)) return;
    for (const queue of lease.queues) if (queue !== undefined) yield* this.#closeQueue(lease, queue, code);
    const deadline = this.#clock() + SETTLE_MS;
    while (lease.abandoned > 0 && this.#clock() < deadline && this.state === 'open') yield 1;
    this.leases.delete(lease.handle);
    lease.tenant.leases--;
    if (lease.mode === 'exclusive') this.#exclusiveDomain = lease.domainId;
    if (this.state === 'open' && lease.abandoned > 0 && this.leases.size === 0) yield* this.#resetController('commands of the last lease do not end');
    yield* this.#closeIfUnused();
  }

  *#openQueue(lease: Lease, channel: number, memory: ChannelMemory, tagSeed: number): Task<ClientQueue> {
    if (!lease.active) throw new Refusal('leaseNotActive', 'lease', lease.handle);
    let index = 0;
    while (lease.queues[index] !== undefined) index++;
    if (index >= lease.maxQueues) throw new Refusal('queueLimit', 'lease', lease.handle);
    const queue = new ClientQueue(lease, index, channel, memory, tagSeed);
    yield* this.#connect(queue);
    lease.queues[index] = queue;
    return queue;
  }

  *#closeQueue(lease: Lease, queue: ClientQueue, code: number): Task<void> {
    this.#scheduler.remove(queue);
    yield* this.#disconnect(queue, code);
    lease.queues[queue.queue] = undefined;
  }

  *#resetLease(lease: Lease, reason: string, code: number): Task<number> {
    if (!this.leases.has(lease.handle) || lease.closing) throw new Refusal('unknownLease', 'lease', lease.handle);
    if (this.state !== 'open') throw new Refusal('deviceLost', 'lease', lease.handle);
    lease.tenant.statistics.countReset();
    if (lease.mode === 'exclusive') {
      yield* this.#resetController(reason);
      return lease.generation;
    }
    lease.generation = this.#nextGeneration();
    for (const queue of lease.queues) if (queue !== undefined) yield* this.#disconnect(queue, code);
    for (const queue of lease.queues) if (queue !== undefined) yield* this.#connect(queue);
    lease.active = true;
    this.#post.event('reset', [lease.handle, lease.generation, reason]);
    return lease.generation;
  }

  *#resetController(reason: string): Task<void> {
    if (this.state !== 'open') return;
    this.state = 'resetting';
    this.resets++;
    this.#post.log('warn', 'controller reset', { reason });
    const active = [...this.leases.values()].filter((lease) => !lease.closing);
    for (const lease of active) lease.active = false;
    try {
      yield* this.driver.disable();
      this.#forgetPairs(Code.reset);
      yield* this.driver.enable();
      this.state = 'open';
      yield* this.#resume(active);
      for (const lease of active) this.#post.event('reset', [lease.handle, lease.generation, reason]);
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      this.state = 'lost';
      this.lostReason = error.message;
      this.#forgetPairs(Code.deviceLost);
      this.#post.event('deviceLost', [error.message]);
      yield* this.driver.close();
    }
  }

  *#revive(): Task<boolean> {
    try {
      yield* this.driver.open();
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      return false;
    }
    this.state = 'open';
    this.lostReason = '';
    const active = [...this.leases.values()].filter((lease) => !lease.closing);
    yield* this.#resume(active);
    this.#post.event('deviceRestored', [active.map((lease) => ({ lease: lease.handle, generation: lease.generation }))]);
    yield* this.#closeIfUnused();
    return true;
  }

  /** Leases go on with new generations and new hardware queues. */
  *#resume(leases: readonly Lease[]): Task<void> {
    for (const lease of leases) {
      lease.generation = this.#nextGeneration();
      for (const queue of lease.queues) if (queue !== undefined) yield* this.#connect(queue);
      lease.active = true;
    }
  }

  /** Gives a queue its hardware queue pair: one of its own, or the one that is shared. */
  *#connect(queue: ClientQueue): Task<void> {
    if (queue.pair !== undefined) return;
    if (queue.owner.kind === 'own') {
      if (this.#freePairs() < 1) throw new Refusal('noFreeQueue', 'queues', 'own');
      queue.pair = yield* this.#createPair(queue.entries * 2);
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
    for (const slot of slots) if (mine(slot) && pair.inFlight[slot] === 1) yield* this.driver.abort(pair, slot);
    const deadline = this.#clock() + SETTLE_MS;
    while (slots.some(mine) && this.#clock() < deadline) yield 1;
  }

  *#createPair(entries: number): Task<QueuePair> {
    const pair = yield* this.driver.createPair(entries);
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
    return this.driver.facts.queuePairs - this.#path.tables.size - kept;
  }

  *#ensureOpen(): Task<void> {
    if (this.state === 'open') return;
    if (this.state === 'lost') throw new Refusal('deviceLost', 'device', this.lostReason);
    try {
      yield* this.driver.open();
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
