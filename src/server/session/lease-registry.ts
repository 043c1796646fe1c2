/** Which session holds which lease, and the way of an engine's events to it. */
import type { Domain } from '../domains/index.js';
import type { EngineHost } from '../engine/api.js';
import type { Log } from '../log.js';
import type { SessionLease } from './lease.js';

export class LeaseRegistry {
  readonly #leases = new Map<EngineHost, Map<number, SessionLease>>();

  constructor(engines: Iterable<EngineHost>, log: Log) {
    for (const engine of engines) {
      const leases = new Map<number, SessionLease>();
      this.#leases.set(engine, leases);
      listen(engine, leases, log);
    }
  }

  add(lease: SessionLease): void {
    this.#leases.get(lease.engine)?.set(lease.handle, lease);
  }

  /** Leases that reach the memory of a domain. */
  ofDomain(domain: Domain): { device: string; lease: number; session: number }[] {
    return [...this.#leases.values()].flatMap((leases) =>
      [...leases.values()].filter((lease) => lease.domain === domain).map((lease) => lease.where),
    );
  }

  remove(lease: SessionLease): void {
    const leases = this.#leases.get(lease.engine);
    if (leases?.get(lease.handle) === lease) leases.delete(lease.handle);
  }
}

function listen(engine: EngineHost, leases: ReadonlyMap<number, SessionLease>, log: Log): void {
  /** An event about one lease. Events about leases that just ended are late, not wrong. */
  const about = (handle: number, tell: (lease: SessionLease) => void): void => {
    const lease = leases.get(handle);
    if (lease === undefined) log.debug('event for a lease that is gone', { device: engine.name, lease: handle });
    else tell(lease);
  };
  engine.on('interrupt', (handle, vector, count) => about(handle, (lease) => lease.holder.events.interrupt(lease, vector, count)));
  engine.on('namespaceChanged', (handle, share) => about(handle, (lease) => lease.holder.events.namespaceChanged(lease, share)));
  engine.on('reset', (handle, generation, reason) => about(handle, (lease) => lease.holder.events.reset(lease, generation, reason)));
  engine.on('revoked', (handle, reason) => about(handle, (lease) => lease.holder.events.revoked(lease, reason)));
  engine.on('fault', (handle, code) => about(handle, (lease) => lease.holder.events.ringFault(code)));
  engine.on('deviceLost', (reason) => {
    for (const lease of leases.values()) lease.holder.events.deviceLost(lease, reason);
  });
  engine.on('deviceRestored', (restored) => {
    for (const { lease: handle, generation } of restored) about(handle, (lease) => lease.holder.events.deviceRestored(lease, generation));
  });
}
