/** What several raw attacks do: each is one descriptor, register or message that nobody checks. */
import { setImmediate as yieldToOthers } from 'node:timers/promises';
import { NvmOpcode } from '../../../hw/nvme/spec/index.js';
import { MsixEntry, readMsix } from '../../../hw/pci/index.js';
import type { RawOutcome } from '../types.js';
import { PAGE_BYTES } from './memory.js';
import { BLOCK_BYTES, type RawWorld } from './world.js';

/** What the attacker writes over others' memory and blocks. */
export const POISON = 0xa5;
export const BLOCKS_PER_PAGE = PAGE_BYTES / BLOCK_BYTES;

/** A block of the attacker's own for each thing that it stores. */
export const OwnBlock = { poison: 0, loot: 64, message: 128 } as const;

/** Puts a page of poison on the attacker's own blocks, to be read to where it should not go. */
export async function storePoison(world: RawWorld): Promise<void> {
  const page = world.ownPage(POISON);
  await world.io(NvmOpcode.write, OwnBlock.poison, BLOCKS_PER_PAGE, page.address);
}

/** One read command whose data pointer is the victim's page. */
export async function readInto(world: RawWorld, address: number): Promise<void> {
  await storePoison(world);
  await world.io(NvmOpcode.read, OwnBlock.poison, BLOCKS_PER_PAGE, address);
}

/** One write command whose data pointer is the victim's page, then a read of what it stored. */
export async function copyOut(world: RawWorld, address: number): Promise<Buffer> {
  await world.io(NvmOpcode.write, OwnBlock.loot, BLOCKS_PER_PAGE, address);
  return world.readOwnBlocks(OwnBlock.loot, BLOCKS_PER_PAGE);
}

/** Polls until `seen` tells of something, or for `milliseconds`: for what nobody completes. */
export async function watch(world: RawWorld, seen: () => RawOutcome | Promise<RawOutcome>, milliseconds = 500): Promise<RawOutcome> {
  const deadline = performance.now() + milliseconds;
  for (;;) {
    world.backing.poll();
    const outcome = await seen();
    if (outcome !== 'none' || performance.now() > deadline) return outcome;
    await yieldToOthers();
  }
}

/** An entry of the MSI-X table, in a BAR that raw access maps as it maps any other. */
export async function msixEntry(
  world: RawWorld,
  vector: number,
): Promise<{ read(): Promise<{ address: number; data: number }>; aim(address: number, data: number): void }> {
  const { backing, controller } = world;
  const capability = await controller.run(readMsix(backing.config, backing.bars));
  if (capability === undefined) throw new Error('the controller has no MSI-X');
  const bar = backing.bar(capability.table.bar);
  const at = capability.table.offset + vector * MsixEntry.bytes;
  return {
    async read() {
      const low = await controller.run(bar.read32(at + MsixEntry.addressLow));
      const high = await controller.run(bar.read32(at + MsixEntry.addressHigh));
      return { address: high * 2 ** 32 + low, data: await controller.run(bar.read32(at + MsixEntry.data)) };
    },
    aim(address, data) {
      bar.write32(at + MsixEntry.control, 1);
      bar.write32(at + MsixEntry.addressLow, address % 2 ** 32);
      bar.write32(at + MsixEntry.addressHigh, Math.floor(address / 2 ** 32));
      bar.write32(at + MsixEntry.data, data);
      bar.write32(at + MsixEntry.control, 0);
    },
  };
}
