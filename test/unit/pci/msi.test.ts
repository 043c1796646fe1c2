import { expect, test } from 'vitest';
import { findMsi, type MsiCapability } from '../../../src/hw/pci/index.js';
import { finish, MemoryConfig } from './function.js';

const MESSAGE = { addressLow: 0xfee0_1000, addressHigh: 0x12, data: 0x4321 };
const AT = 0x50;

function withMsi(control: number): { config: MemoryConfig; msi: MsiCapability } {
  const config = new MemoryConfig();
  config.capability(AT, 0x05);
  config.view.setUint16(AT + 2, control, true);
  const msi = finish(findMsi(config));
  if (msi === undefined) throw new Error('no MSI');
  return { config, msi };
}

test('a function without the capability has none', () => {
  expect(finish(findMsi(new MemoryConfig()))).toBeUndefined();
});

test.each<[name: string, control: number, dataAt: number, maskAt: number | undefined]>([
  ['32-bit addresses', 0x0000, 0x08, undefined],
  ['64-bit addresses', 0x0080, 0x0c, undefined],
  ['32-bit addresses and masks', 0x0100, 0x08, 0x0c],
  ['64-bit addresses and masks', 0x0180, 0x0c, 0x10],
])('one message is programmed before it is switched on: %s', (_name, control, dataAt, maskAt) => {
  const { config, msi } = withMsi(control | 0x0020);
  const is64 = (control & 0x0080) !== 0;
  finish(msi.enable([is64 ? MESSAGE : { ...MESSAGE, addressHigh: 0 }]));
  expect(config.view.getUint32(AT + 4, true)).toBe(MESSAGE.addressLow);
  if (is64) expect(config.view.getUint32(AT + 8, true)).toBe(MESSAGE.addressHigh);
  expect(config.view.getUint16(AT + dataAt, true)).toBe(MESSAGE.data);
  expect(config.view.getUint16(AT + 2, true)).toBe(control | 0x0001);
  expect(config.writes.filter(([offset]) => offset === AT + 2)).toEqual([
    [AT + 2, 2, control],
    [AT + 2, 2, control | 1],
  ]);
  expect(config.writes.at(-1)?.[0]).toBe(AT + 2);
  expect(config.writes.some(([offset]) => offset === AT + (maskAt ?? 0x14))).toBe(maskAt !== undefined);
  finish(msi.disable());
  expect(config.view.getUint16(AT + 2, true)).toBe(control);
});

test('switching off what is off writes nothing', () => {
  const { config, msi } = withMsi(0x0080);
  finish(msi.disable());
  expect(config.writes).toEqual([]);
});

test('more than one message, data of more than 16 bits, or an address that does not fit is refused', () => {
  const { config, msi } = withMsi(0x0000);
  const fits = { ...MESSAGE, addressHigh: 0 };
  for (const messages of [[], [fits, fits], [{ ...fits, data: 0x1_0000 }], [MESSAGE]]) expect(() => finish(msi.enable(messages))).toThrow(RangeError);
  expect(config.writes).toEqual([]);
});
