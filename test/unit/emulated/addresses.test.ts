import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AddressSpace, BUS_PAGES, pageNumber } from '../../../src/hw/emulated/addresses.js';
import { HardwareError } from '../../../src/hw/task.js';

interface Taken {
  readonly low: Uint32Array;
  readonly high: Uint32Array;
}

function take(space: AddressSpace, pages: number, contiguous = false): Taken {
  const taken = { low: new Uint32Array(pages), high: new Uint32Array(pages) };
  space.take(taken.low, taken.high, contiguous);
  return taken;
}

const numbers = ({ low, high }: Taken): number[] => Array.from(low, (value, index) => pageNumber(value, high[index]));

describe('bus addresses', () => {
  test('are scattered, below and above 4 GiB, and the same for the same seed', () => {
    const pages = numbers(take(new AddressSpace(7, 10_000), 2_000));
    expect(numbers(take(new AddressSpace(7, 10_000), 2_000))).toEqual(pages);
    expect(numbers(take(new AddressSpace(8, 10_000), 2_000))).not.toEqual(pages);
    expect(new Set(pages).size).toBe(2_000);
    const neighbours = pages.filter((page, index) => index > 0 && page === pages[index - 1] + 1).length;
    expect(neighbours).toBeLessThan(20);
    const below = pages.filter((page) => page < 0x10_0000).length;
    expect(below).toBeGreaterThan(200);
    expect(below).toBeLessThan(1_800);
  });

  test('of a contiguous run follow each other', () => {
    const pages = numbers(take(new AddressSpace(1, 1_000), 500, true));
    expect(pages).toEqual(Array.from({ length: 500 }, (_, index) => pages[0] + index));
  });

  test('are never given twice, whatever is taken and given back, and all come back', () => {
    const step = fc.record({ pages: fc.integer({ min: 1, max: 3_000 }), contiguous: fc.boolean(), keep: fc.integer({ min: 0, max: 6 }) });
    const property = fc.property(fc.array(step, { maxLength: 40 }), fc.nat(), (steps, seed) => {
      const limit = 20_000;
      const space = new AddressSpace(seed, limit);
      const held: Taken[] = [];
      const used = new Set<number>();
      for (const { pages: count, contiguous, keep } of steps) {
        if (count > limit - used.size) {
          expect(() => take(space, count, contiguous)).toThrow(HardwareError);
        } else {
          const taken = take(space, count, contiguous);
          const pages = numbers(taken);
          // Neither taken, nor low memory, nor the hole with the BARs and the interrupt window, nor beyond the bus.
          const wrong = pages.filter((page) => used.has(page) || page < 0x1_0000 || (page >= 0x8_0000 && page < 0x10_0000) || page >= BUS_PAGES);
          expect(wrong).toEqual([]);
          for (const page of pages) used.add(page);
          held.push(taken);
        }
        while (held.length > keep) {
          const [back] = held.splice(held.length >> 1, 1);
          space.giveBack(back.low, back.high);
          for (const page of numbers(back)) used.delete(page);
        }
        expect(space.used).toBe(used.size);
      }
      for (const back of held) space.giveBack(back.low, back.high);
      expect(space.used).toBe(0);
      // Runs joined again: the whole limit is there in one piece.
      expect(new Set(numbers(take(space, limit, true))).size).toBe(limit);
    });
    fc.assert(property, { numRuns: 60 });
  });

  test('run out at the limit, and are there again afterwards', () => {
    const space = new AddressSpace(1, 100);
    const taken = take(space, 100);
    expect(() => take(space, 1)).toThrow(expect.objectContaining({ code: 'exhausted' }) as Error);
    expect(() => take(space, 1, true)).toThrow(expect.objectContaining({ code: 'exhausted' }) as Error);
    space.giveBack(taken.low, taken.high);
    expect(take(space, 100, true).low.length).toBe(100);
  });
});
