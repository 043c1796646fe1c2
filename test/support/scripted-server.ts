/**
 * A server that does what a test tells it, on a Unix socket in a temporary directory: it answers the control messages of the protocol and keeps
 * the blocks of its shares in memory. It judges nothing; a test that wants a refusal scripts one.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Packr, Unpackr } from 'msgpackr';
import { type WebSocket, WebSocketServer } from 'ws';
import {
  CODES,
  Code,
  COMPLETION_WORDS,
  type CodeName,
  CompletionWord,
  completionRingBytes,
  ENTRY_BYTES,
  ENTRY_WORDS,
  EntryFlag,
  Operation,
  type RequestFields,
  requestRingBytes,
  type SessionLimits,
  type ShareInfo,
  SUBPROTOCOL,
  unpackEntry,
} from '../../src/protocol/index.js';

export type Fields = Record<string, unknown>;

export interface Submitted {
  lease: number;
  queue: number;
  entries: RequestFields[];
  /** The data of each entry; empty where it has none. */
  data: Buffer[];
}

export interface Outcome {
  code?: number;
  field?: number;
  status?: number;
  value?: bigint;
  bytes?: number;
}

const LIMITS: SessionLimits = {
  messageBytes: 4 * 1_048_576,
  batch: 1_024,
  regions: 64,
  regionBytes: 2 ** 30,
  pinBytes: 2 ** 30,
  leases: 8,
  queuesPerLease: 4,
  ringEntries: 256,
  stagingBytes: 4 * 1_048_576,
};

export const share = (index: number, name: string, blocks: number, blockBytes: number, maxBlocks = 256): ShareInfo => ({
  index,
  name,
  blocks,
  blockBytes,
  access: ['read', 'write'],
  operations: ['read', 'write', 'flush', 'writeZeroes', 'compare', 'deallocate'],
  maxBlocks,
});

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false });

/** What a test scripts: undefined leaves the message to the server's own answer; `null` answers nothing. */
type Script = (message: Fields, connection: Connection) => Fields | null | undefined;

export class Connection {
  readonly socket: WebSocket;
  readonly server: ScriptedServer;
  readonly regions = new Map<number, Buffer>();
  #nextRegion = 1;
  #nextLease = 1;

  constructor(server: ScriptedServer, socket: WebSocket) {
    this.server = server;
    this.socket = socket;
    socket.on('message', (data: Buffer) => this.#received(unpackr.unpack(data) as Fields, data.length));
    socket.on('error', () => undefined);
  }

  send(message: Fields): void {
    this.socket.send(packr.pack(message));
  }

  event(event: string, fields: Fields): void {
    this.send({ type: 'event', event, ...fields });
  }

  refuse(id: number, name: CodeName, field = '', value = ''): void {
    this.send({ type: 'error', id, code: CODES[name].code, name, field, value, message: CODES[name].reason });
  }

  #received(message: Fields, bytes: number): void {
    this.server.received.push(message);
    this.server.messageBytes.push(bytes);
    const type = String(message['type']);
    if (type === 'submit') {
      this.server.onSubmit(this.#parse(message), this);
      return;
    }
    const scripted = this.server.scripts.get(type)?.(message, this);
    if (scripted === null) return;
    if (scripted === undefined && type === 'shareQueue') {
      this.refuse(Number(message['id']), 'noHandover');
      return;
    }
    const answer = scripted ?? this.#answer(type, message);
    this.send('type' in answer ? answer : { type: 'answer', id: message['id'], ...answer });
  }

  #parse(message: Fields): Submitted {
    const bytes = Buffer.from(message['entries'] as Uint8Array);
    const words = new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    const entries = Array.from({ length: bytes.length / ENTRY_BYTES }, (_, index) => unpackEntry(words, index * ENTRY_WORDS));
    const all = Buffer.from((message['data'] as Uint8Array | undefined) ?? []);
    let at = 0;
    const data = entries.map((entry) => {
      const length = (entry.flags & EntryFlag.inline) !== 0 && entry.operation !== Operation.read ? entry.length : 0;
      at += length;
      return all.subarray(at - length, at);
    });
    if (at !== all.length) throw new Error(`${all.length} bytes of data with entries of ${at}`);
    return { lease: Number(message['lease']), queue: Number(message['queue']), entries, data };
  }

  #answer(type: string, message: Fields): Fields {
    const { server } = this;
    switch (type) {
      case 'hello':
        return { session: 7, tenant: message['tenant'] ?? 'alice', server: 'scripted 1.0', isolation: 'uid', limits: server.limits };
      case 'listDevices':
        return { devices: [this.#device()] };
      case 'deviceState':
        return this.#device();
      case 'setDomain':
        return { domain: message['domain'] ?? 3, pinLimit: 2 ** 30 };
      case 'openDevice':
        return {
          lease: this.#nextLease++,
          generation: 1,
          device: message['device'],
          mode: message['mode'],
          queues: message['queues'],
          shares: server.shares,
          vectors: 2,
          maxInFlight: server.maxInFlight,
        };
      case 'openQueue':
        return {
          queue: 0,
          entries: message['entries'],
          ringVersion: 1,
          requestBytes: requestRingBytes(Number(message['entries'])),
          completionBytes: completionRingBytes(Number(message['entries'])),
          vector: 0,
          hardware: { kind: 'shared', submissionEntries: 64, submissionBytes: 64, completionEntries: 64, completionBytes: 16 },
        };
      case 'mapMemory': {
        const region = this.#nextRegion++;
        const bytes = Math.ceil(Number(message['bytes']) / 4096) * 4096;
        this.regions.set(region, Buffer.alloc(bytes));
        return { region, bytes };
      }
      case 'unmapMemory':
        this.regions.delete(Number(message['region']));
        return {};
      case 'writeMemory':
        this.regions.get(Number(message['region']))?.set(message['data'] as Uint8Array, Number(message['offset']));
        return {};
      case 'readMemory': {
        const offset = Number(message['offset']);
        const region = this.regions.get(Number(message['region']));
        return { data: region?.subarray(offset, offset + Number(message['length'])) };
      }
      case 'resetLease':
        return { generation: 2 };
      default:
        return {};
    }
  }

  #device(): Fields {
    return { name: 'nvme0', class: 'nvme', state: 'open', free: true, heldBy: [], shares: this.server.shares };
  }

