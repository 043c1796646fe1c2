import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { sizeBars } from '../../../src/hw/pci/index.js';
import { HardwareError } from '../../../src/hw/task.js';
import { finish, MemoryConfig } from './function.js';

/** A function with no BARs. */
function bare(): MemoryConfig {
  const config = new MemoryConfig();
  for (let index = 0; index < 6; index++) config.bar(index, 0, 0);
  return config;
}

test('sizes registers of every kind, and leaves them as they were', () => {
  const config = bare();
  config.bar(0, 0xfe00_0004, 0xffff_c000); // 64 bits, 16 KiB
  config.bar(1, 0x0000_0012, 0xffff_ffff);
  config.bar(2, 0x0000_e001, 0x0000_ffe0); // ports, 32, upper half hard-wired to zero
  config.bar(3, 0xd000_0008, 0xf000_0000); // 32 bits, prefetchable, 256 MiB
  config.bar(4, 0x0000_000c, 0x0000_0000); // 64 bits, prefetchable, 8 GiB: no bit of the lower half is writable
  config.bar(5, 0x0000_0002, 0xffff_fffe);
  const before = new Uint8Array(config.view.buffer.slice(0));
  expect(finish(sizeBars(config))).toEqual([
    { index: 0, kind: 'memory', bytes: 16_384, is64: true, prefetchable: false },
    { index: 2, kind: 'io', bytes: 32, is64: false, prefetchable: false },
    { index: 3, kind: 'memory', bytes: 2 ** 28, is64: false, prefetchable: true },
    { index: 4, kind: 'memory', bytes: 2 ** 33, is64: true, prefetchable: true },
  ]);
  expect(new Uint8Array(config.view.buffer)).toEqual(before);
});

test('a function without BARs has none', () => {
  expect(finish(sizeBars(bare()))).toEqual([]);
});

test('decode must be off', () => {
  for (const command of [1, 2, 3, 7]) {
    const config = bare();
    config.view.setUint16(0x04, command, true);
    expect(() => finish(sizeBars(config))).toThrow(/decode off/);
    expect(config.writes).toEqual([]);
  }
});

test.each<[name: string, index: number, fixed: number, writable: number]>([
  ['no writable bit', 0, 0x8, 0],
  ['a gap in its bits', 0, 0, 0xfff0_ff00],
  ['more ports than there may be', 0, 0x1, 0x0000_fe00],
  ['a reserved type', 0, 0x2, 0xffff_f000],
  ['64 bits, but no second half', 5, 0x4, 0xffff_f000],
  ['more than an address space', 0, 0x4, 0],
])('a register with %s is refused', (_name, index, fixed, writable) => {
  const config = bare();
  config.bar(index, fixed, writable);
  expect(() => finish(sizeBars(config))).toThrow(HardwareError);
});

test('whatever a function answers, sizes are powers of two or the function is refused', () => {
  const registers = fc.array(fc.tuple(fc.nat(0xffff_ffff), fc.nat(0xffff_ffff)), { minLength: 6, maxLength: 6 });
  fc.assert(
    fc.property(registers, (values) => {
      const config = bare();
      values.forEach(([fixed, writable], index) => config.bar(index, fixed, writable));
      try {
        for (const { bytes } of finish(sizeBars(config))) expect(Math.log2(bytes) % 1).toBe(0);
      } catch (error) {
        expect(error).toBeInstanceOf(HardwareError);
      }
    }),
  );
});
