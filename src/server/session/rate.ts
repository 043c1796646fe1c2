/** A rate averaged over ten seconds: a session may be silent and then send a burst, but not go on like that. */
const AVERAGED_SECONDS = 10;

export class MessageRate {
  #rate: number;
  #tokens: number;
  /** Milliseconds of a clock that never goes back. */
  #at: number;

  constructor(messagesPerSecond: number, now: number) {
    this.#rate = messagesPerSecond;
    this.#tokens = messagesPerSecond * AVERAGED_SECONDS;
    this.#at = now;
  }

  set messagesPerSecond(rate: number) {
    this.#rate = rate;
  }

  /** Counts one message; false when it is one too many. */
  take(now: number): boolean {
    const grown = this.#tokens + ((now - this.#at) / 1000) * this.#rate;
    this.#tokens = Math.min(this.#rate * AVERAGED_SECONDS, grown);
    this.#at = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
