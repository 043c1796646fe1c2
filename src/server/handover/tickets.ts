/**
 * Tickets: what a session gives out so that its client can fetch descriptors on a connection of its own. A ticket serves once, for one object, for a few
 * seconds, and no longer than its session.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { TICKET_BYTES } from '../../protocol/index.js';
import { Refusal } from '../engine/api.js';

const LIFE_MILLISECONDS = 5_000;
/** Of one session at a time. */
const MAX_TICKETS = 16;

/** Who is at the other end of a descriptor connection, as the kernel says it. */
export interface Recipient {
  readonly uid: number;
  readonly gid: number;
}

/** The connection on which a ticket came, as an offer may use it. */
export interface Visit {
  readonly recipient: Recipient;
  /** Duplicates the connection, for an offer that goes on using it. */
  keep(): number;
  /** The descriptor that came with the ticket; it is the caller's. @throws {@link Refusal} `noDescriptor` when there is none, or there are several. */
  takeDescriptor(): number;
}

/** What goes over, and what is to be done when it is on its way or has failed. */
export interface Gift {
  readonly descriptors: readonly number[];
  /** Called once, whatever became of it. */
  done(): void;
}

/** What a ticket stands for. */
export interface Offer {
  /** Whether this peer may have it. */
  admits(recipient: Recipient): boolean;
  /** Makes it. Rejects when the object is gone. */
  give(visit: Visit): Gift | Promise<Gift>;
}

interface Entry {
  readonly bytes: Buffer;
  readonly holder: object;
  readonly offer: Offer;
  readonly timer: NodeJS.Timeout;
}

export class Tickets {
  /** Where the descriptor socket is; undefined while there is none. */
  path: string | undefined;
  readonly #entries = new Set<Entry>();
  readonly #milliseconds: number;

  constructor(milliseconds = LIFE_MILLISECONDS) {
    this.#milliseconds = milliseconds;
  }

  /** A ticket for `offer`, on the account of `holder`. @throws {@link Refusal} `ticketLimit`. */
  issue(holder: object, offer: Offer): Uint8Array {
    let held = 0;
    for (const entry of this.#entries) if (entry.holder === holder) held++;
    if (held >= MAX_TICKETS) throw new Refusal('ticketLimit', '', held);
    const bytes = randomBytes(TICKET_BYTES);
    const timer = setTimeout(() => this.#entries.delete(entry), this.#milliseconds).unref();
    const entry: Entry = { bytes, holder, offer, timer };
    this.#entries.add(entry);
    return Uint8Array.from(bytes);
  }

  /** What the ticket stands for; it is used up. All are compared, so that the time tells nothing about any of them. */
  redeem(bytes: Uint8Array): Offer | undefined {
    let found: Entry | undefined;
    for (const entry of this.#entries) if (timingSafeEqual(entry.bytes, bytes)) found = entry;
    if (found !== undefined) this.#remove(found);
    return found?.offer;
  }

  /** The holder is gone. */
  drop(holder: object): void {
    for (const entry of this.#entries) if (entry.holder === holder) this.#remove(entry);
  }

  #remove(entry: Entry): void {
    clearTimeout(entry.timer);
    this.#entries.delete(entry);
  }
}
