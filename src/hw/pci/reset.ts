/** Function-level reset, and what it takes away (PCI Express Base 3.0, 6.6.2). */
import type { ConfigSpace } from '../backing.js';
import { HardwareError, sleep, type Clock, type Task } from '../task.js';
import { findCapability } from './capabilities.js';
import { CapabilityId, DEVCAP_FLR, DEVCTL_FLR, DEVSTA_PENDING, Header, NO_DEVICE, PciExpress } from './spec.js';

/** How long transactions may be pending once bus mastering is off, before the reset goes ahead anyway; the time that Linux gives. */
const PENDING_MS = 1_000;
/** How long a function may take to answer again, after it has been given `settle`. */
const ANSWER_MS = 1_000;

/** Whether the function can be reset alone. */
export function* canResetFunction(config: ConfigSpace): Task<boolean> {
  const express = yield* findCapability(config, CapabilityId.pciExpress);
  return express !== undefined && ((yield* config.read32(express + PciExpress.deviceCapabilities)) & DEVCAP_FLR) !== 0;
}

/**
 * Resets the function and waits until it answers again. Command register, BARs and interrupts are then as after power-on: the caller restores
 * them. `settle` is how long the function is left alone, milliseconds: {@link FLR_MS} for hardware, 0 for a model that resets within the write.
 * @throws HardwareError `unsupported` without the capability, `lost` when it does not come back.
 */
export function* resetFunction(config: ConfigSpace, clock: Clock, settle: number): Task<void> {
  const express = yield* findCapability(config, CapabilityId.pciExpress);
  if (express === undefined || ((yield* config.read32(express + PciExpress.deviceCapabilities)) & DEVCAP_FLR) === 0)
    throw new HardwareError('unsupported', 'the function has no function-level reset');
  yield* config.write16(Header.command, 0); // no new transactions
  const deadline = clock() + PENDING_MS;
  while (((yield* config.read16(express + PciExpress.deviceStatus)) & DEVSTA_PENDING) !== 0 && clock() < deadline) yield* sleep(clock, 1);
  const control = yield* config.read16(express + PciExpress.deviceControl);
  yield* config.write16(express + PciExpress.deviceControl, control | DEVCTL_FLR);
  yield* sleep(clock, settle);
  yield* awaitAnswer(config, clock);
}

function* awaitAnswer(config: ConfigSpace, clock: Clock): Task<void> {
  let vendor = yield* config.read16(Header.vendorId);
  const deadline = clock() + ANSWER_MS;
  while (vendor === NO_DEVICE) {
    if (clock() >= deadline) throw new HardwareError('lost', 'the function does not come back from its reset');
    yield* sleep(clock, 10);
    vendor = yield* config.read16(Header.vendorId);
  }
}
