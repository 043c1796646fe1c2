/**
 * The way out of a session, with its limit: above `sendPauseBytes` nothing more is started that would be answered, above `sendCloseBytes` a peer that
 * does not read is given up.
 */
import type { ServerLimits } from '../policy.js';
import type { Connection } from './connection.js';

export class Outlet {
  /** Too much is waiting: no request is read or worked on, no completion is taken, until half of it is gone. */
  choked = false;
  readonly #connection: Connection;
  readonly #limits: ServerLimits;
  readonly #onClear: () => void;
  readonly #onOverflow: () => void;

  constructor(connection: Connection, limits: ServerLimits, onClear: () => void, onOverflow: () => void) {
    this.#connection = connection;
    this.#limits = limits;
    this.#onClear = onClear;
    this.#onOverflow = onOverflow;
    connection.onSent = () => this.#sent();
  }

  send(bytes: Uint8Array): void {
    this.#connection.send(bytes);
    const { waiting } = this.#connection;
    // One message alone may be longer than the limit; what is added to a full outlet is what counts.
    if (this.choked && waiting > this.#limits.sendCloseBytes) this.#onOverflow();
    else if (waiting > this.#limits.sendPauseBytes) this.choked = true;
  }

  #sent(): void {
    if (!this.choked || this.#connection.waiting > this.#limits.sendPauseBytes / 2) return;
    this.choked = false;
    this.#onClear();
  }
}
