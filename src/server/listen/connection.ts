/** A WebSocket as a session wants it. */
import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import { MAX_MESSAGE_BYTES } from '../../protocol/index.js';
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

/** Says that a message is too big before ws closes for it: afterwards nothing can be sent, and the peer would not hear why. */
export class ServerWebSocket extends WebSocket {
  onTooBig: () => void = () => undefined;
  #isTooBig = false;

  override close(status?: number, reason?: string | Buffer): void {
    if (status === TOO_BIG && !this.#isTooBig) {
      this.#isTooBig = true;
      this.onTooBig();
    }
    super.close(status, reason);
  }
}

export class WebSocketConnection implements Connection {
  onMessage: (bytes: Uint8Array, binary: boolean) => void = () => undefined;
  onSent: () => void = () => undefined;
  onTooLarge: (limit: number) => void = () => undefined;
  onViolation: (what: string) => void = () => undefined;
  onEnd: (reason: string) => void = () => undefined;
  readonly #socket: Socket;
  readonly #webSocket: ServerWebSocket;
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

  constructor(webSocket: ServerWebSocket, socket: Socket, ticket: Ticket) {
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
    webSocket.onTooBig = () => this.onTooLarge(this.#isStranger ? MAX_STRANGER_BYTES : MAX_MESSAGE_BYTES);
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
    this.#webSocket.close(TOO_BIG);
    // Nothing more is kept of it. That it does not answer the close is what ends the connection.
    this.#webSocket.pause();
  };

  /** ws closes the connection by itself, with the right status. */
  #onError(error: Error & { readonly code?: string }): void {
    if (error.code?.startsWith('WS_ERR_') === true) this.onViolation(error.message);
  }
}
