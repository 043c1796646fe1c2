/** Numbers that look random and are the same for the same seed on every machine (the generator is sfc32). */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #count = 1;

  constructor(seed: number) {
    this.#a = seed | 0;
    this.#b = 0x9e37_79b9 | 0;
    this.#c = ~seed;
    for (let round = 0; round < 12; round++) this.word();
  }

  /** 0 to 2^32 - 1. */
  word(): number {
    const out = (((this.#a + this.#b) | 0) + this.#count) | 0;
    this.#count = (this.#count + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + out) | 0;
    return out >>> 0;
  }

  /** 0 to `end` - 1, where `end` is at most 2^53. */
  below(end: number): number {
    if (end <= 0x1_0000_0000) return Math.floor((this.word() / 0x1_0000_0000) * end);
    return Math.floor(((this.word() % 0x20_0000) * 0x1_0000_0000 + this.word()) * (end / 2 ** 53));
  }

  /** True once in `times`. */
  once(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }
}
