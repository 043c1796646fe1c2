/**
 * A client that does not keep to the rules: it speaks WebSocket and msgpack by itself, because the SDK refuses most of this before it is sent. It is
 * told what any client is told, and everything that it is sent is looked through for what it may not know.
 */
import { createConnection } from 'node:net';
import { Packr, Unpackr } from 'msgpackr';
import { WebSocket } from 'ws';
import { CODES, type CodeName, PROTOCOL_VERSION, SUBPROTOCOL, codeName } from '../../../protocol/index.js';
import type { Reply } from '../types.js';
import { within } from '../within.js';

/** What came back to a message: an answer, a code, or the end of the session with one. */
export interface Told {
  readonly reply: Reply;
  /** The answer's fields; empty when it was refused. */
  readonly answer: Readonly<Record<string, unknown>>;
}

type Message = Readonly<Record<string, unknown>>;

export interface AttackerOptions {
  readonly socket: string;
  /** Is shown everything that arrives. */
  readonly onBytes: (bytes: Uint8Array) => void;
}

export class Attacker {
  /** Told of completions, when somebody wants to know. */
  onCompletions: (message: Message) => void = () => undefined;
  /** Told of refused submits, by the number of the submit. */
  onSubmitRefused: (submit: number, reply: Reply) => void = () => undefined;
  /** Told once that the session ended: with what, or that nobody said why. */
  onEnd: (end: Reply | Error) => void = () => undefined;
  readonly socket: WebSocket;
  readonly #packr = new Packr({ useRecords: false });
  readonly #unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true });
  readonly #waiting = new Map<number, { resolve(told: Told): void; reject(error: Error): void }>();
  readonly #closed: Promise<void>;
  #lastId = 0;
  #fault: CodeName | '' = '';

  private constructor(socket: WebSocket, onBytes: (bytes: Uint8Array) => void) {
    this.socket = socket;
    socket.on('message', (bytes: Buffer) => {
      onBytes(bytes);
      this.#take(this.#unpackr.unpack(bytes) as Message);
    });
    socket.on('error', () => undefined);
    this.#closed = new Promise((resolve) => {
      socket.once('close', () => {
        const end = this.#end();
        for (const waiting of this.#waiting.values()) {
          if (end instanceof Error) waiting.reject(end);
          else waiting.resolve({ reply: end, answer: {} });
        }
        this.#waiting.clear();
        this.onEnd(end);
        resolve();
      });
    });
  }

  /** A connection, and nothing said on it. */
  static async connect({ socket: path, onBytes }: AttackerOptions): Promise<Attacker> {
    const createdBy = (): ReturnType<typeof createConnection> => createConnection({ path });
    const socket = new WebSocket('ws://localhost/', SUBPROTOCOL, { createConnection: createdBy, perMessageDeflate: false });
    const attacker = new Attacker(socket, onBytes);
    await within(
      'a connection',
      new Promise<void>((resolve, reject) => {
        socket.once('open', resolve);
        socket.once('error', reject);
      }),
    );
    return attacker;
  }

  get isOpen(): boolean {
    return this.socket.readyState === WebSocket.OPEN;
  }

  hello(tenant: string, token: string): Promise<Told> {
    return this.ask('hello', { version: PROTOCOL_VERSION, tenant, token, client: 'ringwarden demo, the attacker' });
  }

  /** Sends a control message of any kind, and resolves with what came of it. */
  ask(type: string, fields: Message = {}): Promise<Told> {
    const id = ++this.#lastId;
    const told = new Promise<Told>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.send({ type, id, ...fields });
    return within(`the answer to ${type}`, told);
  }

  /** {@link ask} for a message that must succeed for the attempt to make sense. */
  async must(type: string, fields: Message = {}): Promise<Told['answer']> {
    const { reply, answer } = await this.ask(type, fields);
    if (reply.outcome !== 'harmless') throw new Error(`${type} was ${reply.outcome}: ${reply.code}`);
    return answer;
  }

  send(message: Message): void {
    this.sendBytes(this.#packr.pack(message));
  }

  sendBytes(bytes: Uint8Array | string): void {
    if (this.isOpen) this.socket.send(bytes, { binary: typeof bytes !== 'string' });
  }

  /** Resolves when the server ended the session, with the reason that it gave. */
  async fault(): Promise<Reply> {
    await within('the end of the session', this.#closed);
    const end = this.#end();
    if (end instanceof Error) throw end;
    return end;
  }

  /** Resolves when the connection is gone, whoever ended it. */
  get closed(): Promise<void> {
    return this.#closed;
  }

  /** Is gone at once, as a process that was killed. */
  terminate(): void {
    this.socket.terminate();
  }

  #end(): Reply | Error {
    return this.#fault === '' ? new Error('the connection ended without a reason') : { outcome: 'faulted', code: this.#fault };
  }

  #take(message: Message): void {
    const { type, id } = message;
    if (type === 'completions') this.onCompletions(message);
    else if (type === 'answer') this.#answer(Number(id), { reply: { outcome: 'harmless', code: '' }, answer: message });
    else if (type === 'error') this.#error(message);
  }

  #error(message: Message): void {
    const id = Number(message['id']);
    const code = codeName(Number(message['code'])) ?? 'internal';
    if (CODES[code].severity === 'fault') {
      // Whoever waits is told when the session has really ended.
      this.#fault = code;
      return;
    }
    const reply: Reply = { outcome: 'refused', code };
    if (id === 0) this.onSubmitRefused(Number(message['submit']), reply);
    else this.#answer(id, { reply, answer: {} });
  }

  #answer(id: number, told: Told): void {
    this.#waiting.get(id)?.resolve(told);
    this.#waiting.delete(id);
  }
}
