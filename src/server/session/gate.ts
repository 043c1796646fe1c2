/**
 * Who may connect: limits over all listeners, before anybody said hello.
 *
 * Connections that say nothing are few and short-lived. One peer has at most half of their places, and when all are taken, the oldest one of the peer that
 * has most of them makes room: so one peer cannot keep the others out.
 */
import type { ServerLimits } from '../policy.js';

/** Connections above the limit that are let in to be told so, and for how long. */
const MAX_TURNED_AWAY = 16;
const TURNED_AWAY_MILLISECONDS = 1_000;

export interface Ticket {
  /** Over a limit: the connection is only there to be told. */
  readonly turnedAway: boolean;
  /** The peer said who it is. */
  authenticated(): void;
  /** The connection is gone. Safe to repeat. */
  leave(): void;
}

class Entry implements Ticket {
  readonly peer: string;
  readonly turnedAway: boolean;
  readonly destroy: () => void;
  readonly #sets: readonly Set<Entry>[];
  readonly #unknown: Set<Entry>;
  readonly #deadline: NodeJS.Timeout;

  /** `sets`: where it is counted until it leaves; `unknown`: where it is counted until it said hello. */
  constructor(peer: string, turnedAway: boolean, milliseconds: number, destroy: () => void, sets: readonly Set<Entry>[], unknown: Set<Entry>) {
    this.peer = peer;
    this.turnedAway = turnedAway;
    this.destroy = destroy;
    this.#sets = sets;
    this.#unknown = unknown;
    for (const set of sets) set.add(this);
    this.#deadline = setTimeout(destroy, milliseconds).unref();
  }

  authenticated(): void {
    clearTimeout(this.#deadline);
    this.#unknown.delete(this);
  }

  leave(): void {
    clearTimeout(this.#deadline);
    for (const set of this.#sets) set.delete(this);
  }
}

export class Gate {
  readonly #limits: ServerLimits;
  readonly #all = new Set<Entry>();
  /** In the order in which they came. */
  readonly #unknown = new Set<Entry>();
  readonly #turnedAway = new Set<Entry>();

  constructor(limits: ServerLimits) {
    this.#limits = limits;
  }

  /** Connections let in, and how many of them did not say hello yet. */
  get counts(): { readonly connections: number; readonly unauthenticated: number } {
    return { connections: this.#all.size, unauthenticated: this.#unknown.size };
  }

  /**
   * A connection from `peer` (a user id, or an address). Undefined: it is to be destroyed at once. `destroy` is called when it does not say hello in
   * time, or has to make room.
   */
  enter(peer: string, destroy: () => void): Ticket | undefined {
    const full = this.#all.size >= this.#limits.connections || !this.#hasPlace(peer);
    if (!full) return new Entry(peer, false, this.#limits.helloMilliseconds, destroy, [this.#all, this.#unknown], this.#unknown);
    if (this.#turnedAway.size >= MAX_TURNED_AWAY) return undefined;
    return new Entry(peer, true, TURNED_AWAY_MILLISECONDS, destroy, [this.#turnedAway], this.#unknown);
  }

  /** Whether one more unknown connection of `newcomer` has a place, if need be that of the oldest one of the peer that has most of them. */
  #hasPlace(newcomer: string): boolean {
    const { unauthenticated } = this.#limits;
    const counts = new Map<string, number>();
    for (const { peer } of this.#unknown) counts.set(peer, (counts.get(peer) ?? 0) + 1);
    if ((counts.get(newcomer) ?? 0) >= Math.ceil(unauthenticated / 2)) return false;
    if (this.#unknown.size < unauthenticated) return true;
    let most = newcomer;
    for (const [peer, count] of counts) if (count > (counts.get(most) ?? 0)) most = peer;
    if (most === newcomer) return false;
    for (const entry of this.#unknown) {
      if (entry.peer !== most) continue;
      entry.leave();
      entry.destroy();
      return true;
    }
    return false;
  }
}
