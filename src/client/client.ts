import type { DeviceInfo, SessionLimits } from '../protocol/index.js';
import { readDevice, readDevices, readNothing } from './answers.js';
import type { Device } from './device.js';
import { endpointOf, type EndpointOptions } from './endpoint.js';
import { invalidArgument } from './errors.js';
import type { EventStream, StreamOptions } from './event-stream.js';
import type { ClientEvent } from './events.js';
import { takeHandle } from './handle.js';
import { openDevice, type OpenOptions, transportOf } from './open-device.js';
import { Region, type SignalOption } from './region.js';
import { Session, type SessionOptions, type Transport } from './session.js';

export interface ConnectOptions extends EndpointOptions, SignalOption {
  /** The tenant that this program is, where its user or token could be several. */
  tenant?: string | undefined;
  /** The tenant's token; needed over TCP. */
  token?: string | undefined;
  /** Number of a domain of the same tenant (`client.domain()` of a sibling) to share its regions. Default: a domain of its own. */
  domain?: number | undefined;
  /**
   * How requests and data travel: `socket`, in messages; `shm`, through shared memory, or not at all; `auto` (default), through shared memory where that can
   * be had (the Unix socket, and the native addon), else in messages.
   */
  transport?: Transport | undefined;
  /** Name of this program, up to 256 characters, as the administrator sees it. */
  name?: string | undefined;
  /** Milliseconds until the connection must stand. Default: 10 000. */
  timeout?: number | undefined;
  /** Milliseconds between signs of life; a server that gives none for two of these is gone. 0: none. Default: 30 000. */
  keepalive?: number | undefined;
}

export interface StateOptions extends SignalOption {
  /** Answer only once nothing of an earlier holder is left. */
  wait?: boolean | undefined;
}

const DEFAULT_TIMEOUT = 10_000;
const DEFAULT_KEEPALIVE = 30_000;

/** What a timer of Node can hold. */
const MAX_MILLISECONDS = 2 ** 31 - 1;

function milliseconds(name: string, value: number, least: number): number {
  if (Number.isInteger(value) && value >= least && value <= MAX_MILLISECONDS) return value;
  throw invalidArgument('connect', name, value, `milliseconds from ${least} to ${MAX_MILLISECONDS}`);
}

/**
 * Connects to a server: over its Unix socket, or over TLS with `url`. A program that `ringwarden run` started gets the session that was opened for it, once,
 * unless `socket`, `url`, `token`, `domain` or another `tenant` ask for another one. Rejects with a ConnectionError when there is none, with a RefusedError
 * `authenticationFailed` when it does not know this program, or with the reason of the signal.
 */
export async function connect(options: ConnectOptions = {}): Promise<Client> {
  const settings: SessionOptions = {
    timeoutMilliseconds: milliseconds('timeout', options.timeout ?? DEFAULT_TIMEOUT, 1),
    keepaliveMilliseconds: milliseconds('keepalive', options.keepalive ?? DEFAULT_KEEPALIVE, 0),
    signal: options.signal,
    tenant: options.tenant,
    token: options.token,
    domain: options.domain,
    transport: transportOf('connect', options.transport, 'auto'),
    name: options.name ?? `ringwarden/client, node ${process.version}`,
  };
  options.signal?.throwIfAborted();
  return new Client(await Session.open(takeHandle(options) ?? endpointOf(options), settings));
}

/** A session with the server. When it ends, its leases, queues and mappings end with it. */
export class Client {
  readonly #session: Session;

  /** Made by {@link connect}. */
  constructor(session: Session) {
    this.#session = session;
  }

  /** The tenant that the server took this program for. */
  get tenant(): string {
    return this.#session.info.tenant;
  }

  /** Name and version of the server. */
  get server(): string {
    return this.#session.info.server;
  }

  /** Number of the session, as the administrator sees it. */
  get session(): number {
    return this.#session.info.session;
  }

  /** How the tenant was proved; `none`: some other program of this machine could undo the isolation. */
  get isolation(): 'uid' | 'token' | 'none' {
    return this.#session.info.isolation;
  }

  get limits(): Readonly<SessionLimits> {
    return this.#session.info.limits;
  }

  /** Whether the connection stands. */
  get connected(): boolean {
    return this.#session.link.end === undefined;
  }

  /** The devices that are granted to this tenant. */
  listDevices({ signal }: SignalOption = {}): Promise<DeviceInfo[]> {
    return this.#session.calls.call('listDevices', {}, readDevices, { signal });
  }

  /** The state of a granted device; with `wait`, once nothing of an earlier holder is left. */
  deviceState(device: string, { wait = false, signal }: StateOptions = {}): Promise<DeviceInfo> {
    return this.#session.calls.call('deviceState', { device, wait }, readDevice, { signal });
  }

  /** The device that `ringwarden run` opened for this program; undefined without it. */
  get device(): string | undefined {
    return this.#session.device;
  }

  /** Opens a lease on a device, with one queue. The lease that `ringwarden run` opened on it is taken over, once. Without a name: that device. */
  async openDevice(name: string | undefined = this.device, options: OpenOptions = {}): Promise<Device> {
    if (name === undefined) throw invalidArgument('open a device', 'name', name, 'the name of a device, where "ringwarden run" opened none');
    return openDevice(this.#session, name, options);
  }

  /** Maps `bytes` of zeroed memory of the server, in whole pages, that this tenant's requests can name. */
  allocate(bytes: number, options: SignalOption = {}): Promise<Region> {
    return Region.allocate(this.#session, bytes, options);
  }

  /** Number of the domain that holds the regions; another program of this tenant can join it with `connect({ domain })`. */
  domain({ signal }: SignalOption = {}): Promise<number> {
    return this.#session.domain(signal);
  }

  /** Asks the server for a sign of life. */
  ping({ signal }: SignalOption = {}): Promise<void> {
    return this.#session.calls.call('ping', {}, readNothing, { signal });
  }

  /** Events of the connection from now on. See `Device.events` for those of a lease. */
  events(options: StreamOptions = {}): EventStream<ClientEvent> {
    return this.#session.events(options);
  }

  /** Ends the session. What is in flight rejects with a ConnectionError; its outcome is not known. A second call does nothing. */
  close(): Promise<void> {
    return this.#session.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
