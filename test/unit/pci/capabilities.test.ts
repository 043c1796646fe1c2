import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { CapabilityId, findCapability } from '../../../src/hw/pci/index.js';
import { HardwareError } from '../../../src/hw/task.js';
import { finish, MemoryConfig } from './function.js';

test('finds the first capability with an id', () => {
  const config = new MemoryConfig();
  config.capability(0x40, CapabilityId.msix);
  config.capability(0x80, CapabilityId.pciExpress);
  config.capability(0xfc, CapabilityId.msix);
  expect(finish(findCapability(config, CapabilityId.msix))).toBe(0xfc);
  expect(finish(findCapability(config, CapabilityId.pciExpress))).toBe(0x80);
  expect(finish(findCapability(config, CapabilityId.vendor))).toBeUndefined();
});

test('a function without the status bit has no list, whatever the pointer says', () => {
  const config = new MemoryConfig();
  config.capability(0x40, CapabilityId.msix);
  config.view.setUint16(0x06, 0, true);
  expect(finish(findCapability(config, CapabilityId.msix))).toBeUndefined();
});

test('reserved bits of pointers are ignored', () => {
  const config = new MemoryConfig();
  config.capability(0x40, CapabilityId.msix);
  config.view.setUint8(0x34, 0x43);
  expect(finish(findCapability(config, CapabilityId.msix))).toBe(0x40);
});

test('a list that bites its tail, or points into the header, is refused', () => {
  const loop = new MemoryConfig();
  loop.capability(0x40, CapabilityId.vendor);
  loop.capability(0x50, CapabilityId.vendor);
  loop.view.setUint8(0x41, 0x50);
  expect(() => finish(findCapability(loop, CapabilityId.msix))).toThrow(/no end/);
  const header = new MemoryConfig();
  header.capability(0x40, CapabilityId.vendor);
  header.view.setUint8(0x41, 0x10);
  expect(() => finish(findCapability(header, CapabilityId.msix))).toThrow(/inside the header/);
});

test('a list of every possible capability is walked to its end', () => {
  const config = new MemoryConfig();
  for (let offset = 0x40; offset < 0x100; offset += 4) config.capability(offset, CapabilityId.vendor);
  expect(finish(findCapability(config, CapabilityId.msix))).toBeUndefined();
});

test('any configuration space gives an offset, nothing or a HardwareError', () => {
  const space = fc.uint8Array({ minLength: 256, maxLength: 256 });
  fc.assert(
    fc.property(space, fc.constantFrom(...Object.values(CapabilityId)), (bytes, id) => {
      const config = new MemoryConfig();
      new Uint8Array(config.view.buffer).set(bytes);
      config.view.setUint16(0x06, 0x0010, true);
      try {
        const offset = finish(findCapability(config, id));
        if (offset !== undefined) expect([offset % 4, config.view.getUint8(offset), offset >= 0x40]).toEqual([0, id, true]);
      } catch (error) {
        expect(error).toBeInstanceOf(HardwareError);
      }
    }),
  );
});
