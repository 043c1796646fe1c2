/** Who is on a device: its leases, their domains, and the numbers that they get. */
import { DeviceDomain } from '../../hw/dma/index.js';
import type { LeaseMode } from '../../protocol/index.js';
import { Refusal } from './api.js';
import type { ClientQueue } from './client-queue.js';
import { LEASES_OF_A_DEVICE } from './control.js';
import type { Lease } from './lease.js';

export class Holders {
  readonly leases = new Map<number, Lease>();
  readonly domains = new Map<number, DeviceDomain>();
  /** Domain of the last exclusive holder: while memory of it is left, nobody else gets in (R22). */
  #exclusiveDomain: number | undefined;
  readonly #leaseBase: number;
  #lastLease: number;
  #generation = 1 + Math.floor(Math.random() * 0x7fff_ffff);

  /** `lastLease`: counted on from the handle that was given last, of an earlier thread. */
  constructor(leaseBase: number, lastLease: number) {
    this.#leaseBase = leaseBase;
    this.#lastLease = lastLease;
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

  add(lease: Lease): void {
    this.leases.set(lease.handle, lease);
    lease.tenant.leases++;
  }

  remove(lease: Lease): void {
    this.leases.delete(lease.handle);
    lease.tenant.leases--;
    this.dropDomain(lease.domainId);
    if (lease.mode === 'exclusive') this.#exclusiveDomain = lease.domainId;
  }

  /** @throws {@link Refusal} `deviceBusy` or `notFree` when a lease of this mode has no place beside the others, or after the last exclusive one. */
  checkMode(mode: LeaseMode, domain: number, isFree: () => boolean): void {
    for (const lease of this.leases.values()) {
      if (mode === 'exclusive' || lease.mode === 'exclusive') throw new Refusal(lease.closing ? 'notFree' : 'deviceBusy', 'mode', mode);
    }
    if (mode === 'exclusive' && !isFree()) throw new Refusal('notFree', 'mode', mode);
    const left = this.#exclusiveDomain;
    if (left !== undefined && left !== domain && (this.domains.get(left)?.count ?? 0) > 0) throw new Refusal('notFree', 'mode', mode);
    this.#exclusiveDomain = undefined;
  }

  /** A handle that no lease of this server has, and that none had for long. */
  newHandle(): number {
    do this.#lastLease = (this.#lastLease % LEASES_OF_A_DEVICE) + 1;
    while (this.leases.has(this.#leaseBase + this.#lastLease));
    return this.#leaseBase + this.#lastLease;
  }

  nextGeneration(): number {
    this.#generation = (this.#generation + 1) >>> 0;
    return this.#generation;
  }
}
