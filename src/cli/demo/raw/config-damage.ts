/** The raw halves of the attacks through configuration space, which any program with the device's file may write. */
import { CapabilityId, Command, DEVCTL_FLR, Header, PciExpress, ROM_ENABLE, barRegister, findCapability } from '../../../hw/pci/index.js';
import type { RawOutcome } from '../types.js';
import type { RawWorld } from './world.js';

/** Where nothing of the machine is: registers that are moved there are gone for everybody. */
const ELSEWHERE = 0x9000_0000;

/** Moves the registers of the controller away under the victim. Those of the embedded model are reached by the number of their BAR, wherever it is. */
export async function moveRegisters(world: RawWorld): Promise<RawOutcome> {
  await world.controller.run(world.backing.config.write32(barRegister(0), ELSEWHERE));
  const outcome = await world.stalled();
  return outcome === 'none' && world.backing.kind === 'emulated' ? 'not-applicable' : outcome;
}

/** Takes the controller off the bus: it can fetch no command of anybody. */
export async function stopBusMaster(world: RawWorld): Promise<RawOutcome> {
  await world.controller.run(world.backing.config.write16(Header.command, Command.memory));
  return world.stalled();
}

/** Resets the function, with everybody's queues. */
export async function resetFunction(world: RawWorld): Promise<RawOutcome> {
  const { controller, backing } = world;
  const express = await controller.run(findCapability(backing.config, CapabilityId.pciExpress));
  if (express === undefined) return 'none';
  await controller.run(backing.config.write16(express + PciExpress.deviceControl, DEVCTL_FLR));
  return world.stalled();
}

/** Switches the ROM on: where a function has one decoder for both, its registers are gone. QEMU's model has one for each. */
export async function decodeRom(world: RawWorld): Promise<RawOutcome> {
  await world.controller.run(world.backing.config.write32(Header.expansionRom, (ELSEWHERE | ROM_ENABLE) >>> 0));
  const outcome = await world.stalled();
  return outcome === 'none' && world.backing.kind === 'qemu' ? 'not-applicable' : outcome;
}
