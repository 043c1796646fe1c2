/** Waiting until what was written is durable: for one namespace, or for all. */
import { Status } from '../../nvme/spec/index.js';
import { type Command, LATER } from './command.js';
import { Held, type HeldCommands } from './held.js';
import { DURABLE, FlushState } from './media.js';
import type { Namespace } from './namespace.js';

/** Stands for all namespaces where the index of one is asked for. */
export const ALL_MEDIA = -1;

export class Flushing {
  readonly #namespaces: readonly Namespace[];
  readonly #held: HeldCommands;

  constructor(namespaces: readonly Namespace[], held: HeldCommands) {
    this.#namespaces = namespaces;
    this.#held = held;
  }

  /** Makes durable what was written to a medium before this command: a status, or {@link LATER} with the command held. */
  flush(command: Command, medium: number): number {
    const ticket = medium === ALL_MEDIA ? this.startAll() : this.#namespaces[medium].media.flush();
    const state = this.state(medium, ticket);
    if (state === FlushState.failed) return Status.writeFault;
    if (state === FlushState.done) return Status.success;
    const held = this.#held.add(Held.durable, command.queue, command.id);
    held.medium = medium;
    held.ticket = ticket;
    return LATER;
  }

  /** Starts making everything durable. Returns a ticket for `state` with {@link ALL_MEDIA}. */
  startAll(): number {
    let ticket = DURABLE;
    for (const { media } of this.#namespaces) {
      const own = media.flush();
      // Tickets are counted up by whoever makes files durable, so the later one covers the earlier.
      if (own !== DURABLE && (ticket === DURABLE || ((own - ticket) | 0) > 0)) ticket = own;
    }
    return ticket;
  }

  /** One of {@link FlushState}. */
  state(medium: number, ticket: number): number {
    if (ticket === DURABLE) return FlushState.done;
    if (medium !== ALL_MEDIA) return this.#namespaces[medium].media.flushed(ticket);
    let all: number = FlushState.done;
    for (const { media } of this.#namespaces) {
      const state = media.flushed(ticket);
      if (state === FlushState.waiting) return state;
      if (state === FlushState.failed) all = state;
    }
    return all;
  }
}
