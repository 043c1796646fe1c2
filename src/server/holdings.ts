/** What was taken, to be given back in reverse order (R15), after a failure and at the end alike. */
import type { Log } from './log.js';
import { messageOf } from './text.js';

export class Holdings {
  readonly #held: { readonly what: string; readonly release: () => void | Promise<void> }[] = [];
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  add(what: string, release: () => void | Promise<void>): void {
    this.#held.push({ what, release });
  }

  /** Gives everything back, the last taken first. A failure is logged, and the others are given back all the same. */
  async releaseAll(): Promise<void> {
    for (let last = this.#held.pop(); last !== undefined; last = this.#held.pop()) {
      try {
        await last.release();
        this.#log.debug('released', { what: last.what });
      } catch (error) {
        this.#log.error('could not be released', { what: last.what, error: messageOf(error) });
      }
    }
  }
}
