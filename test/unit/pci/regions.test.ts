import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import type { BarInfo } from '../../../src/hw/backing.js';
import { areaOf, describeRegions, type DriverRegions, type FunctionSnapshot, type MsixCapability } from '../../../src/hw/pci/index.js';
import { NVME_REGIONS } from '../../../src/hw/nvme/index.js';

const BARS: readonly BarInfo[] = [
  { index: 0, kind: 'memory', bytes: 0x4000, is64: true, prefetchable: false },
  { index: 2, kind: 'io', bytes: 32, is64: false, prefetchable: false },
];
const MSIX: MsixCapability = {
  offset: 0xb0,
  entries: 4,
  table: { bar: 0, offset: 0x2000, bytes: 64 },
  pendingBits: { bar: 0, offset: 0x3000, bytes: 8 },
};
const functionOf = (change: Partial<FunctionSnapshot> = {}): FunctionSnapshot => ({
  bytes: 4096,
  content: new Uint8Array(256),
  capabilities: [],
  extended: [],
  bars: BARS,
  msix: MSIX,
  rom: undefined,
  ...change,
});

test('names every BAR and the ROM, with kind and size', () => {
  const rom = { image: new Uint8Array(1024), decodedBytes: 2048 };
  expect(describeRegions(functionOf({ rom }), { readable: [], never: [] })).toEqual([
    { index: 0, name: 'BAR0', kind: 'memory', bytes: 0x4000, is64: true, prefetchable: false, readable: [] },
    { index: 2, name: 'BAR2', kind: 'io', bytes: 32, is64: false, prefetchable: false, readable: [] },
    { index: 6, name: 'ROM', kind: 'rom', bytes: 1024, is64: false, prefetchable: false, readable: [] },
  ]);
});

test('of NVMe, CAP, VS and CSTS may be read, and no doorbell', () => {
  const [bar0] = describeRegions(functionOf(), NVME_REGIONS);
  expect(bar0.readable).toEqual([
    { name: 'CAP', offset: 0, bytes: 8, width: 4 },
    { name: 'VS', offset: 8, bytes: 4, width: 4 },
    { name: 'CSTS', offset: 0x1c, bytes: 4, width: 4 },
  ]);
  for (const offset of [0, 4, 8, 0x1c]) expect(areaOf(bar0, offset, 4)).toBeDefined();
  for (const offset of [0x0c, 0x14, 0x24, 0x28, 0x30, 0x1000, 0x1004, 0x3ffc, 0x4000, -4, 2, 0.5, Number.NaN, 2 ** 53]) {
    expect(areaOf(bar0, offset, 4)).toBeUndefined();
  }
  expect(areaOf(bar0, 0, 8)).toBeUndefined();
  expect(areaOf(bar0, 0, 2)).toBeUndefined();
});

test('an area that touches the MSI-X table, pending bits, what a driver never shows, or that leaves its BAR is left out', () => {
  const area = (name: string, offset: number, bytes: number) => ({ name, bar: 0, offset, bytes, width: 4 }) as const;
  const driver: DriverRegions = {
    readable: [
      area('end of table', 0x203c, 8),
      area('around table', 0x1ffc, 0x100),
      area('pending', 0x3004, 4),
      area('secret', 0x104, 4),
      area('outside', 0x3ffc, 8),
      { ...area('no such BAR', 0, 4), bar: 5 },
      area('good', 0x2040, 4),
      area('also good', 0x0fc, 4),
    ],
    never: [{ bar: 0, offset: 0x100, bytes: 8 }],
  };
  const [bar0] = describeRegions(functionOf(), driver);
  expect(bar0.readable.map(({ name }) => name)).toEqual(['also good', 'good']);
});

test('nothing that may be read ever touches what may not', () => {
  const range = fc.record({ offset: fc.nat(0x4100), bytes: fc.integer({ min: 1, max: 0x200 }) });
  fc.assert(
    fc.property(fc.array(range), range, range, fc.nat(0x4100), (areas, table, pendingBits, offset) => {
      const readable = areas.map((area, index) => ({ ...area, name: `${index}`, bar: 0, width: 1 }) as const);
      const msix: MsixCapability = { ...MSIX, table: { bar: 0, ...table }, pendingBits: { bar: 0, ...pendingBits } };
      const [bar0] = describeRegions(functionOf({ msix }), { readable, never: [] });
      if (areaOf(bar0, offset, 1) === undefined) return;
      for (const never of [table, pendingBits]) expect(offset >= never.offset && offset < never.offset + never.bytes).toBe(false);
      expect(offset).toBeLessThan(0x4000);
    }),
  );
});
