/** The set of tags in flight, beside a Set of numbers. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { hashTag, multiplier } from '../../../src/validator/hash.js';
import { TagSet } from '../../../src/validator/index.js';

const word = fc.nat({ max: 0xffff_ffff });
/** Few enough different tags that they meet, and some from anywhere. */
const tag = fc.oneof({ weight: 4, arbitrary: fc.tuple(fc.nat({ max: 5 }), fc.nat({ max: 3 })) }, { weight: 1, arbitrary: fc.tuple(word, word) });
const step = fc.oneof(
  { weight: 200, arbitrary: fc.record({ kind: fc.constantFrom('add', 'delete', 'has'), tag }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('clear'), tag }) },
);

const asNumber = (low: number, high: number): bigint => (BigInt(high) << 32n) | BigInt(low);

describe('TagSet', () => {
  test('does what a set does', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), word, fc.array(step, { maxLength: 400, size: 'max' }), (capacity, seed, steps) => {
        const tags = new TagSet(capacity, seed);
        const model = new Set<bigint>();
        for (const {
          kind,
          tag: [low, high],
        } of steps) {
          const number = asNumber(low, high);
          if (kind === 'clear') {
            tags.clear();
            model.clear();
          } else if (kind === 'delete') {
            expect(tags.delete(low, high)).toBe(model.delete(number));
          } else if (kind === 'has') {
            expect(tags.has(low, high)).toBe(model.has(number));
          } else if (model.has(number) || model.size < capacity) {
            expect(tags.add(low, high)).toBe(!model.has(number));
            model.add(number);
          } else {
            expect(() => tags.add(low, high)).toThrow(RangeError);
          }
          expect(tags.size).toBe(model.size);
        }
        for (let low = 0; low <= 5; low++) {
          for (let high = 0; high <= 3; high++) expect(tags.has(low, high)).toBe(model.has(asNumber(low, high)));
        }
        for (const number of model) expect(tags.has(Number(number & 0xffff_ffffn), Number(number >> 32n))).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  test.each([1, 2, 3, 4, 5, 7, 8, 9, 1024])('holds %d tags, and not one more', (capacity) => {
    const tags = new TagSet(capacity, 0x1234_5678);
    expect(tags.capacity).toBe(capacity);
    for (let at = 0; at < capacity; at++) expect(tags.add(at, 0xffff_ffff - at)).toBe(true);
    expect(tags.add(0, 0xffff_ffff)).toBe(false);
    expect(() => tags.add(capacity, 0)).toThrow(`more than ${capacity} tags in flight`);
    expect(tags.size).toBe(capacity);
    for (let at = 0; at < capacity; at++) expect(tags.has(at, 0xffff_ffff - at)).toBe(true);
    expect(tags.delete(0, 0xffff_ffff)).toBe(true);
    expect(tags.add(capacity, 0)).toBe(true);
  });

  test('a tag is there once, whichever slot it has', () => {
    for (let seed = 0; seed < 32; seed++) {
      const tags = new TagSet(2, seed);
      for (const low of [0, seed]) {
        tags.add(low, 1);
        expect(tags.add(low, 1)).toBe(false);
        expect(tags.delete(low, 1)).toBe(true);
        expect(tags.delete(low, 1)).toBe(false);
        expect(tags.size).toBe(0);
      }
    }
    const zero = new TagSet(2, 0);
    expect([zero.add(0, 0), zero.add(0, 0), zero.size]).toEqual([true, false, 1]);
  });

  test('deleting in any order leaves the others where they are found', () => {
    for (let seed = 0; seed < 200; seed++) {
      const tags = new TagSet(16, seed);
      for (let at = 0; at < 16; at++) tags.add(at * 977, seed);
      for (let gone = 0; gone < 16; gone++) {
        const victim = ((gone * 7 + seed) & 15) * 977;
        expect(tags.delete(victim, seed)).toBe(true);
        expect(tags.has(victim, seed)).toBe(false);
        for (let left = gone + 1; left < 16; left++) expect(tags.has(((left * 7 + seed) & 15) * 977, seed)).toBe(true);
      }
      expect(tags.size).toBe(0);
    }
  });

  test('a long life leaves no traces: what went is gone, and there is room as at the start', () => {
    const tags = new TagSet(4, 99);
    for (let at = 0; at < 5000; at++) {
      expect(tags.add(at, 1)).toBe(true);
      if (at < 3) continue;
      expect(tags.delete(at - 3, 1)).toBe(true);
      expect(tags.has(at - 3, 1)).toBe(false);
    }
    expect(tags.size).toBe(3);
  });

  test.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 65_537])('a capacity of %d is refused', (capacity) => {
    expect(() => new TagSet(capacity, 0)).toThrow(new RangeError(`capacity ${capacity} is not a whole number from 1 to 65536`));
  });

  test.each([1, 65_536])('a capacity of %d is taken', (capacity) => expect(new TagSet(capacity, 0).capacity).toBe(capacity));

  test('the tags of all zeros and of all ones are tags like others', () => {
    const tags = new TagSet(2, 7);
    expect(tags.has(0, 0)).toBe(false);
    expect(tags.add(0, 0)).toBe(true);
    expect(tags.has(0xffff_ffff, 0xffff_ffff)).toBe(false);
    expect(tags.add(0xffff_ffff, 0xffff_ffff)).toBe(true);
    expect(tags.delete(0, 0)).toBe(true);
    expect(tags.has(0xffff_ffff, 0xffff_ffff)).toBe(true);
  });
});

