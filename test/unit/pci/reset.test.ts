import { expect, test } from 'vitest';
import { CapabilityId, FLR_MS, canResetFunction, resetFunction } from '../../../src/hw/pci/index.js';
import { finish, MemoryConfig } from './function.js';

const EXPRESS = 0x80;
const FLR = 0x1000_0000;

/** A function that can be reset; `gone` reads of its vendor id find nobody afterwards. */
function resettable(gone: number): { config: MemoryConfig; resets: () => number } {
  const config = new MemoryConfig();
  config.capability(EXPRESS, CapabilityId.pciExpress);
  config.view.setUint32(EXPRESS + 4, FLR, true);
  config.view.setUint16(0, 0x1b36, true);
  config.view.setUint16(4, 0x0006, true);
  let resets = 0;
  config.onWrite = (offset, value) => {
    if (offset !== EXPRESS + 8 || (value & 0x8000) === 0) return;
    resets++;
    config.view.setUint16(EXPRESS + 8, 0, true);
    let left = gone;
    const read16 = config.read16.bind(config);
    config.read16 = (at) => (at === 0 && left-- > 0 ? absent() : read16(at));
  };
  return { config, resets: () => resets };
}
function* absent(): Generator<number, number, void> {
  return 0xffff;
}

test('stops bus mastering, resets, waits, and finds the function again', () => {
  const { config, resets } = resettable(3);
  let now = 0;
  finish(
    resetFunction(config, () => now, FLR_MS),
    (milliseconds) => {
      now += milliseconds;
    },
  );
  expect(resets()).toBe(1);
  expect(config.writes[0]).toEqual([4, 2, 0]);
  expect(now).toBeGreaterThanOrEqual(FLR_MS);
});

test('waits for pending transactions, but not for ever', () => {
  const { config, resets } = resettable(0);
  config.view.setUint16(EXPRESS + 10, 0x0020, true);
  let now = 0;
  let cleared = false;
  finish(
    resetFunction(config, () => now, 0),
    (milliseconds) => {
      now += milliseconds;
      expect(resets()).toBe(0); // every wait is before the reset
      if (now > 5 && !cleared) {
        cleared = true;
        config.view.setUint16(EXPRESS + 10, 0, true);
      }
    },
  );
  expect([resets(), now < 10]).toEqual([1, true]);

  const stuck = resettable(0);
  stuck.config.view.setUint16(EXPRESS + 10, 0x0020, true);
  finish(
    resetFunction(stuck.config, () => now, 0),
    (milliseconds) => {
      now += milliseconds;
    },
  );
  expect(stuck.resets()).toBe(1);
});

test('a function that does not come back is lost; one without the capability is left alone', () => {
  const { config } = resettable(Infinity);
  let now = 0;
  const reset = () =>
    finish(
      resetFunction(config, () => now, 0),
      (milliseconds) => {
        now += milliseconds;
      },
    );
  expect(reset).toThrow(expect.objectContaining({ code: 'lost' }));

  for (const plain of [new MemoryConfig(), resettable(0).config]) {
    if (plain.view.getUint8(0x34) !== 0) plain.view.setUint32(EXPRESS + 4, 0, true);
    expect(finish(canResetFunction(plain))).toBe(false);
    expect(() => finish(resetFunction(plain, () => 0, 0))).toThrow(expect.objectContaining({ code: 'unsupported' }));
    expect(plain.writes).toEqual([]);
  }
  expect(finish(canResetFunction(resettable(0).config))).toBe(true);
});
