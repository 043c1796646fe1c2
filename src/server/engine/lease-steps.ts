/**
 * What is done to one lease and its queues, in steps.
 *
 * Each task but `settle` is a part of those of `Device`, which run one at a time; nobody else waits while a lease settles.
 */
import type { Task } from '../../hw/task.js';
import { Refusal, type OpenLease, type OpenedLease } from './api.js';
import type { ChannelMemory } from './channel.js';
import { ClientQueue } from './client-queue.js';
import { grantOf } from './grant.js';
import type { Holders } from './holders.js';
import { Lease } from './lease.js';
import type { DeviceParts, Lifecycle } from './lifecycle.js';
import type { Scheduler } from './scheduler.js';
import type { TenantState } from './tenant-state.js';

/** How long a command that was aborted, or whose lease ends, may still take. */
export const SETTLE_MS = 1_000;

export class LeaseSteps {
  readonly #parts: DeviceParts;
  readonly #holders: Holders;
  readonly #life: Lifecycle;
  readonly #scheduler: Scheduler;

  constructor(parts: DeviceParts, holders: Holders, life: Lifecycle, scheduler: Scheduler) {
    this.#parts = parts;
    this.#holders = holders;
    this.#life = life;
    this.#scheduler = scheduler;
  }

  /** `isFree`: nothing of an earlier holder is left. */
  *open(request: OpenLease, tenant: TenantState, isFree: () => boolean): Task<OpenedLease> {
    const { driver, clock } = this.#parts;
    if (this.#life.state === 'lost') throw new Refusal('deviceLost', 'device', this.#life.lostReason);
    this.#holders.checkMode(request.mode, request.domain, isFree);
    if (tenant.isOut(clock())) throw new Refusal('tooManyStrikes', 'device', tenant.strikes(clock()));
    yield* this.#life.open();
    try {
      if (request.queues === 'own' && this.#life.pairs.free < 1) throw new Refusal('noFreeQueue', 'queues', 'own');
      const grant = grantOf(driver.facts, request.shares, request.maxInFlight);
      const lease = new Lease({
        handle: this.#holders.newHandle(),
        tenant,
        session: request.session,
        domainId: request.domain,
        domain: this.#holders.domain(request.domain),
        mode: request.mode,
        kind: request.queues,
        maxQueues: request.maxQueues,
        ringViews: request.ringViews,
        ...grant,
        generation: this.#holders.nextGeneration(),
      });
      this.#holders.add(lease);
      return {
        lease: lease.handle,
        generation: lease.generation,
        vectors: this.vectorsOf(lease),
        maxBlocks: grant.grant.shares.map((share) => share.maxBlocks),
      };
    } catch (error) {
      yield* this.#life.closeIfUnused();
      throw error;
    }
  }

  vectorsOf(lease: Lease): number {
    return this.#parts.driver.facts.vectors === 0 ? 0 : lease.maxQueues;
  }

  *openQueue(lease: Lease, channel: number, memory: ChannelMemory, tagSeed: number): Task<ClientQueue> {
    if (this.#life.state !== 'open') throw new Refusal('deviceLost', 'lease', lease.handle);
    if (!lease.active) throw new Refusal('leaseNotActive', 'lease', lease.handle);
    let index = 0;
    while (lease.queues[index] !== undefined) index++;
    if (index >= lease.maxQueues) throw new Refusal('queueLimit', 'lease', lease.handle);
    const queue = new ClientQueue(lease, index, channel, memory, tagSeed);
    yield* this.#life.pairs.connect(queue);
    // The device may have been lost on the way.
    if (this.#life.state !== 'open') throw new Refusal('deviceLost', 'lease', lease.handle);
    lease.queues[index] = queue;
    return queue;
  }

  *closeQueue(lease: Lease, queue: ClientQueue, code: number): Task<void> {
    this.#scheduler.remove(queue);
    // Before anything else: a reset on the way would give it a new queue pair.
    lease.queues[queue.queue] = undefined;
    try {
      yield* this.#life.pairs.disconnect(queue, code);
    } finally {
      queue.leaveRings();
    }
  }

  *closeQueues(lease: Lease, code: number): Task<void> {
    for (const queue of lease.queues) if (queue !== undefined) yield* this.closeQueue(lease, queue, code);
  }

  /** Waits a while for the commands of the lease that were given up. */
  *settle(lease: Lease): Task<void> {
    const { clock } = this.#parts;
    const deadline = clock() + SETTLE_MS;
    while (lease.abandoned > 0 && clock() < deadline && this.#life.state === 'open') yield 1;
  }

  /** Ends a lease whose queues are closed and had time to settle. */
  *close(lease: Lease): Task<void> {
    const { leases } = this.#holders;
    if (!leases.has(lease.handle)) return;
    this.#holders.remove(lease);
    if (this.#life.state === 'open' && lease.abandoned > 0 && leases.size === 0) yield* this.#life.reset('commands of the last lease do not end');
    yield* this.#life.closeIfUnused();
  }

  /** The lease's new generation, and whether all is done; otherwise `resume` follows once its commands have had time to end. */
  *reset(lease: Lease, reason: string, code: number): Task<readonly [generation: number, ended: boolean]> {
    this.#checkOpen(lease);
    lease.tenant.statistics.countReset();
    if (lease.mode === 'exclusive') {
      yield* this.#life.reset(reason);
      return [lease.generation, true];
    }
    lease.active = false;
    lease.generation = this.#holders.nextGeneration();
    const resets = this.#life.resetsEnded;
    for (const queue of lease.queues) {
      if (queue !== undefined) yield* this.#life.pairs.disconnect(queue, code);
      // If the controller had to be reset for it, all is done, and told.
      if (this.#life.resetsEnded !== resets) return [lease.generation, true];
    }
    if (lease.kind === 'shared') return [lease.generation, false];
    // Before anybody else gets its queue pairs. Their deletion has ended every command.
    return [yield* this.resume(lease, lease.generation, reason), true];
  }

  /** Ends the reset that gave the lease this generation. */
  *resume(lease: Lease, generation: number, reason: string): Task<number> {
    this.#checkOpen(lease);
    // A later reset, of the lease or of the controller, does the rest.
    if (lease.generation !== generation) return lease.generation;
    try {
      for (const queue of lease.queues) if (queue !== undefined) yield* this.#life.pairs.connect(queue);
    } catch (error) {
      if (this.#life.state !== 'open') throw error;
      if (error instanceof Refusal) {
        this.#parts.post.event('revoked', [lease.handle, 'no queue pair is left for it']);
        throw error;
      }
      yield* this.#life.reset(`a queue could not be made again: ${error instanceof Error ? error.message : String(error)}`);
      return lease.generation;
    }
    this.#checkOpen(lease);
    lease.active = true;
    this.#parts.post.event('reset', [lease.handle, lease.generation, reason]);
    return lease.generation;
  }

  #checkOpen(lease: Lease): void {
    if (!this.#holders.leases.has(lease.handle) || lease.closing) throw new Refusal('unknownLease', 'lease', lease.handle);
    if (this.#life.state !== 'open') throw new Refusal('deviceLost', 'lease', lease.handle);
  }
}
