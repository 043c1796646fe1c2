/**
 * Whose turn it is: deficit round robin between tenants by weight, in a cost of requests and bytes, with a window of requests in flight that tenants
 * share by weight while several want it. An idle tenant costs nothing: only queues with work are looked at.
 */
import { Code } from '../../protocol/index.js';
import type { ClientQueue } from './client-queue.js';
import type { RequestPath } from './request-path.js';
import { REQUEST_COST } from './request-path.js';
import type { TenantState } from './tenant-state.js';

/** Cost that a tenant of weight 100 may use in one round; what it overdraws is taken off its next rounds. */
const QUANTUM = 32 * REQUEST_COST;
const NORMAL_WEIGHT = 100;
/** Requests in flight on a device over all tenants while more than one has work. */
const WINDOW = 512;
/** A tenant may always have so many in flight. */
const MIN_SHARE = 8;
/** Requests that one turn takes of a queue: their answers are on their way while the next ones are worked on. */
const TURN_REQUESTS = 128;
/** Reading ahead pays from so many requests on. */
const PREFETCH_REQUESTS = 4;
/** Turns without a request after which a queue is no longer polled. */
const IDLE_TURNS = 64;

export class Scheduler {
  readonly #path: RequestPath;
  readonly #onFault: (queue: ClientQueue, code: number) => void;
  readonly #tenants: TenantState[] = [];
  #next = 0;
  #weights = 0;
  /** Milliseconds until a rate lets somebody go on; Infinity when nobody waits for one. */
  throttled = Infinity;

  constructor(path: RequestPath, onFault: (queue: ClientQueue, code: number) => void) {
    this.#path = path;
    this.#onFault = onFault;
  }

  /** Polls the queue from now on. */
  activate(queue: ClientQueue): void {
    if (queue.polled) return;
    queue.polled = true;
    queue.awake();
    const tenant = queue.owner.tenant;
    tenant.queues.push(queue);
    if (tenant.scheduled) return;
    tenant.scheduled = true;
    tenant.deficit = Math.min(tenant.deficit, 0);
    this.#tenants.push(tenant);
    this.#weights += tenant.weight;
  }

  setWeight(tenant: TenantState, weight: number): void {
    if (tenant.scheduled) this.#weights += weight - tenant.weight;
    tenant.weight = weight;
  }

  /** Forgets the queue: it is gone. */
  remove(queue: ClientQueue): void {
    if (!queue.polled) return;
    const tenant = queue.owner.tenant;
    this.#unpoll(tenant, queue, tenant.queues.indexOf(queue));
    if (tenant.queues.length === 0) this.#retire(tenant);
  }

  /** One round over the tenants that have work. Returns how many requests were taken. */
  turn(now: number): number {
    this.throttled = Infinity;
    let taken = 0;
    for (let count = this.#tenants.length; count > 0 && this.#tenants.length > 0; count--) {
      if (this.#next >= this.#tenants.length) this.#next = 0;
      const tenant = this.#tenants[this.#next];
      taken += this.#serve(tenant, now);
      if (tenant.queues.length > 0) this.#next++;
      else this.#retire(tenant);
    }
    // Another one comes first next time: what became free on a queue pair that several use is not always the same tenant's.
    this.#next = this.#tenants.length === 0 ? 0 : ((this.#next % this.#tenants.length) + 1) % this.#tenants.length;
    return taken;
  }

  /**
   * Before the engine sleeps: stops polling every queue of which no request can be taken, so that its client says when that changes. False when there is
   * work that can be done at once. A queue whose requests have to wait (for its rate, for room on the device) stays polled: what they wait for ends the sleep.
   */
  rest(): boolean {
    for (let index = this.#tenants.length - 1; index >= 0; index--) {
      const tenant = this.#tenants[index];
      for (let at = tenant.queues.length - 1; at >= 0; at--) {
        const queue = tenant.queues[at];
        if (queue.available() === 0 && queue.sleep()) this.#unpoll(tenant, queue, at);
        else if (this.throttled === Infinity && (queue.pair === undefined || queue.pair.room > 0)) return false;
      }
      if (tenant.queues.length === 0) this.#retire(tenant);
    }
    return true;
  }

  inspect(): unknown {
    return this.#tenants.map((tenant) => ({ tenant: tenant.name, queues: tenant.queues.length, deficit: tenant.deficit, inFlight: tenant.inFlight }));
  }

  #serve(tenant: TenantState, now: number): number {
    const wait = Math.max(tenant.operations.wait(now), tenant.bytes.wait(now));
    if (wait > 0) {
      this.throttled = Math.min(this.throttled, wait);
      return 0;
    }
    const alone = this.#tenants.length === 1;
    const quantum = (QUANTUM * tenant.weight) / NORMAL_WEIGHT;
    tenant.deficit = alone ? Infinity : Math.min(quantum, tenant.deficit + quantum);
    const most = alone ? Infinity : Math.max(MIN_SHARE, (WINDOW * tenant.weight) / this.#weights);
    let taken = 0;
    for (let count = tenant.queues.length; count > 0; count--) {
      if (tenant.nextQueue >= tenant.queues.length) tenant.nextQueue = 0;
      const queue = tenant.queues[tenant.nextQueue];
      const before = taken;
      taken += this.#drain(tenant, queue, most, now);
      if (taken === before && this.#rest(tenant, queue)) continue;
      tenant.nextQueue++;
      if (tenant.deficit <= 0) break;
    }
    return taken;
  }

  #drain(tenant: TenantState, queue: ClientQueue, most: number, now: number): number {
    const available = queue.available();
    if (available < 0) {
      this.#onFault(queue, Code.ringContract);
      return 0;
    }
    const end = Math.min(available, TURN_REQUESTS);
    let taken = 0;
    if (end >= PREFETCH_REQUESTS) queue.prefetch(end);
    while (taken < end && tenant.deficit > 0 && tenant.inFlight < most) {
      const pair = queue.pair;
      if (pair !== undefined && pair.room === 0) break;
      if (taken > 0 && Math.max(tenant.operations.wait(now), tenant.bytes.wait(now)) > 0) break;
      tenant.deficit -= this.#path.takeOne(queue);
      taken++;
    }
    if (taken > 0) {
      queue.publishHead();
      queue.idleTurns = 0;
    }
    return taken;
  }

  /** Stops polling a queue that has been idle for long. True if it did. */
  #rest(tenant: TenantState, queue: ClientQueue): boolean {
    if (!queue.polled) return true;
    if (queue.available() !== 0) return false;
    if (++queue.idleTurns < IDLE_TURNS) return false;
    if (!queue.sleep()) return false;
    this.#unpoll(tenant, queue, tenant.queues.indexOf(queue));
    return true;
  }

  #unpoll(tenant: TenantState, queue: ClientQueue, at: number): void {
    queue.polled = false;
    tenant.queues.splice(at, 1);
  }

  #retire(tenant: TenantState): void {
    if (!tenant.scheduled) return;
    tenant.scheduled = false;
    this.#weights -= tenant.weight;
    const index = this.#tenants.indexOf(tenant);
    this.#tenants.splice(index, 1);
    if (index < this.#next) this.#next--;
  }
}
