/** The client's side of the descriptor socket, with the addon alone: well behaved or not. */
import { setImmediate as turn } from 'node:timers/promises';
import { shm } from '../../src/native/shm.js';

export interface Fetched {
  /** The byte that came; -1 when the connection ended without one. */
  readonly status: number;
  readonly descriptors: number[];
  /** The connection, which the caller closes. */
  readonly connection: number;
}

/** Sends `bytes`, with descriptors to `pass` if there are any, and waits for what comes of it. */
export async function fetchDescriptors(path: string, bytes: Uint8Array, pass: readonly number[] = []): Promise<Fetched> {
  const connection = shm().connect(path);
  if (pass.length > 0) shm().sendDescriptors(connection, bytes, pass);
  else if (bytes.length > 0) shm().send(connection, bytes, 0, bytes.length);
  const into = new Uint8Array(1);
  for (;;) {
    const got = receive(connection, into);
    if (got.bytes >= 0) return { status: got.bytes === 0 ? -1 : into[0], descriptors: got.descriptors, connection };
    await turn();
  }
}

/** A server that ends a connection while there are bytes which it did not read resets it. */
function receive(connection: number, into: Uint8Array): { bytes: number; descriptors: number[] } {
  try {
    return shm().receiveDescriptors(connection, into, 4);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ECONNRESET') return { bytes: 0, descriptors: [] };
    throw error;
  }
}

export function release({ descriptors, connection }: Fetched): void {
  for (const fd of [...descriptors, connection]) shm().close(fd);
}
