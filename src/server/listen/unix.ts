/** The Unix socket: clients are known by the user and group of their process. */
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { shm } from '../../native/shm.js';
import type { Log } from '../log.js';
import type { ServerLimits } from '../policy.js';
import type { Peer } from '../session/index.js';
import { claimSocket } from '../socket-file.js';
import type { Listener } from './listener.js';
import { lockPath } from './path-lock.js';
import { type ConnectionSink, HTTP_OPTIONS, takeWebSockets } from './upgrade.js';

export interface UnixOptions {
  readonly path: string;
  /** Mode of the socket, for example 0o666. Who may do what is decided by credentials, so it may be open to all. */
  readonly mode: number;
  readonly sessions: ConnectionSink;
  readonly limits: ServerLimits;
  readonly log: Log;
}

/**
 * Listens at a path.
 *
 * @throws SocketInUse when a server is there already, or something that is not a socket; Error when the folder or the path is not fit.
 */
export async function listenUnix({ path, mode, sessions, limits, log }: UnixOptions): Promise<Listener> {
  const unlock = lockPath(path);
  const server = createServer(HTTP_OPTIONS);
  const identify = (socket: Socket): Peer => ({ transport: 'unix', address: path, ...shm().peerCredentials(descriptorOf(socket)) });
  const endArrivals = takeWebSockets(server, 'connection', { sessions, limits, log, identify, keyOf: (peer) => `uid ${peer.uid}` });
  let closed = false;
  const close = async (): Promise<void> => {
    if (closed) return;
    closed = true;
    // Closing removes the file of the socket, at once.
    server.close();
    endArrivals();
    unlock();
  };
  try {
    await claimSocket(server, path, mode, undefined);
  } catch (error) {
    await close();
    throw error;
  }
  server.on('error', (error) => log.error('the Unix socket failed', { path, error: error.message }));
  return { address: path, close };
}

/** Node has no public way to the descriptor of a socket. */
function descriptorOf(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: unknown } | null };
  if (typeof handle?.fd !== 'number' || handle.fd < 0) throw new Error('the socket has no descriptor');
  return handle.fd;
}
