/** The raw halves of the attacks on memory: each returns what it saw of the damage. */
import { NvmOpcode, Status } from '../../../hw/nvme/spec/index.js';
import type { RawOutcome } from '../types.js';
import { blockCommand } from './controller.js';
import { PAGE_BYTES } from './memory.js';
import { BLOCKS_PER_PAGE, OwnBlock, copyOut, readInto, storePoison } from './moves.js';
import { BLOCK_BYTES, HIDDEN_LBA, type RawWorld } from './world.js';

/** Attempts at what is a race with the device. */
const ATTEMPTS = 50;
const SWEEP_PAGES = 96;
const PAGES_PER_COMMAND = 32;

/** A read command whose data pointer is somebody else's page. */
export async function writeOthersMemory(world: RawWorld): Promise<RawOutcome> {
  await readInto(world, world.victim.address(0));
  return world.corrupted();
}

/** A write command whose data pointer is somebody else's page, and a look at what it stored. */
export async function readOthersMemory(world: RawWorld): Promise<RawOutcome> {
  return world.leaked(await copyOut(world, world.victim.address(0)));
}

/** A transfer that is longer than the buffer: the device goes on in the next page, which is a neighbour's. */
export async function runPastBuffer(world: RawWorld): Promise<RawOutcome> {
  await storePoison(world);
  const last = world.own.address(world.neighbour - PAGE_BYTES);
  const next = world.own.address(world.neighbour);
  await world.io(NvmOpcode.read, OwnBlock.poison, 2 * BLOCKS_PER_PAGE, last, next);
  return world.corrupted();
}

/** The PRP list is checked, found good, and changed before the device fetches it: it lies in memory that the program can write. */
export async function changeListAfterCheck(world: RawWorld): Promise<RawOutcome> {
  await storePoison(world);
  const { pair, controller, own } = world;
  const list = world.listPage();
  const page = world.ownPage();
  list.entries.fill(BigInt(page.address), 0, 2);
  const slot = controller.write(pair, blockCommand(NvmOpcode.read, 1, OwnBlock.poison, 3 * BLOCKS_PER_PAGE, page.address, list.address));
  const [start, end] = [BigInt(own.address(0)), BigInt(own.address(world.neighbour))];
  const isGood = list.entries.subarray(0, 2).every((entry) => entry >= start && entry < end);
  if (!isGood) return 'none';
  list.entries[1] = BigInt(world.victim.address(0));
  pair.ring();
  await controller.finish(pair, slot);
  return world.corrupted();
}

/** A list that chains into a page in which the victim keeps the addresses of its own buffers. */
export async function chainIntoOthersList(world: RawWorld): Promise<RawOutcome> {
  await storePoison(world);
  const list = world.listPage();
  const last = list.entries.length - 1;
  list.entries[last] = BigInt(world.victim.address(world.victimList));
  await world.io(NvmOpcode.read, OwnBlock.poison, 3 * BLOCKS_PER_PAGE, world.ownPage().address, list.address + last * 8);
  return world.corrupted();
}

/** Guessing: copies whatever lies above its own memory on the bus to its own blocks, page by page, and reads it there. */
export async function sweepBus(world: RawWorld): Promise<RawOutcome> {
  const base = world.own.address(world.neighbour - PAGE_BYTES);
  const list = world.listPage();
  for (let page = 0; page < SWEEP_PAGES; page += PAGES_PER_COMMAND) {
    for (let index = 1; index < PAGES_PER_COMMAND; index++) list.entries[index - 1] = BigInt(base + (page + index) * PAGE_BYTES);
    await world.io(NvmOpcode.write, OwnBlock.loot, PAGES_PER_COMMAND * BLOCKS_PER_PAGE, base + page * PAGE_BYTES, list.address);
    for (let index = 0; index < PAGES_PER_COMMAND; index++) {
      const found = world.leaked(await world.readOwnBlocks(OwnBlock.loot + index * BLOCKS_PER_PAGE, BLOCKS_PER_PAGE));
      if (found === 'leaked') return found;
    }
  }
  return 'none';
}

/** The buffer was given back and is somebody else's now; the program kept its bus address. */
export async function useAfterFree(world: RawWorld): Promise<RawOutcome> {
  const buffer = world.own.address(world.neighbour);
  await readInto(world, buffer);
  world.restore();
  await readInto(world, buffer);
  return world.corrupted();
}

/** The buffer is given back while commands that use it are on their way: whoever gets the page next is written over. */
export async function freeInFlight(world: RawWorld): Promise<RawOutcome> {
  await storePoison(world);
  const { pair, controller, own } = world;
  const command = blockCommand(NvmOpcode.read, 1, OwnBlock.poison, BLOCKS_PER_PAGE, own.address(world.neighbour));
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    let slot = 0;
    while (pair.room > 0) slot = controller.write(pair, command);
    pair.ring();
    // The next owner of the page puts its own data there.
    world.restoreMemory();
    await controller.finish(pair, slot);
    const outcome = await world.corrupted();
    if (outcome !== 'none') return outcome;
  }
  return 'none';
}

/** The length in the descriptor is not that of the buffer; the device believes the descriptor. */
export async function lieAboutLength(world: RawWorld): Promise<RawOutcome> {
  await storePoison(world);
  const half = BLOCKS_PER_PAGE / 2;
  // A buffer of one block at the end of the last page, and a descriptor that says eight.
  const last = world.own.address(world.neighbour - BLOCK_BYTES);
  await world.io(NvmOpcode.read, OwnBlock.poison, half, last, world.own.address(world.neighbour));
  return world.corrupted();
}

/** Finds a byte of a block that it cannot read, by comparing it with every value that it may have. */
export async function compareUntilEqual(world: RawWorld): Promise<RawOutcome> {
  const page = world.ownPage();
  for (let guess = 0; guess < 256; guess++) {
    page.bytes.fill(guess, 0, BLOCK_BYTES);
    if ((await world.io(NvmOpcode.compare, HIDDEN_LBA, 1, page.address)) === Status.success) return guess === world.hidden ? 'leaked' : 'none';
  }
  return 'none';
}
