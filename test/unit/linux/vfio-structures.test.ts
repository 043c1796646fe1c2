import { describe, expect, test } from 'vitest';
import { STRUCTURE_BYTES, capabilityChain, parseDevice, parseIommu, parseIrqCount, parseRegion } from '../../../src/hw/linux/vfio-structures.js';
import { HardwareError } from '../../../src/hw/task.js';

/** A structure of the kernel: values of so many bytes at their offsets. */
function structure(bytes: number, ...values: [at: number, width: 2 | 4 | 8, value: number | bigint][]): Uint8Array {
  const view = new DataView(new ArrayBuffer(bytes));
  for (const [at, width, value] of values) {
    if (width === 8) view.setBigUint64(at, BigInt(value), true);
    else if (width === 4) view.setUint32(at, Number(value), true);
    else view.setUint16(at, Number(value), true);
  }
  return new Uint8Array(view.buffer);
}

/** Head of a capability. */
const head = (at: number, id: number, next: number): [number, 2 | 4, number][] => [
  [at, 2, id],
  [at + 2, 2, 1],
  [at + 4, 4, next],
];

const REGION = [
  [4, 4, 0xf],
  [16, 8, 0x4000],
  [24, 8, 2n ** 40n],
] as [number, 4 | 8, number | bigint][];

describe('chains of capabilities', () => {
  test('are followed to their end', () => {
    const bytes = structure(128, ...head(32, 3, 48), ...head(48, 1, 96), ...head(96, 7, 0));
    expect(capabilityChain(bytes, 128, 32).map(({ id }) => id)).toEqual([3, 1, 7]);
    expect(capabilityChain(bytes, 128, 0)).toEqual([]);
  });

  test('that leave the structure, run in a circle, or are longer than what was asked for are refused', () => {
    const refused = (bytes: Uint8Array, length: number, first: number): void => {
      expect(() => capabilityChain(bytes, length, first)).toThrow(HardwareError);
    };
    refused(structure(64), 64, 57);
    refused(structure(64), 64, 0xffff_ffff);
    refused(structure(64, ...head(32, 1, 60)), 64, 32);
    refused(structure(64, ...head(32, 1, 40), ...head(40, 1, 32)), 64, 32);
    refused(structure(64, ...head(32, 1, 32)), 64, 32);
    refused(structure(64, ...head(32, 1, 0)), 65, 32);
  });
});

describe('a region', () => {
  test('without capabilities is mapped as a whole, or not at all', () => {
    const region = structure(STRUCTURE_BYTES, [4, 4, 0x7], [16, 8, 0x4000], [24, 8, 2n ** 40n]);
    expect(parseRegion(region, 32)).toEqual({ bytes: 0x4000, offset: 2 ** 40, mappable: true, sparse: [] });
    expect(parseRegion(structure(32, [4, 4, 0x3], [16, 8, 256]), 32)).toMatchObject({ bytes: 256, mappable: false });
  });

  test('with the MSI-X table inside is mappable where the kernel says so', () => {
    const region = structure(48, ...REGION, [12, 4, 32], ...head(32, 3, 0));
    expect(parseRegion(region, 48)).toMatchObject({ mappable: true, sparse: [] });
  });

  test('with holes is not mapped as a whole', () => {
    const region = structure(
      80,
      ...REGION,
      [12, 4, 32],
      ...head(32, 1, 0),
      [40, 4, 2],
      [48, 8, 0],
      [56, 8, 0x1000],
      [64, 8, 0x2000],
      [72, 8, 0x2000],
    );
    expect(parseRegion(region, 80)).toMatchObject({
      mappable: false,
      sparse: [
        { start: 0, end: 0xfff },
        { start: 0x2000, end: 0x3fff },
      ],
    });
  });

  test('that counts more areas than it has is refused', () => {
    const region = structure(64, ...REGION, [12, 4, 32], ...head(32, 1, 0), [40, 4, 2]);
    expect(() => parseRegion(region, 64)).toThrow(HardwareError);
    const many = structure(64, ...REGION, [12, 4, 32], ...head(32, 1, 0), [40, 4, 0xffff_ffff]);
    expect(() => parseRegion(many, 64)).toThrow(HardwareError);
  });
});

test('a device and its interrupts', () => {
  expect(parseDevice(structure(20, [4, 4, 0x3], [8, 4, 9], [12, 4, 5]))).toEqual({ flags: 3, regions: 9, irqs: 5 });
  expect(parseIrqCount(structure(16, [12, 4, 65]))).toBe(65);
});

test('addresses that an IOMMU translates; up to 4 GiB where it does not say', () => {
  const info = structure(
    72,
    [4, 4, 3],
    [16, 4, 24],
    ...head(24, 1, 0),
    [32, 4, 2],
    [40, 8, 0],
    [48, 8, 0xfedf_ffff],
    [56, 8, 0xfef0_0000],
    [64, 8, 2n ** 64n - 1n],
  );
  expect(parseIommu(info, 72)).toEqual([
    { start: 0, end: 0xfedf_ffff },
    { start: 0xfef0_0000, end: Number.MAX_SAFE_INTEGER },
  ]);
  expect(parseIommu(structure(24, [4, 4, 1]), 24)).toEqual([{ start: 0, end: 2 ** 32 - 1 }]);
  expect(() => parseIommu(structure(40, [4, 4, 2], [16, 4, 24], ...head(24, 1, 0), [32, 4, 1]), 40)).toThrow(HardwareError);
});
