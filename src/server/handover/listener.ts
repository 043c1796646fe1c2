/** The descriptor socket: a client sends a ticket and gets descriptors. Nothing else is said here, and nobody may take long for it. */
import { createServer } from 'node:net';
import { shm } from '../../native/shm.js';
import type { Log } from '../log.js';
import { descriptorOf } from '../socket-descriptor.js';
import { claimSocket } from '../socket-file.js';
import { messageOf } from '../text.js';
import type { Tickets } from './tickets.js';
import { Visitor } from './visitor.js';

/** Connections at a time, over all users; one user has at most half of them. */
const MAX_CONNECTIONS = 64;

export interface DescriptorSocketOptions {
  readonly path: string;
  readonly mode: number;
  readonly tickets: Tickets;
  readonly log: Log;
}

/** Listens at a path; resolves with what ends it. @throws SocketInUse */
export async function listenDescriptors({ path, mode, tickets, log }: DescriptorSocketOptions): Promise<() => void> {
  const visitors = new Set<Visitor>();
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    socket.on('error', () => undefined);
    let visitor: Visitor;
    try {
      // The event loop would drop descriptors that it reads, or that wait when it closes, and dropping them can take for ever: from here on it has no part in it.
      visitor = new Visitor(shm().duplicate(descriptorOf(socket)), tickets, log, () => visitors.delete(visitor));
    } catch (error) {
      log.warn('a connection for descriptors could not be taken', { error: messageOf(error) });
      socket.destroy();
      return;
    }
    socket.destroy();
    if (!hasPlace(visitors, visitor.uid)) visitor.end();
    else {
      visitors.add(visitor);
      visitor.begin();
    }
  });
  await claimSocket(server, path, mode, undefined, true);
  server.on('error', (error) => log.error('the descriptor socket failed', { path, error: error.message }));
  tickets.path = path;
  return () => {
    tickets.path = undefined;
    server.close();
    for (const visitor of visitors) visitor.end();
  };
}

function hasPlace(visitors: ReadonlySet<Visitor>, uid: number): boolean {
  let same = 0;
  for (const other of visitors) if (other.uid === uid) same++;
  return visitors.size < MAX_CONNECTIONS && same < MAX_CONNECTIONS / 2;
}
