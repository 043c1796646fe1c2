/** A WebSocket as a session wants it. */
import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';
import type { Connection, Ticket } from '../session/index.js';

/** What each message that waits costs beside its bytes: frame head, buffers and write request. Without it many tiny messages would be free. */
const MESSAGE_COST = 512;
/** Bytes of a close reason (RFC 6455 5.5.1: 125 with the status). */
const MAX_REASON = 120;
/** Bytes before the peer said who it is. A hello is shorter by far; without this limit each stranger could make the server hold a message of full size. */
const MAX_STRANGER_BYTES = 65_536;
/** RFC 6455 7.4.1: a message is too big. */
const TOO_BIG = 1009;
const BINARY = { binary: true, compress: false } as const;

export class WebSocketConnection implements Connection {
  onMessage: (bytes: Uint8Array, binary: boolean) => void = () => undefined;
  onSent: () => void = () => undefined;
  onViolation: (code: 'messageTooLarge' | 'malformed', what: string) => void = () => undefined;
  onEnd: (reason: string) => void = () => undefined;
  readonly #socket: Socket;
  readonly #webSocket: WebSocket;
  readonly #ticket: Ticket;
  #unsent = 0;
  #isStranger = true;
  #strangerBytes = 0;
  /** Milliseconds of the clock that never goes back. */
  #lastHeard = performance.now();
  #lastWaiting = 0;
  /** What to call when a ping with this payload is answered. The peer reads, and answers, in order. */
  readonly #probes = new Map<string, () => void>();
  #lastProbe = 0;

  constructor(webSocket: WebSocket, socket: Socket, ticket: Ticket) {
    this.#webSocket = webSocket;
    this.#socket = socket;
    this.#ticket = ticket;
    webSocket.on('message', (data, isBinary) => {
      this.#lastHeard = performance.now();
      // With its default binary type, ws hands over a Buffer.
      this.onMessage(data as Buffer, isBinary);
    });
    webSocket.on('pong', (payload) => {
      this.#lastHeard = performance.now();
      const probe = payload.toString('latin1');
      this.#probes.get(probe)?.();
      this.#probes.delete(probe);
    });
    webSocket.on('error', (error) => this.#onError(error));
    socket.on('data', this.#onStrangerData);
    webSocket.on('close', (status) => this.onEnd(`closed with status ${status}`));
  }

  get waiting(): number {
    return this.#socket.writableLength + this.#unsent * MESSAGE_COST;
  }

  send(bytes: Uint8Array): void {
    if (this.#webSocket.readyState !== this.#webSocket.OPEN) return;
    this.#unsent++;
    this.#webSocket.send(bytes, BINARY, this.#onWritten);
  }

  pause(): void {
    this.#webSocket.pause();
  }

  resume(): void {
    this.#webSocket.resume();
  }

  authenticated(): void {
    this.#isStranger = false;
    this.#socket.off('data', this.#onStrangerData);
    this.#ticket.authenticated();
  }

  whenRead(callback: () => void): void {
    if (this.#webSocket.readyState !== this.#webSocket.OPEN) return;
    const probe = String(++this.#lastProbe);
    this.#probes.set(probe, callback);
    this.#webSocket.ping(probe);
  }

  end(status: number, reason: string): void {
    this.#webSocket.close(status, reason.slice(0, MAX_REASON));
    // The peer's answer to the close has to be read.
    this.#webSocket.resume();
  }

  destroy(): void {
    this.#webSocket.terminate();
  }

  /** Asks for a sign of life, or ends a connection that gave none for `milliseconds`. Called several times in that period. */
  keepAlive(now: number, milliseconds: number): void {
    const { waiting } = this;
    // While reading is paused no pong can arrive; that the peer reads is a sign of life as well.
    if (this.#webSocket.isPaused && waiting < this.#lastWaiting) this.#lastHeard = now;
    this.#lastWaiting = waiting;
    const silent = now - this.#lastHeard;
    if (silent > milliseconds) this.destroy();
    else if (silent > milliseconds / 3 && this.#webSocket.readyState === this.#webSocket.OPEN) this.#webSocket.ping();
  }

  readonly #onWritten = (): void => {
    this.#unsent--;
    this.onSent();
  };

  /** Comes after ws has read the same bytes: a hello among them was heard already. */
  readonly #onStrangerData = (chunk: Buffer): void => {
    this.#strangerBytes += chunk.length;
    if (!this.#isStranger || this.#strangerBytes <= MAX_STRANGER_BYTES) return;
    this.#socket.off('data', this.#onStrangerData);
    this.onViolation('messageTooLarge', `${MAX_STRANGER_BYTES} bytes before hello`);
    this.#webSocket.close(TOO_BIG, `more than ${MAX_STRANGER_BYTES} bytes before hello`);
    // Nothing more is kept of it. That it does not answer the close is what ends the connection.
    this.#webSocket.pause();
  };

  /** ws closes the connection by itself, with the right status. */
  #onError(error: Error & { readonly code?: string }): void {
    if (error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH') this.onViolation('messageTooLarge', error.message);
    else if (error.code?.startsWith('WS_ERR_') === true) this.onViolation('malformed', error.message);
  }
}
