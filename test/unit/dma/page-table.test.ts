/** Translation through the page table of a domain: always the pages of the memory that is in the slot now, or an error. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { DmaMemory } from '../../../src/hw/backing.js';
import { PageTable, writePageAddresses, writeTableAddress } from '../../../src/hw/dma/index.js';

const PAGE = 4096;

/** Memory of `pages` pages whose addresses tell which memory and which page they are of. */
function memoryOf(number: number, pages: number): DmaMemory {
  const pageLow = Uint32Array.from({ length: pages }, (_, page) => page * PAGE);
  return { bytes: pages * PAGE, buffer: new ArrayBuffer(0), pageLow, pageHigh: new Uint32Array(pages).fill(number) };
}

function addressAt(table: PageTable, slot: number, offset: number): [high: number, low: number] {
  const words = new Uint32Array(2);
  writeTableAddress(table, slot, offset, words, 0);
  return [words[1], words[0]];
}

describe('a page table', () => {
  test('translates an offset to the address of its byte', () => {
    const table = PageTable.of(memoryOf(7, 3));
    expect(addressAt(table, 0, 0)).toEqual([7, 0]);
    expect(addressAt(table, 0, 2 * PAGE + 12)).toEqual([7, 2 * PAGE + 12]);
  });

  test.each([
    ['beyond the last page', 3 * PAGE],
    ['far beyond', 0x7fff_f000],
  ])('throws for an offset %s', (_name, offset) => {
    const table = PageTable.of(memoryOf(7, 3));
    table.add(1, memoryOf(8, 3));
    expect(() => addressAt(table, 0, offset)).toThrow(RangeError);
  });

  test('throws for a slot that is free, or was never used', () => {
    const table = PageTable.of(memoryOf(7, 3));
    table.remove(0);
    expect(() => addressAt(table, 0, 0)).toThrow(RangeError);
    expect(() => addressAt(table, 5, 0)).toThrow(RangeError);
    expect(() => addressAt(table, 70_000, 0)).toThrow(RangeError);
  });

  test('writes a list of pages, and none beyond the memory', () => {
    const table = PageTable.of(memoryOf(7, 4));
    table.add(1, memoryOf(8, 4));
    const words = new BigUint64Array(4);
    writePageAddresses(table, 0, 1, 3, words, 1);
    expect([...words]).toEqual([0n, 0x7_0000_1000n, 0x7_0000_2000n, 0x7_0000_3000n]);
    expect(() => writePageAddresses(table, 0, 1, 4, words, 0)).toThrow(RangeError);
    expect(() => writePageAddresses(table, 0, -1, 1, words, 0)).toThrow(RangeError);
    expect(() => writePageAddresses(table, 0, 0, 0, words, 0)).toThrow(RangeError);
  });

  test('keeps every memory apart, whatever comes and goes', () => {
    const step = fc.record({ slot: fc.integer({ min: 0, max: 40 }), pages: fc.integer({ min: 1, max: 300 }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const table = new PageTable();
        const there = new Map<number, { number: number; pages: number }>();
        for (const [number, { slot, pages }] of steps.entries()) {
          if (there.delete(slot)) table.remove(slot);
          else {
            table.add(slot, memoryOf(number, pages));
            there.set(slot, { number, pages });
          }
          for (const [other, memory] of there) {
            expect(addressAt(table, other, 0)).toEqual([memory.number, 0]);
            expect(addressAt(table, other, memory.pages * PAGE - 4)).toEqual([memory.number, memory.pages * PAGE - 4]);
            expect(() => addressAt(table, other, memory.pages * PAGE)).toThrow(RangeError);
          }
          if (!there.has(slot)) expect(() => addressAt(table, slot, 0)).toThrow(RangeError);
        }
      }),
      { numRuns: 60 },
    );
  });

  test('does not grow by what comes and goes', () => {
    const table = PageTable.of(memoryOf(1, 100));
    for (let number = 2; number < 500; number++) {
      table.add(1, memoryOf(number, 200));
      expect(addressAt(table, 0, 99 * PAGE)).toEqual([1, 99 * PAGE]);
      table.remove(1);
    }
    expect(table.addresses.length).toBeLessThanOrEqual(2 * 300);
  });
});
