/**
 * Opens a session for a program that is yet to be started (docs/protocol.md, "Inherited sessions"): the requests are sent, and of their answers nothing is
 * taken out of the socket. Whoever inherits it reads them as if it had asked itself, and nobody has to be told what they were.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { Packr, Unpackr } from 'msgpackr';
import { Epoll, shm } from '../native/shm.js';
import { type LeaseMode, PROTOCOL_VERSION, type QueueKind, SUBPROTOCOL } from '../protocol/index.js';
import { readError, readHello } from './answers.js';
import { connectError, unixEndpoint } from './endpoint.js';
import { codeError, ConnectionError, malformed, RingwardenError } from './errors.js';
import { acceptOf, LAUNCHED } from './handle.js';
import { type Incoming, CODEC } from './link.js';
import { type Frame, frameOf, framesIn, Opcode } from './frames.js';

export interface LaunchOptions {
  /** Path of the server's Unix socket. */
  readonly socket: string;
  readonly tenant: string | undefined;
  readonly token: string | undefined;
  readonly device: string;
  readonly mode: LeaseMode;
  readonly queues: QueueKind;
  /** Name of the program, for the administrator. */
  readonly name: string;
}

export interface Launched {
  /** The connection, non-blocking and close-on-exec; the caller's. */
  readonly descriptor: number;
  readonly tenant: string;
}

/** What the three answers have at most, together; they have to fit into the socket. */
const MAX_ANSWERS = 65_536;
const HELLO_MILLISECONDS = 10_000;
const EMPTY_LINE = '\r\n\r\n';

/**
 * Connects, says hello, makes a domain and opens a device. The server knows the user of this process as that of the session: be who the program will be
 * before. Rejects with a ConnectionError or a RefusedError, and keeps nothing then.
 */
export async function launch(options: LaunchOptions): Promise<Launched> {
  const { socket, tenant, token, name, device, mode, queues } = options;
  const connection = new Launch(socket);
  try {
    await connection.handshake();
    const hello = { version: PROTOCOL_VERSION, client: name, ...(tenant === undefined ? {} : { tenant }), ...(token === undefined ? {} : { token }) };
    const info = readHello(await connection.ask(0, hello, HELLO_MILLISECONDS));
    await connection.ask(1, {});
    await connection.ask(2, { device, mode, queues });
    return { descriptor: connection.descriptor, tenant: info.tenant };
  } catch (error) {
    shm().close(connection.descriptor);
    throw error;
  } finally {
    connection.end();
  }
}

class Launch {
  readonly descriptor: number;
  readonly #path: string;
  readonly #bytes = new Uint8Array(MAX_ANSWERS);
  readonly #packr = new Packr(CODEC);
  readonly #unpackr = new Unpackr(CODEC);
  /** Tells of the end of the connection, which nobody hears of who leaves bytes unread. */
  readonly #watch: number;
  readonly #watched = new Int32Array(2);
  #pings = 0;

  constructor(path: string) {
    this.#path = path;
    const endpoint = unixEndpoint(path);
    try {
      this.descriptor = shm().connect(path);
    } catch (cause) {
      throw connectError(endpoint, cause as Error);
    }
    this.#watch = shm().epollCreate();
    shm().epollControl(this.#watch, 'add', this.descriptor, Epoll.hangUp, 0);
  }

  /** The connection stays. */
  end(): void {
    shm().close(this.#watch);
  }

  async handshake(): Promise<void> {
    const key = randomBytes(16).toString('base64');
    const lines = ['GET / HTTP/1.1', 'Host: localhost', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'];
    this.#send(Buffer.from([...lines, `Sec-WebSocket-Key: ${key}`, `Sec-WebSocket-Protocol: ${SUBPROTOCOL}`, '', ''].join('\r\n')));
    const deadline = performance.now() + HELLO_MILLISECONDS;
    for (;;) {
      const head = Buffer.from(await this.#look(deadline, 0)).toString('latin1');
      const end = head.indexOf(EMPTY_LINE);
      if (end < 0) continue;
      if (!head.startsWith('HTTP/1.1 101 ') || !head.includes(acceptOf(key))) throw malformed(`the handshake "${head.split('\r\n', 1)[0]}"`);
      // What follows is for the program.
      shm().receive(this.descriptor, this.#bytes, 0, end + EMPTY_LINE.length);
      return;
    }
  }

  /** Sends a request of {@link LAUNCHED}, and resolves with its answer, which stays in the socket. */
  async ask(index: number, fields: Readonly<Record<string, unknown>>, milliseconds = Infinity): Promise<Incoming> {
    const type = LAUNCHED[index];
    this.#send(frameOf(Opcode.binary, this.#packr.pack({ type, id: index + 1, ...fields })));
    const deadline = performance.now() + milliseconds;
    for (let seen = 0; ;) {
      const bytes = await this.#look(deadline, seen);
      seen = bytes.length;
      const frames = framesIn(bytes);
      this.#answerPings(frames);
      for (const { opcode, payload } of frames) {
        if (opcode === Opcode.close) throw this.#closed();
        if (opcode !== Opcode.binary) continue;
        const message = this.#decode(payload);
        if (message['type'] === 'error') throw refusal(message, type);
        if (message['type'] === 'answer' && message['id'] === index + 1) return message;
      }
      if (seen === MAX_ANSWERS) throw malformed(`more than ${MAX_ANSWERS} bytes of answers, which cannot be handed over`);
    }
  }

  /** Everything that is in the socket, once it is more than `seen` bytes. */
  async #look(deadline: number, seen: number): Promise<Uint8Array> {
    for (;;) {
      // First: what came before the end is looked at.
      const over = shm().epollWait(this.#watch, this.#watched, 0) > 0;
      const length = this.#peek();
      if (length > seen) return this.#bytes.subarray(0, length);
      if (over || length === 0) throw this.#closed();
      if (performance.now() > deadline) throw new ConnectionError('connectFailed', `cannot connect to ${this.#path}: no answer in time`);
      await pause(1);
    }
  }

  /** Bytes in the socket; -1 when there are none yet. */
  #peek(): number {
    try {
      return shm().peek(this.descriptor, this.#bytes, 0, MAX_ANSWERS);
    } catch {
      throw this.#closed();
    }
  }

  #closed(): ConnectionError {
    return new ConnectionError('connectionClosed', `the server at ${this.#path} ended the connection; try again later`);
  }

  #send(bytes: Uint8Array): void {
    let sent: number;
    try {
      sent = shm().send(this.descriptor, bytes, 0, bytes.length);
    } catch {
      throw this.#closed();
    }
    // A socket that nothing was sent on has room for this.
    if (sent !== bytes.length) throw new ConnectionError('connectFailed', `cannot send to ${this.#path}: the socket is full`);
  }

  /** The program sees them as well, and answers once more; the server does not mind. */
  #answerPings(frames: readonly Frame[]): void {
    const pings = frames.filter(({ opcode }) => opcode === Opcode.ping);
    for (const { payload } of pings.slice(this.#pings)) this.#send(frameOf(Opcode.pong, payload));
    this.#pings = pings.length;
  }

  #decode(payload: Uint8Array): Incoming {
    try {
      return this.#unpackr.unpack(payload) as Incoming;
    } catch {
      throw malformed('bytes that are not msgpack');
    }
  }
}

function refusal(message: Incoming, context: string): RingwardenError {
  const { code, field, value } = readError(message);
  return codeError(context, code, field, value);
}
