/** That the slot does what tests of removal count on: the kernel's own NVMe driver survives both ways of it, and the slot works again after each. */
import { strict as assert } from 'node:assert';
import { existsSync } from 'node:fs';
import { guest } from './guest.js';
import { isPlugged, plug, pressButton, pull, untilGone } from './slot.js';
import { until } from './until.js';

const seconds = (from: number): string => ((performance.now() - from) / 1000).toFixed(1);
const times: string[] = [];
for (const [way, remove] of Object.entries({ button: pressButton, pulled: pull })) {
  assert.ok(isPlugged());
  const began = performance.now();
  await remove();
  await untilGone();
  const [gone, untilThen] = [performance.now(), seconds(began)];
  await plug();
  await until('the driver of NVMe', () => existsSync(`/sys/bus/pci/drivers/nvme/${guest.devices.slot.address}`));
  times.push(`${way}: gone after ${untilThen} s, back after ${seconds(gone)} s`);
}
console.log(`result: ${times.join('; ')}`);
