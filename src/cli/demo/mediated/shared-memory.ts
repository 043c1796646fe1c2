/** The attacker's way to shared memory: the descriptor socket and what comes from it, well used or not. */
import { setTimeout as delay } from 'node:timers/promises';
import { shm } from '../../../native/shm.js';
import { completionRingBytes, requestRingBytes } from '../../../protocol/index.js';
import type { Reply } from '../types.js';
import { within } from '../within.js';
import type { Foothold } from './foothold.js';
import { RawRing } from './raw-ring.js';

/** Entries of the attacker's ring: few, so that it is full soon. */
export const RING_ENTRIES = 16;

export interface Ticket {
  readonly ticket: Uint8Array;
  readonly path: string;
}

/** What came back for the bytes that were sent. */
export interface Fetched {
  readonly reply: Reply;
  readonly descriptors: readonly number[];
  /** Open still. */
  readonly connection: number;
}

/** Descriptors, connections and mappings of one attack. */
export class SharedMemory {
  readonly #descriptors: number[] = [];
  readonly #buffers: ArrayBuffer[] = [];

  /** Brings a ticket, or what passes for one, to the descriptor socket. */
  async fetch({ ticket, path }: Ticket): Promise<Fetched> {
    const connection = await this.connect(path);
    shm().send(connection, ticket, 0, ticket.length);
    const status = new Uint8Array(1);
    const answer = async (): Promise<{ bytes: number; descriptors: number[] }> => {
      for (;;) {
        const got = receive(connection, status);
        if (got.bytes >= 0) return got;
        await delay(0);
      }
    };
    const { bytes, descriptors } = await within('the answer to a ticket', answer());
    this.#descriptors.push(...descriptors);
    if (bytes === 1 && status[0] === 0) return { reply: { outcome: 'harmless', code: '' }, descriptors, connection };
    if (bytes === 1 && status[0] === 1) return { reply: { outcome: 'refused', code: 'noSuchTicket' }, descriptors, connection };
    throw new Error(bytes === 0 ? 'the descriptor socket ended the connection without an answer' : `the descriptor socket answered ${status[0]}`);
  }

  /** A connection to the descriptor socket, with nothing sent on it. Waits while its queue of connections is full. */
  async connect(path: string): Promise<number> {
    for (;;) {
      try {
        const connection = shm().connect(path);
        this.#descriptors.push(connection);
        return connection;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
        await delay(1);
      }
    }
  }

  /** Takes over a descriptor, to be closed at the end. */
  keep(fd: number): number {
    this.#descriptors.push(fd);
    return fd;
  }

  /** Gives one back early. */
  close(fd: number): void {
    const at = this.#descriptors.indexOf(fd);
    if (at >= 0) this.#descriptors.splice(at, 1);
    shm().close(fd);
  }

  map(fd: number, bytes: number, writable: boolean): ArrayBuffer {
    const buffer = shm().map(fd, 0, bytes, writable);
    this.#buffers.push(buffer);
    return buffer;
  }

  /** A queue of the foothold, with its rings in the attacker's hands. */
  async rings(foothold: Foothold): Promise<Rings> {
    const { queue } = await foothold.attacker.must('openQueue', { lease: foothold.lease, entries: RING_ENTRIES });
    const ticket = (await foothold.attacker.must('shareQueue', { lease: foothold.lease, queue })) as unknown as Ticket;
    const { reply, descriptors, connection } = await this.fetch(ticket);
    if (reply.outcome !== 'harmless') throw new Error(`the ticket of a queue was refused: ${reply.code}`);
    const [requests, completions] = descriptors;
    const requestMemory = this.map(requests, requestRingBytes(RING_ENTRIES), true);
    const completionMemory = this.map(completions, completionRingBytes(RING_ENTRIES), false);
    shm().guard(completionMemory);
    const ring = new RawRing(RING_ENTRIES, requestMemory, completionMemory, connection);
    return { queue: Number(queue), ring, requests, completions, ticket };
  }

  /** Shows everything that is mapped. */
  look(at: (bytes: Uint8Array) => void): void {
    for (const buffer of this.#buffers) at(new Uint8Array(buffer));
  }

  end(): void {
    for (const buffer of this.#buffers.splice(0)) shm().unmap(buffer);
    for (const fd of this.#descriptors.splice(0)) shm().close(fd);
  }
}

export interface Rings {
  readonly queue: number;
  readonly ring: RawRing;
  /** Descriptors of the two files. */
  readonly requests: number;
  readonly completions: number;
  /** The ticket that they came for. */
  readonly ticket: Ticket;
}

/** A server that ends a connection on which bytes are left that it did not read resets it. */
function receive(connection: number, into: Uint8Array): { bytes: number; descriptors: number[] } {
  try {
    return shm().receiveDescriptors(connection, into, 4);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ECONNRESET') return { bytes: 0, descriptors: [] };
    throw error;
  }
}
