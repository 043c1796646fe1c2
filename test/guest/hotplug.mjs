/** That the slot does what tests of removal count on: the kernel's own NVMe driver survives both ways of it, and the slot works again after each. */
import { strict as assert } from 'node:assert';
import { SLOT_NVME } from './devices.mjs';
import { driverOf } from './pci.mjs';
import { isPlugged, plug, pressButton, pull, untilGone } from './slot.mjs';
import { until } from './until.mjs';

const times = [];
for (const [way, remove] of Object.entries({ button: pressButton, pulled: pull })) {
  assert.ok(isPlugged());
  const began = performance.now();
  await remove();
  await untilGone();
  const gone = performance.now();
  await plug();
  await until('the driver of NVMe', () => driverOf(SLOT_NVME) === 'nvme');
  times.push(`${way}: gone after ${((gone - began) / 1000).toFixed(1)} s, back after ${((performance.now() - gone) / 1000).toFixed(1)} s`);
}
console.log(`result: ${times.join('; ')}`);
