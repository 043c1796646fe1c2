/** The Unix socket: clients are known by the user and group of their process. */
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { shm } from '../../native/shm.js';
import { type Tickets, listenDescriptors } from '../handover/index.js';
import type { Log } from '../log.js';
import type { ServerLimits } from '../policy.js';
import type { Peer } from '../session/index.js';
import { descriptorOf } from '../socket-descriptor.js';
import { claimSocket } from '../socket-file.js';
import type { Listener } from './listener.js';
import { MAX_PATH_BYTES, lockPath } from './path-lock.js';
import { type ConnectionSink, HTTP_OPTIONS, takeWebSockets } from './upgrade.js';

export interface UnixOptions {
  readonly path: string;
  /** Mode of the socket, for example 0o666. Who may do what is decided by credentials, so it may be open to all. */
  readonly mode: number;
  readonly sessions: ConnectionSink;
  readonly limits: ServerLimits;
  /** What clients fetch from the descriptor socket, which is beside this one. */
  readonly tickets: Tickets;
  readonly log: Log;
}

/** The descriptor socket is at the same path, with this behind it. */
const DESCRIPTORS = '.fds';

/**
 * Listens at a path.
 *
 * @throws SocketInUse when a server is there already, or something that is not a socket; Error when the folder or the path is not fit.
 */
export async function listenUnix({ path, mode, sessions, limits, tickets, log }: UnixOptions): Promise<Listener> {
  const unlock = lockPath(path);
  const server = createServer(HTTP_OPTIONS);
  const identify = (socket: Socket): Peer => ({ transport: 'unix', address: path, ...shm().peerCredentials(descriptorOf(socket)) });
  const endArrivals = takeWebSockets(server, 'connection', { sessions, limits, log, identify, keyOf: (peer) => `uid ${peer.uid}` });
  let endDescriptors: () => void = () => undefined;
  let closed = false;
  const close = async (): Promise<void> => {
    if (closed) return;
    closed = true;
    // Closing removes the file of the socket, at once.
    server.close();
    endArrivals();
    endDescriptors();
    unlock();
  };
  try {
    const beside = `${path}${DESCRIPTORS}`;
    // First, so that it is there for the first client.
    if (Buffer.byteLength(beside) <= MAX_PATH_BYTES) endDescriptors = await listenDescriptors({ path: beside, mode, tickets, log });
    else log.warn('the path is too long for a descriptor socket beside it: clients get no shared memory', { path });
    await claimSocket(server, path, mode, undefined);
  } catch (error) {
    await close();
    throw error;
  }
  server.on('error', (error) => log.error('the Unix socket failed', { path, error: error.message }));
  return { address: path, close };
}