  /** Completes requests, by default with success; the blocks of the share are read and written. */
  complete(submitted: Submitted, outcome: (entry: RequestFields, index: number) => Outcome = () => ({})): void {
    const words = new Uint32Array(submitted.entries.length * COMPLETION_WORDS);
    const reads: Uint8Array[] = [];
    submitted.entries.forEach((entry, index) => {
      const told = outcome(entry, index);
      const done = { code: told.code ?? this.#perform(entry, submitted.data[index]), ...told };
      const at = index * COMPLETION_WORDS;
      words[at + CompletionWord.tagLow] = Number(entry.tag & 0xffff_ffffn);
      words[at + CompletionWord.tagHigh] = Number(entry.tag >> 32n);
      words[at + CompletionWord.code] = (done.code ?? 0) | ((done.field ?? 0) << 16);
      words[at + CompletionWord.status] = (done.status ?? 0) | (submitted.queue << 16);
      words[at + CompletionWord.valueLow] = Number((done.value ?? 0n) & 0xffff_ffffn);
      words[at + CompletionWord.valueHigh] = Number((done.value ?? 0n) >> 32n);
      words[at + CompletionWord.generation] = entry.generation;
      words[at + CompletionWord.bytes] = done.bytes ?? (done.code === 0 ? entry.length : 0);
      const inlineRead = entry.operation === Operation.read && (entry.flags & EntryFlag.inline) !== 0;
      if (inlineRead && done.code === 0) reads.push(this.#window(entry));
    });
    const message = { type: 'completions', lease: submitted.lease, queue: submitted.queue, entries: Buffer.from(words.buffer) };
    this.send(reads.length === 0 ? message : { ...message, data: Buffer.concat(reads) });
  }

  #window(entry: RequestFields): Buffer {
    const { blockBytes } = this.server.shares[entry.share];
    const start = Number(entry.lba) * blockBytes;
    return this.server.blocks[entry.share].subarray(start, start + entry.blocks * blockBytes);
  }

  #perform(entry: RequestFields, data: Buffer): number {
    const inline = (entry.flags & EntryFlag.inline) !== 0;
    const offset = Number(entry.offset);
    const memory = inline ? data : this.regions.get(entry.region)?.subarray(offset, offset + entry.length);
    switch (entry.operation) {
      case Operation.read:
        if (!inline) memory?.set(this.#window(entry));
        return Code.ok;
      case Operation.write:
        if (memory !== undefined) this.#window(entry).set(memory);
        return Code.ok;
      case Operation.writeZeroes:
        this.#window(entry).fill(0);
        return Code.ok;
      case Operation.compare:
        return memory !== undefined && this.#window(entry).equals(memory) ? Code.ok : Code.compareFailed;
      default:
        return Code.ok;
    }
  }
}

export class ScriptedServer {
  readonly path: string;
  readonly limits: SessionLimits;
  readonly shares: ShareInfo[];
  readonly maxInFlight: number;
  readonly blocks: Buffer[];
  /** Every message that arrived, and the bytes of each. */
  readonly received: Fields[] = [];
  readonly messageBytes: number[] = [];
  readonly scripts = new Map<string, Script>();
  readonly connections: Connection[] = [];
  onSubmit: (submitted: Submitted, connection: Connection) => void = (submitted, connection) => connection.complete(submitted);
  readonly #directory: string;
  readonly #http: Server;
  readonly #sockets: WebSocketServer;

  private constructor(directory: string, options: ScriptedOptions) {
    this.#directory = directory;
    this.path = join(directory, 'server.sock');
    this.limits = { ...LIMITS, ...options.limits };
    this.shares = options.shares ?? [share(0, 'data', 4_096, 512)];
    this.maxInFlight = options.maxInFlight ?? 256;
    this.blocks = this.shares.map(({ blocks, blockBytes }) => Buffer.alloc(Math.min(blocks * blockBytes, 16 * 1_048_576)));
    this.#http = createServer();
    const protocol = options.subprotocol ?? SUBPROTOCOL;
    this.#sockets = new WebSocketServer({ server: this.#http, perMessageDeflate: false, handleProtocols: () => protocol });
    this.#sockets.on('connection', (socket) => this.connections.push(new Connection(this, socket)));
  }

  static async start(options: ScriptedOptions = {}): Promise<ScriptedServer> {
    const server = new ScriptedServer(mkdtempSync(join(tmpdir(), 'rw-client-')), options);
    await new Promise<void>((resolve) => server.#http.listen(server.path, resolve));
    return server;
  }

  get connection(): Connection {
    return this.connections[this.connections.length - 1];
  }

  script(type: string, script: Script): void {
    this.scripts.set(type, script);
  }

  messages(type: string): Fields[] {
    return this.received.filter((message) => message['type'] === type);
  }

  async stop(): Promise<void> {
    for (const { socket } of this.connections) socket.terminate();
    this.#sockets.close();
    await new Promise((resolve) => this.#http.close(resolve));
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

export interface ScriptedOptions {
  limits?: Partial<SessionLimits>;
  shares?: ShareInfo[];
  maxInFlight?: number;
  subprotocol?: string;
}
