/** What the parts of a client share: the connection, the calls, the account of staging memory, and who is told of what. */
import { type EventMessage, PROTOCOL_VERSION } from '../protocol/index.js';
import { forgetAbort, orAborted, whenAborted } from './abort.js';
import { readDomain, readError, readHello, readLease, type SessionInfo } from './answers.js';
import { Calls } from './calls.js';
import type { Endpoint } from './endpoint.js';
import { codeError, ConnectionError, malformed, type RingwardenError } from './errors.js';
import { EventStream, type StreamOptions } from './event-stream.js';
import { type ClientEvent, readEvent } from './events.js';
import { type Incoming, Link, type LinkOwner } from './link.js';
import { Opening } from './opening.js';
import { bytes, positive, whole } from './shapes.js';
import { Staging } from './staging.js';

/** Who is told of what concerns a lease. */
export interface LeaseOwner {
  completed(queue: number, entries: Uint8Array, data: Uint8Array): void;
  event(message: EventMessage): void;
  /** A submit was refused, by its number; it may be one of another lease. */
  refused(submit: number, errorOf: (context: string) => RingwardenError): void;
  ended(error: RingwardenError): void;
}

export interface SessionOptions {
  readonly signal: AbortSignal | undefined;
  /** For the connection and hello together. */
  readonly timeoutMilliseconds: number;
  /** 0: no keepalive. */
  readonly keepaliveMilliseconds: number;
  readonly tenant: string | undefined;
  readonly token: string | undefined;
  /** Name of this program, for the administrator. */
  readonly name: string;
  /** Number of a domain of the same tenant to join; without it a new one is made when one is needed. */
  readonly domain: number | undefined;
  readonly transport: Transport;
}

/** How requests and data travel: in messages, through shared memory, or through shared memory where that can be had. */
export type Transport = 'auto' | 'socket' | 'shm';

const U32 = 0xffff_ffff;
const NO_DATA = new Uint8Array(0);

/** Leases that ended and whose last messages may still be on their way. More than a session could end within a round trip. */
const REMEMBERED_LEASES = 1_024;

export class Session implements LinkOwner {
  readonly calls = new Calls(() => this.link);
  readonly #joins: number | undefined;
  readonly #leases = new Map<number, LeaseOwner>();
  readonly #endedLeases = new Set<number>();
  readonly #streams = new Set<EventStream<ClientEvent>>();
  #link: Link | undefined;
  #info: SessionInfo | undefined;
  #staging = new Staging(0);
  #domain: Promise<number> | undefined;
  #launched: Opening | undefined;
  #closing = false;
  /** What devices are opened with that do not say so themselves. */
  readonly transport: Transport;
  /** The device that a launcher opened for this program. */
  device: string | undefined;
  /** Why there is no shared memory here; undefined while there may be. */
  noSharedMemory: string | undefined;

  private constructor(joins: number | undefined, transport: Transport, local: boolean) {
    this.#joins = joins;
    this.transport = transport;
    if (!local) this.noSharedMemory = 'the connection is not over a Unix socket';
  }

  /** Connects and says hello, all within the time limit. */
  static async open(endpoint: Endpoint, options: SessionOptions): Promise<Session> {
    const { signal, timeoutMilliseconds } = options;
    signal?.throwIfAborted();
    const end = new AbortController();
    const onAbort = (): void => end.abort(signal?.reason);
    const late = `cannot connect to ${endpoint.description}: no answer within ${timeoutMilliseconds} ms`;
    const timer = setTimeout(() => end.abort(new ConnectionError('connectFailed', late)), timeoutMilliseconds);
    whenAborted(signal, onAbort);
    const session = new Session(options.domain, options.transport, endpoint.local);
    // Before there is a link: the answers that wait in it come with the first turn.
    const launched = endpoint.launched === true ? session.#expectLaunched() : undefined;
    try {
      session.#link = await Link.open(endpoint, options.keepaliveMilliseconds, end.signal, session);
      await (launched === undefined ? session.#hello(options, end.signal) : orAborted(launched, end.signal));
      return session;
    } catch (error) {
      void session.#link?.close();
      throw error;
    } finally {
      clearTimeout(timer);
      forgetAbort(signal, onAbort);
    }
  }

  async #hello({ tenant, token, name }: SessionOptions, signal: AbortSignal): Promise<void> {
    const fields = {
      version: PROTOCOL_VERSION,
      client: name,
      ...(tenant === undefined ? {} : { tenant }),
      ...(token === undefined ? {} : { token }),
    };
    await this.calls.call('hello', fields, this.#onHello, { signal });
  }

  readonly #onHello = (answer: Incoming): void => {
    this.#info = readHello(answer);
    this.#staging = new Staging(this.#info.limits.stagingBytes);
  };

