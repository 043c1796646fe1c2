/** One session: a peer, the tenant that it proved to be, and what it holds. */
import { CODES, type EventMessage } from '../../protocol/index.js';
import type { Domain } from '../domains/index.js';
import { Refusal } from '../engine/api.js';
import type { Log } from '../log.js';
import type { Credentials, Isolation, Tenant } from '../policy.js';
import { messageOf } from '../text.js';
import { encode } from '../wire/index.js';
import type { Connection, Peer } from './connection.js';
import { Dispatcher } from './dispatcher.js';
import type { LeaseHolder, SessionLease } from './lease.js';
import { LeaseEvents } from './lease-events.js';
import { Outlet } from './outlet.js';
import { closeStatus, errorMessage, refusalOf } from './refusals.js';
import type { SessionServices } from './services.js';
import { StagingPool } from './staging-pool.js';
import { DeviceWaits } from './waits.js';

/** How long a client may take to read that the server drains, in milliseconds: submits that cross that message are still taken. */
const CROSSING_MILLISECONDS = 2_000;

export class Session implements LeaseHolder {
  readonly number: number;
  readonly peer: Peer;
  readonly services: SessionServices;
  readonly outlet: Outlet;
  readonly leases = new Map<number, SessionLease>();
  readonly waits: DeviceWaits;
  readonly events: LeaseEvents;
  /** Milliseconds since the epoch. */
  readonly since = Date.now();
  domain: Domain | undefined;
  stagings: StagingPool | undefined;
  isolation: Isolation = 'none';
  /** What the program calls itself. */
  client = '';
  credentials: Credentials = {};
  /** Resolves when nothing of the session is left. */
  readonly finished: Promise<void>;
  readonly #connection: Connection;
  readonly #dispatcher: Dispatcher;
  /** Resolves when the connection is closed. */
  readonly #closed: Promise<void>;
  #finish: () => void = () => undefined;
  #tenant: Tenant | undefined;
  #lastQueueKey = 0;
  #draining: 'no' | 'announced' | 'known' = 'no';
  #ended = false;

