/** A rate: tokens come steadily, up to a tenth of a second's worth. A taker may overdraw once, and then waits until the debt is paid. */
const BURST_SECONDS = 0.1;

export class TokenBucket {
  #rate: number;
  #tokens: number;
  #at = 0;

  /** `rate` a second; 0: no limit. */
  constructor(rate: number) {
    this.#rate = rate;
    this.#tokens = Math.max(1, rate * BURST_SECONDS);
  }

  set rate(rate: number) {
    this.#rate = rate;
  }

  /** Milliseconds until something may be taken; 0: now. */
  wait(now: number): number {
    if (this.#rate === 0) return 0;
    const most = Math.max(1, this.#rate * BURST_SECONDS);
    this.#tokens = Math.min(most, this.#tokens + ((now - this.#at) / 1000) * this.#rate);
    this.#at = now;
    return this.#tokens > 0 ? 0 : (-this.#tokens / this.#rate) * 1000 + 0.1;
  }

  take(amount: number): void {
    if (this.#rate !== 0) this.#tokens -= amount;
  }
}
