/** Fetches memory from the server's descriptor socket: with a ticket, on a connection of its own. */
import { setImmediate as turn, setTimeout as pause } from 'node:timers/promises';
import { shm } from '../native/shm.js';
import type { RegionInfo } from '../protocol/index.js';
import { readNothing, readTicket, type Ticket } from './answers.js';
import { codeError, RefusedError } from './errors.js';
import type { Session } from './session.js';

/** How long the server may take for it. */
const DEADLINE_MILLISECONDS = 3_000;
/** A status from here on is the number of a code. */
const FIRST_CODE = 100;
/** It mostly takes less than this; afterwards other things are more urgent. */
const EAGER_MILLISECONDS = 2;

export const handoverFailed = (context: string, why: string, cause?: unknown): RefusedError =>
  new RefusedError('noHandover', `${context}: no shared memory: ${why}; use the option transport: 'socket'`, { cause });

/** What came for a ticket: descriptors, and the connection. All are the caller's to close. */
export interface Fetched {
  readonly descriptors: readonly number[];
  readonly connection: number;
}

/** `pass` is a descriptor that goes with the ticket. Rejects with a RefusedError: `noHandover` when the ticket brings nothing, or what is wrong with `pass`. */
export async function fetchDescriptors(context: string, { ticket, path }: Ticket, count: number, pass?: number): Promise<Fetched> {
  const native = shm();
  let connection: number;
  try {
    connection = native.connect(path);
  } catch (cause) {
    throw handoverFailed(context, `cannot connect to ${path} (${(cause as NodeJS.ErrnoException).code ?? 'unknown'})`, cause);
  }
  try {
    send(connection, ticket, pass);
    const descriptors = await receive(context, connection, count);
    return { descriptors, connection };
  } catch (error) {
    native.close(connection);
    throw error;
  }
}

function send(connection: number, ticket: Uint8Array, pass: number | undefined): void {
  try {
    if (pass === undefined) shm().send(connection, ticket, 0, ticket.length);
    else shm().sendDescriptors(connection, ticket, [pass]);
  } catch (error) {
    // A server that takes nothing of this user says so before it has heard anything; what it said can still be read.
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
}

async function receive(context: string, connection: number, count: number): Promise<number[]> {
  const status = new Uint8Array(1);
  const began = performance.now();
  for (;;) {
    const got = shm().receiveDescriptors(connection, status, count);
    if (got.bytes === 1 && status[0] === 0 && got.descriptors.length === count) return got.descriptors;
    for (const fd of got.descriptors) shm().close(fd);
    if (got.bytes === 1 && status[0] >= FIRST_CODE) throw codeError(context, status[0], 'fd', '');
    if (got.bytes >= 0)
      throw handoverFailed(context, got.bytes === 0 ? 'the server ended the connection' : `the server refused the ticket (${status[0]})`);
    const waited = performance.now() - began;
    if (waited > DEADLINE_MILLISECONDS) throw handoverFailed(context, 'the server does not answer');
    await (waited < EAGER_MILLISECONDS ? turn() : pause(1));
  }
}

/** Maps a region of the domain into this process, for good: until its buffer is unmapped. */
export async function mapRegion(session: Session, context: string, { region, bytes }: RegionInfo): Promise<ArrayBuffer> {
  const ticket = await session.calls.call('shareRegion', { region }, readTicket);
  const { descriptors, connection } = await fetchDescriptors(context, ticket, 1);
  shm().close(connection);
  let buffer: ArrayBuffer;
  try {
    buffer = shm().map(descriptors[0], 0, bytes, true);
  } finally {
    shm().close(descriptors[0]);
  }
  try {
    await session.calls.call('sealRegion', { region }, readNothing);
    return buffer;
  } catch (error) {
    shm().unmap(buffer);
    throw error;
  }
}