  constructor(number: number, connection: Connection, peer: Peer, services: SessionServices) {
    this.number = number;
    this.peer = peer;
    this.services = services;
    this.#connection = connection;
    this.finished = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.outlet = new Outlet(
      connection,
      services.limits,
      () => this.#onClear(),
      () => this.#onOverflow(),
    );
    this.waits = new DeviceWaits(this);
    this.events = new LeaseEvents(this);
    this.#dispatcher = new Dispatcher(this, connection);
    connection.onTooLarge = (limit) => this.refuse(new Refusal('messageTooLarge', 'messageBytes', limit), 0);
    connection.onViolation = (what) => {
      if (!this.#ended) this.#record(new Refusal('malformed', '', what));
    };
    this.#closed = new Promise((resolve) => {
      connection.onEnd = (reason) => {
        resolve();
        this.#end(reason);
      };
    });
  }

  get authenticated(): boolean {
    return this.#tenant !== undefined;
  }

  /** Only after hello. */
  get tenant(): Tenant {
    if (this.#tenant === undefined) throw new Refusal('notAuthenticated');
    return this.#tenant;
  }

  /** The name of the tenant; the empty string before hello. */
  get tenantName(): string {
    return this.#tenant?.name ?? '';
  }

  get ended(): boolean {
    return this.#ended;
  }

  get log(): Log {
    return this.services.log;
  }

  /** The client knows that the server drains: it gets no request in any more. */
  get takesNoSubmits(): boolean {
    return this.#draining === 'known';
  }

  /** Something is under way: requests at a device or on their way, or an answer that was not read. */
  get busy(): boolean {
    if (this.#draining === 'announced' || this.#dispatcher.busy || this.#connection.waiting > 0) return true;
    for (const lease of this.leases.values()) if (lease.inFlight > 0) return true;
    return false;
  }

  /** Bytes that the peer has not read yet. */
  get waitingBytes(): number {
    return this.#connection.waiting;
  }

  /** The peer proved to be `tenant`. Once. */
  authenticate(tenant: Tenant, isolation: Isolation, credentials: Credentials, client: string): void {
    this.credentials = credentials;
    this.client = client;
    this.adopt(tenant, isolation);
    this.#dispatcher.start(tenant.limits.messagesPerSecond);
    this.#connection.authenticated();
    this.log.info('session', { session: this.number, tenant: tenant.name, isolation, transport: this.peer.transport, client });
  }

  /** The tenant as the configuration has it now. */
  adopt(tenant: Tenant, isolation: Isolation): void {
    this.#tenant = tenant;
    this.isolation = isolation;
    this.#dispatcher.messagesPerSecond = tenant.limits.messagesPerSecond;
  }

  /** @throws {@link Refusal} `noDomain`. */
  mustHaveDomain(): Domain {
    if (this.domain === undefined) throw new Refusal('noDomain');
    return this.domain;
  }

  /** @throws {@link Refusal} `unknownLease`, also for one that is being closed. */
  lease(handle: number): SessionLease {
    const lease = this.leases.get(handle);
    if (lease === undefined || lease.closing) throw new Refusal('unknownLease', 'lease', handle);
    return lease;
  }

  /** A number for a new queue, different from all others of the session. */
  nextQueueKey(): number {
    return ++this.#lastQueueKey;
  }

  onRoom(): void {
    this.#dispatcher.onRoom();
  }

  enterDomain(domain: Domain): void {
    domain.join();
    this.domain = domain;
    this.stagings = new StagingPool(domain, () => this.tenant.limits);
  }

  /** Ends all access: leases first, then memory. What fails is in the log, and the rest is done. Never rejects. */
  async leaveDomain(reason: string): Promise<void> {
    const { domain, stagings } = this;
    this.services.tickets.drop(this);
    await Promise.all([...this.leases.values()].map((lease) => lease.close(reason)));
    this.domain = undefined;
    this.stagings = undefined;
    for (const leave of [() => stagings?.close(), () => domain?.leave()]) {
      try {
        await leave();
      } catch (error) {
        this.log.error('leaving a domain failed', { session: this.number, error: messageOf(error) });
      }
    }
  }

  /** Tells the client that the server drains. */
  announceDrain(milliseconds: number): void {
    if (this.#ended || !this.authenticated || this.#draining !== 'no') return;
    this.#draining = 'announced';
    const known = (): void => {
      this.#draining = 'known';
    };
    this.event({ type: 'event', event: 'draining', milliseconds });
    this.#connection.whenRead(known);
    setTimeout(known, CROSSING_MILLISECONDS).unref();
  }

  event(message: EventMessage): void {
    if (!this.#ended) this.outlet.send(encode(message));
  }

  /** Tells the client no. After a fault the session is over. `submit`: which submit it is about. */
  refuse(error: unknown, id: number, submit?: number): void {
    if (this.#ended) return;
    let refusal = refusalOf(error);
    if (refusal === undefined) {
      const stack = error instanceof Error ? error.stack : undefined;
      this.log.error('a session met something unexpected', { session: this.number, error: messageOf(error), stack });
      refusal = new Refusal('internal');
    }
    this.#record(refusal);
    this.outlet.send(encode(errorMessage(refusal, id, submit)));
    if (CODES[refusal.code].severity === 'fault') this.close(closeStatus(refusal), refusal.code);
  }

  #record({ code, field, value }: Refusal): void {
    this.services.audit.refusal({ time: Date.now(), tenant: this.tenantName, session: this.number, code, field, value });
  }

  /** Ends the session after what has been sent. `status` is a WebSocket status code. */
  close(status: number, reason: string): void {
    if (this.#ended) return;
    this.#connection.end(status, reason);
    this.#end(reason);
  }

  #onClear(): void {
    for (const lease of this.leases.values()) lease.deliver();
    this.events.flush();
    this.#dispatcher.resume();
  }

  #onOverflow(): void {
    if (this.#ended) return;
    this.#record(new Refusal('tooManyMessages', '', this.#connection.waiting));
    this.#connection.destroy();
    this.#end('it does not read what the server sends');
  }

  #end(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.waits.clear();
    void this.#tearDown(reason);
  }

  /** What is under way is waited for first: it may still make something that has to be taken down. */
  async #tearDown(reason: string): Promise<void> {
    await this.#dispatcher.stop();
    await this.leaveDomain(reason);
    await this.#closed;
    if (this.authenticated) this.log.info('session ended', { session: this.number, tenant: this.tenantName, reason });
    this.#finish();
  }
}
