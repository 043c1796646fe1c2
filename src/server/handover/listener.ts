/** The descriptor socket: a client sends a ticket and gets descriptors. Nothing else is said here, and nobody may take long for it. */
import { type Socket, createServer } from 'node:net';
import { shm } from '../../native/shm.js';
import { TICKET_BYTES } from '../../protocol/index.js';
import { Refusal } from '../engine/api.js';
import type { Log } from '../log.js';
import { descriptorOf } from '../socket-descriptor.js';
import { claimSocket } from '../socket-file.js';
import { messageOf, systemCode } from '../text.js';
import type { Gift, Recipient, Tickets } from './tickets.js';

/** Connections at a time, over all users; one user has at most half of them. */
const MAX_CONNECTIONS = 64;
const DEADLINE_MILLISECONDS = 2_000;

/** The byte that comes with the descriptors, or instead of them. */
export const HandoverStatus = { ok: 0, refused: 1, failed: 2 } as const;

export interface DescriptorSocketOptions {
  readonly path: string;
  readonly mode: number;
  readonly tickets: Tickets;
  readonly log: Log;
}

/** Listens at a path; resolves with what ends it. @throws SocketInUse */
export async function listenDescriptors({ path, mode, tickets, log }: DescriptorSocketOptions): Promise<() => void> {
  const connections = new Map<Socket, number>();
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    const recipient = recipientOf(socket);
    if (recipient === undefined || !hasPlace(connections, recipient.uid)) {
      socket.destroy();
      return;
    }
    const deadline = setTimeout(() => socket.destroy(), DEADLINE_MILLISECONDS).unref();
    connections.set(socket, recipient.uid);
    socket.once('close', () => {
      clearTimeout(deadline);
      connections.delete(socket);
    });
    readTicket(socket, (ticket) => void answer(socket, recipient, ticket, tickets, log));
  });
  await claimSocket(server, path, mode, undefined);
  server.on('error', (error) => log.error('the descriptor socket failed', { path, error: error.message }));
  tickets.path = path;
  return () => {
    tickets.path = undefined;
    server.close();
    for (const socket of connections.keys()) socket.destroy();
  };
}

function recipientOf(socket: Socket): Recipient | undefined {
  try {
    return shm().peerCredentials(descriptorOf(socket));
  } catch {
    return undefined;
  }
}

function hasPlace(connections: ReadonlyMap<Socket, number>, uid: number): boolean {
  let same = 0;
  for (const other of connections.values()) if (other === uid) same++;
  return connections.size < MAX_CONNECTIONS && same < MAX_CONNECTIONS / 2;
}

/** Calls back with exactly as many bytes as a ticket has. Whoever sends more is cut off. */
function readTicket(socket: Socket, callback: (ticket: Uint8Array) => void): void {
  const ticket = Buffer.alloc(TICKET_BYTES);
  let length = 0;
  socket.on('data', (chunk: Buffer) => {
    if (length + chunk.length > TICKET_BYTES) {
      socket.destroy();
      return;
    }
    chunk.copy(ticket, length);
    length += chunk.length;
    if (length < TICKET_BYTES) return;
    socket.pause();
    callback(ticket);
  });
}

async function answer(socket: Socket, recipient: Recipient, ticket: Uint8Array, tickets: Tickets, log: Log): Promise<void> {
  const offer = tickets.redeem(ticket);
  if (offer === undefined || !offer.admits(recipient)) {
    // One that is not known is of a session that ended just now, or a guess: anybody can send those, as many as they like.
    if (offer === undefined) log.debug('an unknown ticket was refused', { uid: recipient.uid });
    else log.warn('a ticket was refused: it is of another user', { uid: recipient.uid });
    socket.end(Buffer.of(HandoverStatus.refused));
    return;
  }
  let gift: Gift | undefined;
  try {
    gift = await offer.give(recipient, () => shm().duplicate(descriptorOf(socket)));
    shm().sendDescriptors(descriptorOf(socket), Buffer.of(HandoverStatus.ok), gift.descriptors);
    socket.destroy();
  } catch (error) {
    // A client that is gone by now, or that closed meanwhile what it asked for, is nothing out of the ordinary, and could fill the log with it.
    const ordinary = socket.destroyed || systemCode(error) === 'EPIPE' || error instanceof Refusal;
    log[ordinary ? 'debug' : 'warn']('memory could not be handed over', { uid: recipient.uid, error: messageOf(error) });
    socket.end(Buffer.of(HandoverStatus.failed));
  } finally {
    gift?.done();
  }
}
