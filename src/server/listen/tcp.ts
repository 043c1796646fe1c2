/** TCP: clients are known by their tokens, and beyond this machine nothing travels without TLS. */
import { lookup } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { type Server, createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { isLoopback } from '../config/index.js';
import type { Log } from '../log.js';
import type { ServerLimits } from '../policy.js';
import type { Peer } from '../session/index.js';
import { type Listener, listening } from './listener.js';
import { type ConnectionSink, HTTP_OPTIONS, takeWebSockets } from './upgrade.js';

const HANDSHAKE_MILLISECONDS = 5_000;

export interface TcpOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Paths of certificate chain and private key, PEM. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
  readonly sessions: ConnectionSink;
  readonly limits: ServerLimits;
  readonly log: Log;
}

/**
 * Listens on an address. `ws` on loopback, `wss` with a certificate.
 *
 * @throws Error when the address is not loopback and there is no certificate, or when it cannot be had.
 */
export async function listenTcp({ host, port, tls, sessions, limits, log }: TcpOptions): Promise<Listener & { readonly port: number }> {
  // The name is looked up once: what was judged is what is listened on.
  const { address } = await lookup(host);
  if (tls === undefined && !isLoopback(address)) {
    throw new Error(`${host} (${address}) can be reached from other machines: give a certificate, or listen on 127.0.0.1`);
  }
  const server: Server =
    tls === undefined
      ? createServer(HTTP_OPTIONS)
      : createSecureServer({
          ...HTTP_OPTIONS,
          cert: readFileSync(tls.cert),
          key: readFileSync(tls.key),
          minVersion: 'TLSv1.2',
          handshakeTimeout: HANDSHAKE_MILLISECONDS,
        });
  const identify = (socket: Socket): Peer => ({ transport: 'tcp', address: `${socket.remoteAddress}:${socket.remotePort}` });
  const keyOf = ({ address: peer }: Peer): string => peer.slice(0, peer.lastIndexOf(':'));
  const connectionEvent = tls === undefined ? 'connection' : 'secureConnection';
  const endArrivals = takeWebSockets(server, connectionEvent, { sessions, limits, log, identify, keyOf });
  server.on('tlsClientError', (_error, socket: Socket) => socket.destroy());
  await listening(server, { host: address, port });
  server.on('error', (error) => log.error('the TCP listener failed', { host, port, error: error.message }));
  const bound = (server.address() as AddressInfo).port;
  let closed = false;
  const close = async (): Promise<void> => {
    if (closed) return;
    closed = true;
    server.close();
    endArrivals();
  };
  return { address: `${address}:${bound}`, port: bound, close };
}
