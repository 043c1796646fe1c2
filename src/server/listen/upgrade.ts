/** HTTP as far as it is needed to become a WebSocket, and everything else turned away. */
import { type IncomingMessage, STATUS_CODES, type Server, type ServerOptions } from 'node:http';
import type { Socket } from 'node:net';
import { WebSocketServer } from 'ws';
import { MAX_MESSAGE_BYTES, SUBPROTOCOL } from '../../protocol/index.js';
import type { Log } from '../log.js';
import type { ServerLimits } from '../policy.js';
import type { Connection, Gate, Peer, Ticket } from '../session/index.js';
import { ServerWebSocket, WebSocketConnection } from './connection.js';

/** Headers of a handshake, all together. */
const MAX_HEADER_BYTES = 8_192;
/** How long a request may take to arrive. The hello deadline holds beside it. */
const REQUEST_MILLISECONDS = 5_000;
/** How long the closing handshake may take. */
const CLOSE_MILLISECONDS = 2_000;
/** Frames of one message. Programs send one; more are allowed, not many. */
const MAX_FRAGMENTS = 64;
/** Pieces in which a message may arrive: a sender of single bytes would make the server hold an object for each. */
const MAX_CHUNKS = 8_192;
/** Sockets above the connection limit that exist at a time, in whatever state. */
const SPARE_SOCKETS = 64;
/** Keepalive looks this often in each period. */
const LOOKS = 4;

/** Where connections go. */
export interface ConnectionSink {
  readonly gate: Gate;
  accept(connection: Connection, peer: Peer): void;
  /** The connection is one too many. */
  refuse(connection: Connection, peer: Peer): void;
}

export interface UpgradeOptions {
  readonly sessions: ConnectionSink;
  readonly limits: ServerLimits;
  readonly log: Log;
  /** Who is at the other end; throws when the kernel does not say. */
  readonly identify: (socket: Socket) => Peer;
  /** What counts as one and the same peer. */
  readonly keyOf: (peer: Peer) => string;
}

export const HTTP_OPTIONS: ServerOptions = {
  maxHeaderSize: MAX_HEADER_BYTES,
  headersTimeout: REQUEST_MILLISECONDS,
  requestTimeout: REQUEST_MILLISECONDS,
  connectionsCheckingInterval: 1_000,
  keepAlive: false,
  keepAliveTimeout: 1,
};

/** Makes an HTTP(S) server take WebSockets of the protocol. Returns what ends the connections that did not become sessions. */
export function takeWebSockets(server: Server, connectionEvent: 'connection' | 'secureConnection', options: UpgradeOptions): () => void {
  const { sessions, limits, log, identify, keyOf } = options;
  const arrivals = new Map<Socket, { readonly peer: Peer; readonly ticket: Ticket }>();
  const alive = new Set<WebSocketConnection>();
  // The type does not know `closeTimeout` yet.
  const webSocketOptions = {
    noServer: true,
    WebSocket: ServerWebSocket,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
    maxFragments: MAX_FRAGMENTS,
    maxBufferedChunks: MAX_CHUNKS,
    closeTimeout: CLOSE_MILLISECONDS,
    handleProtocols: () => SUBPROTOCOL,
  };
  const webSockets = new WebSocketServer(webSocketOptions);
  server.maxConnections = limits.connections + SPARE_SOCKETS;

  server.on(connectionEvent, (socket: Socket) => {
    // An error also closes the socket, and that is what is acted upon.
    socket.on('error', () => undefined);
    let peer: Peer;
    try {
      peer = identify(socket);
    } catch (error) {
      log.warn('a peer could not be identified', { error: String(error) });
      socket.destroy();
      return;
    }
    const ticket = sessions.gate.enter(keyOf(peer), () => socket.destroy());
    if (ticket === undefined) {
      socket.destroy();
      return;
    }
    arrivals.set(socket, { peer, ticket });
    socket.once('close', () => {
      arrivals.delete(socket);
      ticket.leave();
    });
  });

  server.on('request', (request, response) => {
    // What a person or a probe sends; the connection ends with the answer.
    const status = request.url === '/' ? 426 : 404;
    response.writeHead(status, { connection: 'close', 'content-type': 'text/plain', ...(status === 426 && { upgrade: 'websocket' }) });
    response.end(`${STATUS_CODES[status]}\n`);
  });
  server.on('clientError', (_error, socket) => socket.destroy());

  server.on('upgrade', (request: IncomingMessage, duplex, head: Buffer) => {
    const socket = duplex as Socket;
    const arrival = arrivals.get(socket);
    const refused = refusalOf(request);
    if (arrival === undefined || refused !== undefined) {
      socket.end(`HTTP/1.1 ${refused} ${STATUS_CODES[refused ?? 400]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
      socket.destroySoon();
      return;
    }
    webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      arrivals.delete(socket);
      const connection = new WebSocketConnection(webSocket, socket, arrival.ticket);
      alive.add(connection);
      webSocket.once('close', () => alive.delete(connection));
      if (arrival.ticket.turnedAway) sessions.refuse(connection, arrival.peer);
      else sessions.accept(connection, arrival.peer);
    });
  });

  const timer = setInterval(() => {
    const now = performance.now();
    for (const connection of alive) connection.keepAlive(now, limits.keepaliveMilliseconds);
  }, limits.keepaliveMilliseconds / LOOKS).unref();
  server.once('close', () => clearInterval(timer));

  return () => {
    for (const socket of arrivals.keys()) socket.destroy();
  };
}

/** The status with which a handshake is turned away; undefined for a good one. */
function refusalOf({ url, headers }: IncomingMessage): number | undefined {
  if (url !== '/') return 404;
  // A browser: no page may speak to the server.
  if (headers.origin !== undefined || headers['sec-websocket-origin'] !== undefined) return 403;
  const offered = headers['sec-websocket-protocol']?.split(',').map((name) => name.trim()) ?? [];
  return offered.includes(SUBPROTOCOL) ? undefined : 400;
}