describe('the hash of a tag', () => {
  const multiply = (a: bigint, b: bigint): bigint => BigInt.asUintN(32, a * b);

  test('is what its definition says, worked out with whole numbers of any size', () => {
    fc.assert(
      fc.property(word, word, word, word, (low, high, first, second) => {
        const one = multiply(BigInt(low), BigInt(first));
        const two = multiply(one ^ (one >> 16n) ^ BigInt(high), BigInt(second));
        expect(hashTag(low, high, first, second)).toBe(Number(multiply(two ^ (two >> 16n), BigInt(first))));
      }),
    );
  });

  test('multipliers follow their definition: odd, whole, and unlike for seeds next to each other', () => {
    const reference = (seed: bigint): bigint => {
      const spread = multiply((seed ^ (seed >> 16n)) + 0x9e37_79b9n, 0x85eb_ca77n);
      return multiply(spread ^ (spread >> 15n), 0xc2b2_ae3dn) | 1n;
    };
    const seen = new Set<number>();
    for (let seed = 0; seed < 1000; seed++) {
      const one = multiplier(seed);
      expect(one).toBe(Number(reference(BigInt(seed))));
      expect(one & 1).toBe(1);
      expect(one).toBeGreaterThanOrEqual(0);
      expect(one).toBeLessThan(2 ** 32);
      seen.add(one >>> 24);
    }
    expect(seen.size).toBeGreaterThan(240);
  });

  /** The longest run of slots that 1024 tags fill in a table of 2048: what the slowest search walks. */
  function longestRun(seed: number, tagAt: (at: number) => readonly [number, number]): number {
    const first = multiplier(seed);
    const second = multiplier(first);
    const used = new Uint8Array(2048);
    for (let at = 0; at < 1024; at++) {
      const [low, high] = tagAt(at);
      let slot = hashTag(low, high, first, second) >>> 21;
      while (used[slot] !== 0) slot = (slot + 1) & 2047;
      used[slot] = 1;
    }
    let longest = 0;
    let run = 0;
    for (let at = 0; at < 4096; at++) {
      run = used[at & 2047] === 0 ? 0 : run + 1;
      longest = Math.max(longest, run);
    }
    return longest;
  }

  test.each<[string, (at: number) => readonly [number, number]]>([
    ['counting up', (at) => [at, 0]],
    ['counting up in the upper half', (at) => [0, at]],
    ['in the top bits of the lower half', (at) => [(at << 22) >>> 0, 0]],
    ['in the top bits of the upper half', (at) => [0, (at << 22) >>> 0]],
    ['in the top bits of both halves', (at) => [(at << 27) >>> 0, ((at >>> 5) << 27) >>> 0]],
    ['pages', (at) => [(at * 4096) >>> 0, at >>> 20]],
    ['the same in both halves', (at) => [at, at]],
  ])('spreads tags %s, whatever the seed', (_, tagAt) => {
    const runs = Array.from({ length: 100 }, (__, seed) => longestRun(Math.imul(seed, 0x9e37_79b9) >>> 0, tagAt));
    runs.sort((a, b) => a - b);
    expect(runs[50]).toBeLessThan(64);
    expect(runs[99]).toBeLessThan(256);
  });

  test('no set of tags collides under every seed', () => {
    const target = hashTag(0, 0, multiplier(1), multiplier(multiplier(1))) >>> 21;
    const chosen: number[] = [];
    for (let low = 1; chosen.length < 256; low++) {
      if (hashTag(low, 0, multiplier(1), multiplier(multiplier(1))) >>> 21 === target) chosen.push(low);
    }
    for (const seed of [2, 3, 0xffff_ffff]) expect(longestRun(seed, (at) => [chosen[at & 255], at >>> 8])).toBeLessThan(64);
  });
});
