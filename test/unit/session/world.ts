/** A server's wire side on a Unix socket in a folder of its own, with engine doubles behind it, and clients that send whatever they like. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Packr, Unpackr } from 'msgpackr';
import { WebSocket } from 'ws';
import {
  COMPLETION_BYTES,
  COMPLETION_WORDS,
  type CompletionFields,
  ENTRY_BYTES,
  ENTRY_WORDS,
  EntryFlag,
  MAX_RING_ENTRIES,
  type RequestFields,
  SUBPROTOCOL,
  packEntry,
  unpackCompletion,
} from '../../../src/protocol/index.js';
import { Tickets } from '../../../src/server/handover/index.js';
import { listenUnix } from '../../../src/server/listen/index.js';
import { type Log, silentLog } from '../../../src/server/log.js';
import type { Audit, RefusalRecord, ServerLimits, Tenant, TenantDirectory, TenantLimits } from '../../../src/server/policy.js';
import { SessionManager } from '../../../src/server/session/index.js';
import { EngineDouble, share } from './engine-double.js';

export const LIMITS: ServerLimits = {
  connections: 128,
  unauthenticated: 32,
  helloMilliseconds: 2_000,
  sendPauseBytes: 1_048_576,
  sendCloseBytes: 16 * 1_048_576,
  keepaliveMilliseconds: 30_000,
};

export const TENANT_LIMITS: TenantLimits = {
  sessions: 64,
  pinBytes: 64 * 1_048_576,
  regions: 16,
  regionBytes: 16 * 1_048_576,
  leases: 4,
  queuesPerLease: 4,
  ringEntries: MAX_RING_ENTRIES,
  inFlight: 1_024,
  stagingBytes: 1_048_576,
  messagesPerSecond: 1_000,
};

export interface TenantSpec extends Partial<Omit<Tenant, 'limits' | 'index' | 'name'>> {
  readonly limits?: Partial<TenantLimits>;
  readonly token?: string;
}

/** A directory in which the token, or else the name, proves a tenant. */
export function directoryOf(specs: Readonly<Record<string, TenantSpec>>, devices: readonly string[]): TenantDirectory {
  const all = Object.entries(specs).map(([name, spec], index): Tenant => {
    const grants = devices.map(
      (device) => [device, { device, shares: [share('data')], modes: ['shared', 'exclusive'], queues: ['own', 'shared'] }] as const,
    );
    return {
      index,
      name,
      weight: 100,
      rates: { operations: 0, bytes: 0 },
      dma: 'direct',
      grants: new Map(grants),
      ...spec,
      limits: { ...TENANT_LIMITS, ...spec.limits },
    };
  });
  const byName = (name: string): Tenant | undefined => all.find((tenant) => tenant.name === name);
  return {
    all,
    byName,
    authenticate({ token, tenant: name }) {
      const tenant = name === undefined ? all[0] : byName(name);
      if (tenant === undefined || specs[tenant.name]?.token !== token) return undefined;
      return { tenant, isolation: token === undefined ? 'uid' : 'token' };
    },
  };
}

export interface WorldOptions {
  readonly limits?: Partial<ServerLimits>;
  readonly tenants?: Readonly<Record<string, TenantSpec>>;
  readonly devices?: readonly string[];
  readonly log?: Log;
  readonly overflowUid?: number;
  readonly ticketMilliseconds?: number;
  /** Instead of {@link World.audit}. */
  readonly audit?: Audit;
}

export class World {
  readonly folder: string;
  readonly path: string;
  readonly engines: ReadonlyMap<string, EngineDouble>;
  readonly sessions: SessionManager;
  readonly audit: RefusalRecord[] = [];
  readonly tickets: Tickets;
  directory: TenantDirectory;
  readonly #clients: Client[] = [];
  #close: () => Promise<void> = async () => undefined;