  /** Takes the answers to what the launcher asked, in its order ({@link LAUNCHED}). */
  #expectLaunched(): Promise<unknown> {
    const hello = this.calls.expect('hello', this.#onHello);
    this.#domain = this.calls.expect('setDomain', (answer) => readDomain(answer).domain);
    const device = this.calls.expect('openDevice', (answer) => {
      const info = readLease(answer);
      this.#launched = new Opening(info);
      this.device = info.device;
      this.own(info.lease, this.#launched);
    });
    const all = Promise.all([hello, this.#domain, device]);
    // Whoever waits for it hears of the end of the link, if nothing else.
    all.catch(() => undefined);
    return all;
  }

  /** The lease that the launcher opened, if it is on this device and was not taken before. Throws when it is not as it is wanted. */
  takeLaunched(device: string, wanted: Parameters<Opening['check']>[0]): Opening | undefined {
    const launched = this.#launched;
    if (launched?.info.device !== device) return undefined;
    launched.check(wanted);
    this.#launched = undefined;
    return launched;
  }

  get link(): Link {
    if (this.#link === undefined) throw malformed('a message before the connection was made');
    return this.#link;
  }

  get info(): SessionInfo {
    if (this.#info === undefined) throw malformed('a message before the answer to hello');
    return this.#info;
  }

  get staging(): Staging {
    return this.#staging;
  }

  /** The number of the domain, which is set at the first need of it. */
  async domain(signal?: AbortSignal): Promise<number> {
    signal?.throwIfAborted();
    if (this.#domain === undefined) {
      const fields = this.#joins === undefined ? {} : { domain: this.#joins };
      const setting = this.calls.call('setDomain', fields, (answer) => readDomain(answer).domain);
      this.#domain = setting;
      setting.catch(() => {
        this.#domain = undefined;
      });
    }
    return orAborted(this.#domain, signal);
  }

  /** Says who is told of a lease. */
  own(lease: number, owner: LeaseOwner): void {
    this.#endedLeases.delete(lease);
    this.#leases.set(lease, owner);
  }

  /** The lease ended; messages about it that are still on their way mean nothing any more. */
  forget(lease: number): void {
    if (!this.#leases.delete(lease)) return;
    this.#endedLeases.add(lease);
    if (this.#endedLeases.size > REMEMBERED_LEASES) {
      for (const oldest of this.#endedLeases) {
        this.#endedLeases.delete(oldest);
        break;
      }
    }
  }

  events(options: StreamOptions): EventStream<ClientEvent> {
    const stream = new EventStream<ClientEvent>(options, () => this.#streams.delete(stream));
    const { end } = this.link;
    if (end === undefined) this.#streams.add(stream);
    else stream.end(this.lossFor(end));
    return stream;
  }

  /** What an iteration of events throws at its end: the loss of the connection, and nothing when this program ended it. */
  lossFor(error: RingwardenError): RingwardenError | undefined {
    return error instanceof ConnectionError && !this.#closing ? error : undefined;
  }

  async close(): Promise<void> {
    this.#closing = true;
    await this.link.close();
  }

  /** For the link. */
  received(message: Incoming): void {
    const type = message['type'];
    if (type === 'completions') this.#completed(message);
    else if (type === 'answer') this.calls.answered(message);
    else if (type === 'event') this.#event(readEvent(message));
    else if (type === 'error') this.#refused(message);
    else throw malformed(`a message of the unknown type ${String(type)}`);
  }

  /** For the link. */
  ended(error: ConnectionError): void {
    this.calls.end(error);
    for (const owner of this.#leases.values()) owner.ended(error);
    for (const stream of this.#streams) stream.end(this.lossFor(error));
  }

  #completed(message: Incoming): void {
    const owner = this.#ownerOf(whole(message, 'lease', U32));
    const data = message['data'] === undefined ? NO_DATA : bytes(message, 'data');
    owner?.completed(whole(message, 'queue', U32), bytes(message, 'entries'), data);
  }

  /** Undefined for a lease that ended. */
  #ownerOf(lease: number): LeaseOwner | undefined {
    const owner = this.#leases.get(lease);
    if (owner === undefined && !this.#endedLeases.has(lease)) throw malformed(`a message about lease ${lease}, which this session does not hold`);
    return owner;
  }

  #event(message: EventMessage): void {
    if (message.event === 'draining') {
      for (const owner of this.#leases.values()) owner.event(message);
      this.#tell({ type: 'draining', milliseconds: message.milliseconds });
    } else if (message.event === 'holderGone') {
      this.#tell({ type: 'holderGone', device: message.device });
    } else {
      this.#ownerOf(message.lease)?.event(message);
    }
  }

  #tell(event: ClientEvent): void {
    for (const stream of this.#streams) stream.push(event);
  }

  #refused(message: Incoming): void {
    const { id, code, field, value } = readError(message);
    const errorOf = (context: string): RingwardenError => codeError(context, code, field, value);
    if (id !== 0) this.calls.refused(id, errorOf);
    const told = errorOf('a message of this client');
    if (told.severity === 'fault') this.link.fail(endedBy(this.link.description, told));
    else if (id === 0) this.#submitRefused(message, errorOf);
  }

  /** A submit may cross the end of its lease: then nothing waits for it any more. */
  #submitRefused(message: Incoming, errorOf: (context: string) => RingwardenError): void {
    const submit = positive(message, 'submit', this.link.submits);
    for (const owner of this.#leases.values()) owner.refused(submit, errorOf);
  }
}

const endedBy = (description: string, cause: RingwardenError): ConnectionError =>
  new ConnectionError('connectionClosed', `the connection to ${description} ended: ${cause.message}`, {
    field: cause.field,
    value: cause.value,
    severity: 'fault',
    cause,
  });
