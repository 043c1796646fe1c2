import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BusAddresses } from '../../../src/hw/linux/bus-addresses.js';
import { INTERRUPT_WINDOW, INTERRUPT_WINDOW_END } from '../../../src/hw/pci/index.js';

const PAGE = 4096;
const ALL = [{ start: 0, end: 2 ** 39 - 1 }];

test('are given out in turn, and again once they are given back', () => {
  const addresses = new BusAddresses(ALL);
  const first = addresses.take(PAGE);
  expect(first).toBeGreaterThan(0);
  expect(addresses.take(2 * PAGE)).toBe(first + PAGE);
  addresses.release(first);
  expect(addresses.take(2 * PAGE)).toBe(first + 3 * PAGE);
  expect(addresses.take(PAGE)).toBe(first);
});

test('run out', () => {
  const addresses = new BusAddresses([{ start: 0x10_0000, end: 0x10_1fff }]);
  expect(addresses.take(PAGE)).toBe(0x10_0000);
  expect(() => addresses.take(2 * PAGE)).toThrow(expect.objectContaining({ code: 'exhausted' }));
  expect(addresses.take(PAGE)).toBe(0x10_1000);
  expect(() => addresses.take(PAGE)).toThrow(expect.objectContaining({ code: 'exhausted' }));
});

test('never overlap, lie where the IOMMU translates, and never in the interrupt window (R31)', () => {
  const step = fc.record({ pages: fc.integer({ min: 1, max: 2 ** 18 }), release: fc.nat() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const ranges = [{ start: 0xf000_0000, end: 0x2_0000_0fff }];
      const addresses = new BusAddresses(ranges);
      const held: { start: number; end: number }[] = [];
      for (const { pages, release } of steps) {
        let start: number;
        try {
          start = addresses.take(pages * PAGE);
        } catch {
          if (held.length > 0) addresses.release(held.splice(release % held.length, 1)[0].start);
          continue;
        }
        const end = start + pages * PAGE;
        expect(start % PAGE).toBe(0);
        expect(start >= ranges[0].start && end - 1 <= ranges[0].end).toBe(true);
        expect(end <= INTERRUPT_WINDOW || start >= INTERRUPT_WINDOW_END).toBe(true);
        for (const other of held) expect(end <= other.start || start >= other.end).toBe(true);
        held.push({ start, end });
      }
    }),
  );
});
