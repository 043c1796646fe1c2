/** The raw halves of the attacks on blocks. The device knows no shares: any block of any namespace is anybody's. */
import { DATASET_RANGE_BYTES, NvmOpcode } from '../../../hw/nvme/spec/index.js';
import type { RawOutcome } from '../types.js';
import { BLOCKS_PER_PAGE, POISON } from './moves.js';
import { type RawWorld, VICTIM_LBA } from './world.js';

const DEALLOCATE = 0x4;
/** Blocks that lie in one go inside what is watched. */
const SOME_BLOCKS = 16;

/** Reads the block right behind its own partition. */
export async function readNextBlock(world: RawWorld): Promise<RawOutcome> {
  const page = world.ownPage();
  await world.io(NvmOpcode.read, VICTIM_LBA, 1, page.address);
  return world.leaked(page.bytes);
}

/** Writes blocks of which the last one is no longer its own. */
export async function writeAcrossBorder(world: RawWorld): Promise<RawOutcome> {
  await world.io(NvmOpcode.write, VICTIM_LBA - BLOCKS_PER_PAGE + 1, BLOCKS_PER_PAGE, world.ownPage(POISON).address);
  return world.corrupted();
}

/** Writes blocks of the victim's. */
export async function writeOthersBlocks(world: RawWorld): Promise<RawOutcome> {
  await world.io(NvmOpcode.write, VICTIM_LBA + BLOCKS_PER_PAGE, BLOCKS_PER_PAGE, world.ownPage(POISON).address);
  return world.corrupted();
}

export async function zeroOthersBlocks(world: RawWorld): Promise<RawOutcome> {
  await world.io(NvmOpcode.writeZeroes, VICTIM_LBA, SOME_BLOCKS, 0);
  return world.corrupted();
}

export async function deallocateOthersBlocks(world: RawWorld): Promise<RawOutcome> {
  const { pair, controller } = world;
  const page = world.ownPage();
  page.bytes.writeUInt32LE(SOME_BLOCKS, 4);
  page.bytes.writeBigUInt64LE(BigInt(VICTIM_LBA), 8);
  page.bytes.fill(0, DATASET_RANGE_BYTES);
  await controller.execute(pair, { opcode: NvmOpcode.datasetManagement, namespace: 1, prp1: page.address, cdw10: 0, cdw11: DEALLOCATE });
  return world.corrupted();
}

export async function readOthersNamespace(world: RawWorld): Promise<RawOutcome> {
  const page = world.ownPage();
  await world.io(NvmOpcode.read, 0, BLOCKS_PER_PAGE, page.address, 0, 2);
  return world.leaked(page.bytes);
}
