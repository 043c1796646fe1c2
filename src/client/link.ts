/** One WebSocket to the server: whole messages in, whole messages out, and one end that is told once. */
import { Packr, Unpackr } from 'msgpackr';
import { WebSocket } from 'ws';
import { MAX_MESSAGE_BYTES, SUBPROTOCOL } from '../protocol/index.js';
import { forgetAbort, whenAborted } from './abort.js';
import { connectError, type Endpoint } from './endpoint.js';
import { ConnectionError, malformed } from './errors.js';

/** Milliseconds that the server may take to end the connection after a close. */
const CLOSE_MILLISECONDS = 2_000;

/** Keepalive periods without a sign of life after which the server counts as gone. Two, because one may end right after a long pause of this program. */
const SILENT_PERIODS = 2;

/** A message of the server, decoded and not yet checked. */
export type Incoming = Readonly<Record<string, unknown>>;

export interface LinkOwner {
  /** May throw a ConnectionError: the link then ends with it. */
  received(message: Incoming): void;
  /** Called once; nothing is received afterwards. */
  ended(error: ConnectionError): void;
}

/**
 * Bytes of a message up to which it is masked. RFC 6455 has masks so that a browser's script cannot speak to a proxy in between. Here is no browser and no
 * proxy: a mask of zero costs nothing, but ws then writes head and message apart, which costs more than to mask a short one.
 */
const MASKED_BYTES = 512;

/** Of msgpackr: plain maps and numbers, nothing else. */
export const CODEC = { useRecords: false, mapsAsObjects: true, int64AsType: 'number' } as const;

export class Link {
  readonly description: string;
  readonly #socket: WebSocket;
  readonly #owner: LinkOwner;
  readonly #packr = new Packr(CODEC);
  readonly #unpackr = new Unpackr(CODEC);
  #end: ConnectionError | undefined;
  #keepalive: NodeJS.Timeout | undefined;
  #silentPeriods = 0;
  #submits = 0;
  /** Every byte of the mask of the message that is being sent. */
  #mask = 0;

  private constructor(socket: WebSocket, endpoint: Endpoint, owner: LinkOwner) {
    this.description = endpoint.description;
    this.#socket = socket;
    this.#owner = owner;
  }

  /** Connects and agrees on the subprotocol. Rejects with a ConnectionError, or with the reason of the signal. */
  static open(endpoint: Endpoint, keepaliveMilliseconds: number, signal: AbortSignal, owner: LinkOwner): Promise<Link> {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(endpoint.url, SUBPROTOCOL, {
        ...endpoint.options,
        perMessageDeflate: false,
        maxPayload: MAX_MESSAGE_BYTES,
        generateMask: (mask) => mask.fill(link.#mask),
      });
      const link = new Link(socket, endpoint, owner);
      const onAbort = (): void => {
        socket.off('error', onError);
        socket.on('error', () => undefined);
        socket.terminate();
        reject(signal.reason as Error);
      };
      const onError = (cause: Error): void => {
        forgetAbort(signal, onAbort);
        reject(connectError(endpoint, cause));
      };
      whenAborted(signal, onAbort);
      socket.once('error', onError);
      socket.once('open', () => {
        forgetAbort(signal, onAbort);
        socket.off('error', onError);
        link.#start(keepaliveMilliseconds);
        resolve(link);
      });
    });
  }

  #start(keepaliveMilliseconds: number): void {
    const socket = this.#socket;
    const alive = (): void => {
      this.#silentPeriods = 0;
    };
    socket.on('message', (data: Buffer, isBinary: boolean) => this.#received(data, isBinary));
    socket.on('ping', alive);
    socket.on('pong', alive);
    socket.on('error', (cause: Error) => this.fail(this.#lost(`: ${cause.message}`, cause)));
    socket.on('close', (code: number, reason: Buffer) => {
      const words = reason.length === 0 ? '' : `: ${reason.toString()}`;
      this.fail(this.#lost(` (WebSocket close ${code}${words})`));
    });
    if (keepaliveMilliseconds > 0) {
      this.#keepalive = setInterval(() => this.#beat(keepaliveMilliseconds), keepaliveMilliseconds).unref();
    }
  }

  #beat(period: number): void {
    if (this.#silentPeriods >= SILENT_PERIODS) {
      this.fail(this.#lost(`: no sign of life for ${period * SILENT_PERIODS} ms`));
      return;
    }
    this.#silentPeriods++;
    this.#socket.ping();
  }

  #lost(how: string, cause?: Error): ConnectionError {
    return new ConnectionError('connectionClosed', `the connection to ${this.description} ended${how}; connect again`, { cause });
  }

  #received(data: Buffer, isBinary: boolean): void {
    if (this.#end !== undefined) return;
    this.#silentPeriods = 0;
    try {
      if (!isBinary) throw malformed('a text message');
      this.#owner.received(this.#decode(data));
    } catch (error) {
      if (!(error instanceof ConnectionError)) throw error;
      this.fail(error);
    }
  }

  #decode(data: Buffer): Incoming {
    let message: unknown;
    try {
      message = this.#unpackr.unpack(data);
    } catch {
      throw malformed('bytes that are not msgpack');
    }
    if (typeof message !== 'object' || message === null || Array.isArray(message)) throw malformed('a message that is not a map');
    return message as Incoming;
  }

  /** The error with which the link ended; undefined while it is there. */
  get end(): ConnectionError | undefined {
    return this.#end;
  }

  /** Sends a control message. Nothing is sent once the link ended. */
  send(message: Readonly<Record<string, unknown>>): void {
    this.#send(this.#packr.pack(message));
  }

  /** Sends an encoded `submit` message. The bytes must not change afterwards. */
  submit(bytes: Uint8Array): void {
    this.#submits++;
    this.#send(bytes);
  }

  /** How many submits were sent: the server counts them too, and names one that it refuses by its number, from 1 on. */
  get submits(): number {
    return this.#submits;
  }

  #send(bytes: Uint8Array): void {
    if (this.#end !== undefined) return;
    this.#mask = bytes.length <= MASKED_BYTES ? 1 : 0;
    this.#socket.send(bytes);
  }

  /** Ends the link at once with `error`, if it has not ended. */
  fail(error: ConnectionError): void {
    if (this.#end !== undefined) return;
    this.#finish(error);
    this.#socket.terminate();
  }

  #finish(error: ConnectionError): void {
    this.#end = error;
    clearInterval(this.#keepalive);
    this.#owner.ended(error);
  }

  /** Ends the link in order: what was sent before arrives. Resolves when the socket is closed. */
  async close(): Promise<void> {
    if (this.#end === undefined) {
      this.#finish(new ConnectionError('connectionClosed', 'the client was closed by this program; connect again'));
      this.#socket.close(1000);
    }
    if (this.#socket.readyState === WebSocket.CLOSED) return;
    await new Promise<void>((resolve) => {
      const giveUp = setTimeout(() => this.#socket.terminate(), CLOSE_MILLISECONDS);
      this.#socket.once('close', () => {
        clearTimeout(giveUp);
        resolve();
      });
    });
  }
}
