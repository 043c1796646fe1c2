import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { MEMORY_BASE, MEMORY_BYTES, MEMORY_SLOTS } from '../../../src/hw/qemu/address-map.js';
import { Placement, type Place } from '../../../src/hw/qemu/placement.js';

const PAGE = 4096;

test('places never overlap, keep inside the window, and have slots of their own', () => {
  const action = fc.record({ release: fc.boolean(), pages: fc.integer({ min: 1, max: 4096 }), which: fc.nat(1000) });
  fc.assert(
    fc.property(fc.array(action, { maxLength: 300 }), (actions) => {
      const placement = new Placement();
      const held: Place[] = [];
      for (const { release, pages, which } of actions) {
        if (release && held.length > 0) {
          const [place] = held.splice(which % held.length, 1);
          placement.release(place);
        } else {
          held.push(placement.take(pages * PAGE));
        }
        const sorted = [...held].sort((a, b) => a.address - b.address); // prettier-ignore
        expect(placement.taken).toEqual(sorted);
        sorted.forEach((place, i) => {
          const end = i + 1 < sorted.length ? sorted[i + 1].address : MEMORY_BASE + MEMORY_BYTES;
          expect(place.address).toBeGreaterThanOrEqual(MEMORY_BASE);
          expect(place.bytes).toBeLessThanOrEqual(end - place.address);
        });
        expect(new Set(held.map(({ slot }) => slot)).size).toBe(held.length);
      }
    }),
    { numRuns: 50 },
  );
});

test('the lowest gap that is large enough is used', () => {
  const placement = new Placement();
  const [first, , third] = [1, 1, 2, 1].map((pages) => placement.take(pages * PAGE));
  placement.release(first);
  placement.release(third);
  expect(placement.take(2 * PAGE)).toEqual({ slot: 0, address: MEMORY_BASE + 2 * PAGE, bytes: 2 * PAGE });
  expect(placement.take(PAGE)).toEqual({ slot: 2, address: MEMORY_BASE, bytes: PAGE });
  expect(placement.take(PAGE)).toMatchObject({ slot: 4, address: MEMORY_BASE + 5 * PAGE });
});

test('slots run out, and come back', () => {
  const placement = new Placement();
  const places = Array.from({ length: MEMORY_SLOTS }, () => placement.take(PAGE));
  expect(() => placement.take(PAGE)).toThrow(expect.objectContaining({ code: 'exhausted', message: expect.stringContaining('256') }));
  placement.release(places[77]);
  expect(placement.take(PAGE)).toEqual(places[77]);
});

test('addresses run out, and come back', () => {
  const placement = new Placement();
  const half = placement.take(MEMORY_BYTES / 2);
  expect(() => placement.take(MEMORY_BYTES / 2 + PAGE)).toThrow(expect.objectContaining({ code: 'exhausted' }));
  const other = placement.take(MEMORY_BYTES / 2);
  expect(() => placement.take(PAGE)).toThrow(expect.objectContaining({ code: 'exhausted' }));
  placement.release(half);
  placement.release(other);
  expect(placement.take(MEMORY_BYTES).address).toBe(MEMORY_BASE);
});

test('a place is given back once', () => {
  const placement = new Placement();
  const place = placement.take(PAGE);
  placement.release(place);
  expect(() => placement.release(place)).toThrow('not taken');
});
