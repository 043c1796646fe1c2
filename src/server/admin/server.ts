/** HTTP over the admin socket, and the metrics listener on loopback. */
import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { CODES } from '../../protocol/index.js';
import type { Environment } from '../config/index.js';
import { Refusal } from '../engine/api.js';
import type { Log } from '../log.js';
import { messageOf } from '../text.js';
import { mayAdminister, peerOf } from './access.js';
import { AdminRefusal } from './refusal.js';
import { createRouter } from './routes.js';
import type { AdminAnswer } from './routes.js';
import { claimSocket } from '../socket-file.js';
import type { SocketFile } from '../socket-file.js';
import type { AdminSources } from './sources.js';

/** An administrator and a few scrapers; whoever opens more is not well. */
const MOST_CONNECTIONS = 64;
const MOST_HEADER_BYTES = 8_192;
const REQUEST_MILLISECONDS = 10_000;

export interface AdminOptions {
  readonly path: string;
  /** Group whose members may administer. */
  readonly group: number | undefined;
  readonly metrics: { readonly host: string; readonly port: number } | undefined;
  readonly sources: AdminSources;
  readonly environment: Environment;
  readonly log: Log;
}

function send(response: ServerResponse, status: number, { contentType, text }: AdminAnswer): void {
  response.writeHead(status, { 'content-type': contentType, 'content-length': Buffer.byteLength(text), 'cache-control': 'no-store' });
  response.end(text);
}

function sendError(response: ServerResponse, status: number, what: string, remedy: string): void {
  send(response, status, { contentType: 'application/json', text: `${JSON.stringify({ error: { what, remedy } })}\n` });
}

/** Answers through `answer`; no request has a body, so none is read. */
function listener(log: Log, answer: (request: IncomingMessage) => Promise<AdminAnswer>): RequestListener {
  return (request, response) => {
    request.resume();
    answer(request).then(
      (result) => send(response, 200, result),
      (error: unknown) => {
        if (error instanceof AdminRefusal) return sendError(response, error.status, error.message, error.remedy);
        if (error instanceof Refusal) return sendError(response, 409, CODES[error.code].reason, CODES[error.code].remedy);
        log.warn('an administrative request failed', { method: request.method, path: request.url, error: messageOf(error) });
        return sendError(response, 500, messageOf(error), 'see the log of the server');
      },
    );
  };
}

const bounded = (handler: RequestListener): Server => {
  const server = createServer(
    { maxHeaderSize: MOST_HEADER_BYTES, headersTimeout: REQUEST_MILLISECONDS, requestTimeout: REQUEST_MILLISECONDS },
    handler,
  );
  server.maxConnections = MOST_CONNECTIONS;
  return server;
};

const pathOf = (request: IncomingMessage): string => new URL(request.url ?? '/', 'http://admin').pathname;

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

export class AdminServer {
  readonly #options: AdminOptions;
  readonly #server: Server;
  readonly #metrics: Server | undefined;
  readonly #peers = new WeakMap<Socket, boolean>();
  #socket: SocketFile | undefined;

  constructor(options: AdminOptions) {
    this.#options = options;
    const { sources, log } = options;
    const router = createRouter(sources);
    this.#server = bounded(
      listener(log, async (request) => {
        if (this.#peers.get(request.socket) !== true) {
          throw new AdminRefusal(403, 'you may not administer this server', 'ask as root, as its user, or as a member of its admin group');
        }
        return router.answer(request.method ?? 'GET', pathOf(request));
      }),
    );
    this.#server.on('connection', (socket: Socket) => {
      const peer = peerOf(socket);
      const allowed = mayAdminister(peer, options.group, options.environment);
      this.#peers.set(socket, allowed);
      if (!allowed) log.warn('a stranger at the admin socket', { uid: peer?.uid ?? -1 });
    });
    if (options.metrics !== undefined) {
      this.#metrics = bounded(
        listener(log, async (request) => {
          if (request.method === 'GET' && pathOf(request) === '/metrics') return router.metrics();
          throw new AdminRefusal(404, 'there is nothing but /metrics here', 'use the admin socket');
        }),
      );
    }
  }

  /** Starts to listen. Throws, with nothing left behind, when either address is taken. */
  async listen(): Promise<void> {
    const { path, group, metrics } = this.#options;
    const server = this.#metrics;
    if (server !== undefined && metrics !== undefined) {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(metrics.port, metrics.host, () => {
          server.off('error', reject);
          resolve();
        });
      });
    }
    try {
      this.#socket = await claimSocket(this.#server, path, group === undefined ? 0o600 : 0o660, group);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    const servers = [this.#server, this.#metrics].filter((server) => server !== undefined).filter(({ listening }) => listening);
    this.#socket?.release();
    this.#socket = undefined;
    await Promise.all(servers.map(closed));
  }
}
