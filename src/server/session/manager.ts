/** All sessions of the server, and what concerns them together: limits, reload of the configuration, the end of the server. */
import { setTimeout as sleep } from 'node:timers/promises';
import { DomainRegistry } from '../domains/index.js';
import { type EngineHost, Refusal, type RegionDma } from '../engine/api.js';
import { HandedOver, type Tickets } from '../handover/index.js';
import type { Log } from '../log.js';
import type { Audit, Isolation, ServerLimits, TenantDirectory } from '../policy.js';
import { messageOf } from '../text.js';
import type { Connection, Peer } from './connection.js';
import { Gate } from './gate.js';
import { LeaseRegistry } from './lease-registry.js';
import { reconcileLease } from './policy.js';
import { Status } from './refusals.js';
import type { SessionServices } from './services.js';
import { Session } from './session.js';

/** How often a drain looks whether all is done, in milliseconds. */
const DRAIN_TURN_MILLISECONDS = 5;

export interface SessionManagerOptions {
  readonly engines: ReadonlyMap<string, EngineHost>;
  readonly directory: () => TenantDirectory;
  readonly limits: ServerLimits;
  readonly log: Log;
  readonly audit: Audit;
  readonly tickets: Tickets;
  readonly overflowUid: number;
  /** For example `ringwarden 0.1.0`. */
  readonly serverVersion: string;
}

/** A session, for `status`. */
export interface SessionStatus {
  readonly session: number;
  /** Empty before hello. */
  readonly tenant: string;
  readonly isolation: Isolation;
  readonly client: string;
  readonly peer: Peer;
  /** Milliseconds since the epoch. */
  readonly since: number;
  readonly domain: number | undefined;
  /** How devices get at the memory of its domain that a client may map. */
  readonly dma: RegionDma | undefined;
  readonly leases: readonly {
    lease: number;
    device: string;
    mode: string;
    queues: string;
    generation: number;
    openQueues: number;
    inFlight: number;
  }[];
  /** Bytes that the peer has not read yet. */
  readonly waitingBytes: number;
  /** It is being taken down. */
  readonly ending: boolean;
}

export class SessionManager {
  readonly domains: DomainRegistry;
  /** What clients were given. */
  readonly handedOver = new HandedOver();
  /** Who may connect; for the listeners. */
  readonly gate: Gate;
  readonly #options: SessionManagerOptions;
  readonly #services: SessionServices;
  readonly #sessions = new Set<Session>();
  #lastNumber = 0;
  #draining = false;

  constructor(options: SessionManagerOptions) {
    const { engines, directory, limits, log, audit, tickets, overflowUid, serverVersion } = options;
    this.#options = options;
    this.gate = new Gate(limits);
    this.domains = new DomainRegistry(engines.values(), log, () => directory().all.length);
    this.#services = {
      engines,
      directory,
      limits,
      domains: this.domains,
      leases: new LeaseRegistry(engines.values(), log),
      audit,
      tickets,
      handedOver: this.handedOver,
      overflowUid,
      log,
      serverVersion,
      isDraining: () => this.#draining,
      checkSessionLimit: (tenant, most) => this.#checkSessionLimit(tenant, most),
    };
    for (const [name, engine] of engines) engine.on('free', () => this.#onFree(name));
  }

  /** A connection was made: it becomes a session, which has to say hello first. */
  accept(connection: Connection, peer: Peer): void {
    const session = new Session(++this.#lastNumber, connection, peer, this.#services);
    this.#sessions.add(session);
    void session.finished.then(() => this.#sessions.delete(session));
  }

  /** A connection too many: it is told so, and closed. */
  refuse(connection: Connection, peer: Peer): void {
    new Session(++this.#lastNumber, connection, peer, this.#services).refuse(new Refusal('connectionLimit'), 0);
  }

  /** Sessions that are not being taken down. */
  get count(): number {
    let count = 0;
    for (const session of this.#sessions) if (!session.ended) count++;
    return count;
  }

  list(): SessionStatus[] {
    return [...this.#sessions].map((session) => ({
      session: session.number,
      tenant: session.tenantName,
      isolation: session.isolation,
      client: session.client,
      peer: session.peer,
      since: session.since,
      domain: session.domain?.number,
      dma: session.domain?.dma,
      leases: [...session.leases.values()].map((lease) => ({
        lease: lease.handle,
        device: lease.engine.name,
        mode: lease.mode,
        queues: lease.queueKind,
        generation: lease.generation,
        openQueues: lease.queues.size,
        inFlight: lease.inFlight,
      })),
      waitingBytes: session.waitingBytes,
      ending: session.ended,
    }));
  }

  /**
   * The directory was replaced: sessions whose credentials no longer prove their tenant end, leases that their grant no longer covers are revoked, the others
   * go on with the rights and limits of now.
   */
  async applyPolicy(): Promise<void> {
    const directory = this.#options.directory();
    await Promise.all([...this.#sessions].map((session) => this.#applyPolicy(session, directory)));
  }

  async #applyPolicy(session: Session, directory: TenantDirectory): Promise<void> {
    if (session.ended || !session.authenticated) return;
    const proved = directory.authenticate({ ...session.credentials, tenant: session.tenantName });
    if (proved !== undefined) session.adopt(proved.tenant, proved.isolation);
    for (const lease of [...session.leases.values()]) {
      // What ended meanwhile is no longer this session's to speak of.
      if (lease.closing) continue;
      try {
        const covered = await reconcileLease(lease, proved?.tenant.grants.get(lease.engine.name));
        if (!covered) session.events.revoked(lease, 'the configuration no longer grants it');
      } catch (error) {
        this.#options.log.error('a grant could not be replaced', { session: session.number, lease: lease.handle, error: messageOf(error) });
        session.events.revoked(lease, 'its grant could not be replaced');
      }
    }
    if (proved === undefined) session.refuse(new Refusal('authenticationFailed'), 0);
  }

  /** Ends every session of a tenant, or one session; for the administrator. Returns how many. */
  end(which: { readonly tenant: string } | { readonly session: number }, reason: string): number {
    const chosen = [...this.#sessions].filter((session) =>
      session.ended ? false : 'tenant' in which ? session.tenantName === which.tenant : session.number === which.session,
    );
    for (const session of chosen) session.close(Status.policyViolation, reason);
    return chosen.length;
  }

  /**
   * The server is going to end: tells all clients, refuses new work, waits up to `milliseconds` for what is under way, then closes every session. Resolves
   * when they are taken down.
   */
  async drain(milliseconds: number): Promise<void> {
    const deadline = performance.now() + milliseconds;
    this.#draining = true;
    for (const session of this.#sessions) session.announceDrain(milliseconds);
    while (performance.now() < deadline && [...this.#sessions].some((session) => !session.ended && session.busy)) {
      await sleep(DRAIN_TURN_MILLISECONDS);
    }
    for (const session of this.#sessions) session.close(Status.goingAway, 'the server is shutting down');
    await Promise.all([...this.#sessions].map((session) => session.finished));
  }

  #checkSessionLimit(tenant: string, most: number): void {
    let live = 0;
    let ending = 0;
    for (const session of this.#sessions) {
      if (session.tenantName !== tenant) continue;
      if (session.ended) ending++;
      else live++;
    }
    // Sessions that are being taken down still hold something: who comes and goes faster than that has to wait, too.
    if (live >= most || ending >= most) throw new Refusal('sessionLimit', '', Math.max(live, ending));
  }

  #onFree(device: string): void {
    for (const session of this.#sessions) if (!session.ended && session.authenticated) void session.waits.check(device);
  }
}
