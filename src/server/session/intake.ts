/** Messages that have arrived, and the stop to reading while they cannot be taken. */
import type { Connection } from './connection.js';

export class Intake {
  readonly #connection: Connection;
  readonly #mayTake: () => boolean;
  readonly #take: (bytes: Uint8Array) => void;
  /** Read before the pause took effect: bounded by what one read of the socket can hold, and a message that was put back. */
  #kept: Uint8Array[] = [];
  #paused = false;
  #resuming = false;

  constructor(connection: Connection, mayTake: () => boolean, take: (bytes: Uint8Array) => void) {
    this.#connection = connection;
    this.#mayTake = mayTake;
    this.#take = take;
  }

  receive(bytes: Uint8Array): void {
    if (!this.#paused && this.#mayTake()) {
      this.#take(bytes);
      return;
    }
    this.#kept.push(bytes);
    this.#pause();
  }

  /** The message that is being taken has to come again, before all others. */
  putBack(bytes: Uint8Array): void {
    this.#kept.unshift(bytes);
    this.#pause();
  }

  /** The message that was put back cannot be taken after all. */
  dropFirst(): void {
    this.#kept.shift();
  }

  /** Something changed: goes on with what was kept, and reads again once that is done. */
  resume(): void {
    if (this.#resuming || !this.#paused) return;
    this.#resuming = true;
    try {
      while (this.#mayTake()) {
        const bytes = this.#kept.shift();
        if (bytes === undefined) {
          this.#paused = false;
          this.#connection.resume();
          return;
        }
        this.#take(bytes);
      }
    } finally {
      this.#resuming = false;
    }
  }

  /** Forgets everything that was kept. */
  clear(): void {
    this.#kept = [];
  }

  #pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#connection.pause();
  }
}