  private constructor(options: WorldOptions) {
    const devices = options.devices ?? ['nvme0'];
    this.tickets = new Tickets(options.ticketMilliseconds);
    this.folder = mkdtempSync(join(tmpdir(), 'ringwarden-session-'));
    this.path = join(this.folder, 'socket');
    this.engines = new Map(devices.map((name, index) => [name, new EngineDouble(name, 1 + index * 1_000)]));
    this.directory = directoryOf(options.tenants ?? { alice: {}, bob: {} }, devices);
    this.sessions = new SessionManager({
      engines: this.engines,
      directory: () => this.directory,
      limits: { ...LIMITS, ...options.limits },
      log: options.log ?? silentLog,
      audit: options.audit ?? { refusal: (record) => this.audit.push(record) },
      tickets: this.tickets,
      overflowUid: options.overflowUid ?? 65_534,
      serverVersion: 'ringwarden test',
    });
  }

  static async create(options: WorldOptions = {}): Promise<World> {
    const world = new World(options);
    const listener = await listenUnix({
      path: world.path,
      mode: 0o600,
      sessions: world.sessions,
      limits: { ...LIMITS, ...options.limits },
      tickets: world.tickets,
      log: silentLog,
    });
    world.#close = () => listener.close();
    return world;
  }

  get engine(): EngineDouble {
    const [engine] = this.engines.values();
    return engine;
  }

  async connect(): Promise<Client> {
    const client = new Client(this.path);
    this.#clients.push(client);
    await client.opened;
    return client;
  }

  /** A session that has said hello. */
  async session(tenant = 'alice', token?: string): Promise<Client> {
    const client = await this.connect();
    await client.call('hello', { version: 1, tenant, ...(token !== undefined && { token }) });
    return client;
  }

  /** A session with a domain, a lease and a queue. */
  async ready(tenant = 'alice', entries = 64, open: Readonly<Record<string, unknown>> = {}): Promise<ReadyClient> {
    const client = await this.session(tenant);
    const { domain } = await client.call('setDomain', {});
    const { lease, generation } = await client.call('openDevice', { device: this.engine.name, mode: 'shared', queues: 'own', ...open });
    const { queue } = await client.call('openQueue', { lease, entries });
    return Object.assign(client, { lease: lease as number, generation: generation as number, queue: queue as number, domain: domain as number });
  }

