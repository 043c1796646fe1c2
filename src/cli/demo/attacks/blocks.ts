/** Attacks on blocks: which of them a request touches, and what it may do there. */
import { EntryFlag, Operation } from '../../../protocol/index.js';
import { Share } from '../mediated/foothold.js';
import type { MediatedWorld } from '../mediated/world.js';
import {
  deallocateOthersBlocks,
  readNextBlock,
  readOthersNamespace,
  writeAcrossBorder,
  writeOthersBlocks,
  zeroOthersBlocks,
} from '../raw/block-damage.js';
import { compareUntilEqual } from '../raw/memory-damage.js';
import { type Attack, type Reply, harmless, notApplicable, refused } from '../types.js';

const ROUNDS = 60;

/** One range of a deallocation. */
function range(lba: bigint, blocks: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64LE(lba, 0);
  bytes.writeUInt32LE(blocks, 8);
  return bytes;
}

const DEALLOCATE = { operation: Operation.deallocate, flags: EntryFlag.inline, region: 0, offset: 0n, blocks: 0 } as const;

export const blockAttacks: readonly Attack[] = [
  {
    id: 'lba-one-past',
    title: 'read of the block behind the last one',
    requirement: 'R16',
    expected: { raw: 'leaked', mediated: [refused('lbaOutsideShare')] },
    raw: readNextBlock,
    mediated: async (world) => {
      const foothold = await world.foothold();
      return foothold.request({ lba: BigInt(foothold.blocks), blocks: 1 });
    },
  },
  {
    id: 'lba-across',
    title: 'write that ends one block too far',
    requirement: 'R16',
    expected: { raw: 'corrupted', mediated: [refused('lbaOutsideShare')] },
    raw: writeAcrossBorder,
    mediated: async (world) => {
      const foothold = await world.foothold();
      return foothold.request({ operation: Operation.write, lba: BigInt(foothold.blocks - 7), blocks: 8 });
    },
  },
  {
    id: 'lba-below',
    title: 'write below the share, as a negative address',
    requirement: 'R16',
    expected: { raw: 'corrupted', mediated: [refused('lbaOutsideShare')] },
    raw: writeOthersBlocks,
    mediated: async (world) => (await world.foothold()).request({ operation: Operation.write, lba: 2n ** 64n - 8n }),
  },
  {
    id: 'lba-overflow',
    title: 'block address whose sum with the count wraps',
    requirement: 'R16',
    expected: { raw: 'not-applicable', mediated: [refused('lbaOutsideShare')] },
    raw: notApplicable('there is no window whose start is added'),
    mediated: async (world) => (await world.foothold()).request({ lba: 2n ** 64n - 1n, blocks: 2 }),
  },
  {
    id: 'write-zeroes',
    title: "zeroes over somebody else's blocks",
    requirement: 'R04',
    expected: { raw: 'corrupted', mediated: [refused('lbaOutsideShare')] },
    raw: zeroOthersBlocks,
    mediated: async (world) => {
      const foothold = await world.foothold();
      return foothold.request({ operation: Operation.writeZeroes, lba: BigInt(foothold.blocks), region: 0, length: 0 });
    },
  },
  {
    id: 'deallocate',
    title: "deallocation of somebody else's blocks",
    requirement: 'R04',
    expected: { raw: 'corrupted', mediated: [refused('rangeOutsideShare')] },
    raw: deallocateOthersBlocks,
    mediated: async (world) => {
      const foothold = await world.foothold();
      const ranges = Buffer.concat([range(0n, 1), range(BigInt(foothold.blocks - 1), 2)]);
      return foothold.request({ ...DEALLOCATE, length: ranges.length }, ranges);
    },
  },
  {
    id: 'range-race',
    title: 'deallocation ranges changed after submission',
    requirement: 'R04',
    expected: { raw: 'corrupted', mediated: [harmless, refused('rangeOutsideShare')] },
    raw: deallocateOthersBlocks,
    mediated: changeRangesInFlight,
  },
  {
    id: 'namespace',
    title: 'namespace that is granted to nobody',
    requirement: 'R04',
    expected: { raw: 'leaked', mediated: [refused('unknownShare')] },
    raw: readOthersNamespace,
    mediated: async (world) => (await world.foothold()).request({ share: 4 }),
  },
  {
    id: 'write-read-only',
    title: 'write to blocks that may only be read',
    requirement: 'R04',
    expected: { raw: 'corrupted', mediated: [refused('noWriteRight')] },
    raw: writeOthersBlocks,
    mediated: async (world) => (await world.foothold()).request({ operation: Operation.write, share: Share.manual }),
  },
  {
    id: 'read-write-only',
    title: 'read of blocks that may only be written',
    requirement: 'R04',
    expected: { raw: 'leaked', mediated: [refused('noReadRight')] },
    raw: readNextBlock,
    mediated: async (world) => (await world.foothold()).request({ share: Share.dropbox }),
  },
  {
    id: 'compare-oracle',
    title: 'hidden bytes guessed with compare',
    requirement: 'R04',
    expected: { raw: 'leaked', mediated: [refused('noReadRight')] },
    raw: compareUntilEqual,
    mediated: async (world) => (await world.foothold()).request({ operation: Operation.compare, share: Share.dropbox }),
  },
  {
    id: 'not-granted',
    title: 'operation that the share does not grant',
    requirement: 'R04',
    expected: { raw: 'corrupted', mediated: [refused('operationNotGranted')] },
    raw: zeroOthersBlocks,
    mediated: async (world) => (await world.foothold()).request({ operation: Operation.writeZeroes, share: Share.scratch, region: 0, length: 0 }),
  },
  {
    id: 'no-blocks',
    title: 'no blocks, which a device takes for 65536',
    requirement: 'R04',
    expected: { raw: 'not-applicable', mediated: [refused('blocksZero')] },
    raw: notApplicable('the count of a descriptor is zero-based: there is no such value'),
    mediated: async (world) => (await world.foothold()).request({ blocks: 0, length: 0 }),
  },
  {
    id: 'many-blocks',
    title: '4 294 967 295 blocks',
    requirement: 'R04',
    expected: { raw: 'not-applicable', mediated: [refused('blocksTooMany')] },
    raw: notApplicable('the device has a limit of its own (MDTS)'),
    mediated: async (world) => (await world.foothold()).request({ blocks: 0xffff_ffff, length: 0xffff_ffff }),
  },
];

/** The ranges lie in memory that the attacker writes: good ones when they are sent, bad ones right afterwards. */
async function changeRangesInFlight(world: MediatedWorld): Promise<Reply> {
  const foothold = await world.foothold();
  const { attacker, region } = foothold;
  const good = range(0n, 8);
  const bad = range(BigInt(foothold.blocks), 8);
  const codes = new Set<string>();
  for (let round = 0; round < ROUNDS; round++) {
    await attacker.must('writeMemory', { region, offset: 0, data: good });
    const inFlight = foothold.request({ operation: Operation.deallocate, blocks: 0, length: good.length });
    const rewritten = attacker.ask('writeMemory', { region, offset: 0, data: bad });
    const { code } = await inFlight;
    await rewritten;
    codes.add(code);
  }
  const strange = [...codes].find((code) => code !== '' && code !== 'rangeOutsideShare');
  if (strange !== undefined) throw new Error(`a deallocation ended with ${strange}`);
  // Copied before or after the change, and judged as copied.
  return codes.has('rangeOutsideShare') ? refused('rangeOutsideShare') : harmless;
}
