/** A small seeded generator (xorshift32, Marsaglia 2003): the same seed gives the same machine. Not for secrets. */
export class Random {
  #state: number;

  /** @param seed any number; zero and fractions are made usable. */
  constructor(seed: number) {
    this.#state = Math.trunc(seed) | 0 || 0x9e37_79b9 | 0;
  }

  /** A whole number from 0 to `bound` - 1; `bound` at most 2^31. */
  below(bound: number): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state;
    return (state >>> 0) % bound;
  }
}