  async end(): Promise<void> {
    for (const client of this.#clients) client.socket.terminate();
    await this.sessions.drain(0);
    await this.#close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export type Message = Record<string, unknown> & { readonly type: string };

export interface ErrorFields {
  readonly name: string;
  readonly field: string;
  readonly value: string;
}

export class ClientError extends Error {
  readonly fields: ErrorFields;
  constructor(message: Message) {
    super(JSON.stringify(message));
    this.fields = { name: String(message['name']), field: String(message['field']), value: String(message['value']) };
  }
}

export type ReadyClient = Client & { readonly lease: number; readonly generation: number; readonly queue: number; readonly domain: number };

const packr = new Packr({ useRecords: false, variableMapSize: true });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' });
const DEADLINE = 10_000;

export class Client {
  readonly socket: WebSocket;
  readonly opened: Promise<void>;
  /** Resolves with the status of the close. */
  readonly closed: Promise<number>;
  /** Everything that was received and that nobody has taken. */
  readonly received: Message[] = [];
  readonly #waiting: (() => void)[] = [];
  #id = 0;

  /** `where`: path of a Unix socket, or a URL. */
  constructor(where: string) {
    this.socket = new WebSocket(where.startsWith('/') ? `ws+unix://${where}:/` : where, SUBPROTOCOL, { perMessageDeflate: false });
    this.opened = new Promise((resolve, reject) => {
      this.socket.once('open', resolve);
      this.socket.once('error', reject);
    });
    this.closed = new Promise((resolve) => {
      this.socket.once('close', (status) => {
        resolve(status);
        this.#wake();
      });
    });
    this.socket.on('error', () => undefined);
    this.socket.on('message', (data: Buffer) => {
      this.received.push(unpackr.unpack(data) as Message);
      this.#wake();
    });
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  send(message: Readonly<Record<string, unknown>>): void {
    this.socket.send(packr.pack(message));
  }

  sendBytes(bytes: Uint8Array | string): void {
    this.socket.send(bytes);
  }

  /** The next message that fits, taken out of what was received. */
  async next(fits: (message: Message) => boolean): Promise<Message> {
    const deadline = performance.now() + DEADLINE;
    for (;;) {
      const index = this.received.findIndex(fits);
      if (index >= 0) return this.received.splice(index, 1)[0];
      if (this.socket.readyState === WebSocket.CLOSED) throw new Error(`closed; received ${JSON.stringify(this.received)}`);
      if (performance.now() > deadline) throw new Error(`nothing came; received ${JSON.stringify(this.received)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1_000);
        this.#waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  /** Sends a request without waiting, and returns its id. */
  ask(type: string, fields: Readonly<Record<string, unknown>>): number {
    const id = ++this.#id;
    this.send({ type, id, ...fields });
    return id;
  }

  async answer(id: number): Promise<Message> {
    const message = await this.next((candidate) => candidate['id'] === id);
    if (message.type === 'error') throw new ClientError(message);
    return message;
  }

  call(type: string, fields: Readonly<Record<string, unknown>> = {}): Promise<Message> {
    return this.answer(this.ask(type, fields));
  }

  /** The refusal that a request meets. */
  async refusal(type: string, fields: Readonly<Record<string, unknown>> = {}): Promise<ErrorFields> {
    try {
      const answer = await this.call(type, fields);
      throw new Error(`not refused: ${JSON.stringify(answer)}`);
    } catch (error) {
      if (error instanceof ClientError) return error.fields;
      throw error;
    }
  }

  /** The refusal of something without an id. */
  async error(): Promise<ErrorFields & { readonly submit?: unknown; readonly id: unknown }> {
    const message = await this.next(({ type }) => type === 'error');
    return { ...new ClientError(message).fields, id: message['id'], ...('submit' in message && { submit: message['submit'] }) };
  }

  event(name: string): Promise<Message> {
    return this.next((message) => message.type === 'event' && message['event'] === name);
  }

  /** Completions of a queue, with the data of their reads, until there are `count`. */
  async completions(count: number): Promise<{ readonly completions: CompletionFields[]; readonly data: Buffer; readonly messages: number }> {
    const completions: CompletionFields[] = [];
    const data: Uint8Array[] = [];
    let messages = 0;
    while (completions.length < count) {
      const message = await this.next(({ type }) => type === 'completions');
      messages++;
      const entries = message['entries'] as Uint8Array;
      const words = new Uint32Array(entries.length / 4);
      new Uint8Array(words.buffer).set(entries);
      for (let at = 0; at < entries.length / COMPLETION_BYTES; at++) completions.push(unpackCompletion(words, at * COMPLETION_WORDS));
      if (message['data'] !== undefined) data.push(message['data'] as Uint8Array);
    }
    return { completions, data: Buffer.concat(data), messages };
  }
}

/** Entries of a submit message. What is not said is that of an inline read of one block by the first request of the client. */
export function entries(client: ReadyClient, ...requests: Partial<RequestFields>[]): Uint8Array {
  const words = new Uint32Array(requests.length * ENTRY_WORDS);
  requests.forEach((request, index) => {
    packEntry(words, index * ENTRY_WORDS, {
      operation: 1,
      flags: EntryFlag.inline,
      share: 0,
      generation: client.generation,
      tag: BigInt(index),
      lba: 0n,
      blocks: 1,
      region: 0,
      offset: 0n,
      length: 512,
      lease: client.lease,
      queue: client.queue,
      ...request,
    });
  });
  return new Uint8Array(words.buffer, 0, requests.length * ENTRY_BYTES);
}

export const submit = (client: ReadyClient, bytes: Uint8Array, data?: Uint8Array): void =>
  client.send({ type: 'submit', lease: client.lease, queue: client.queue, entries: bytes, ...(data !== undefined && { data }) });

/** Resolves when `ready()` holds. */
export async function until(ready: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!ready()) {
    if (performance.now() > deadline) throw new Error('what was waited for did not happen');
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
