/** What a request is judged by, in the words of the documentation: sets, maps and whole numbers of any size. */
import { Operation, type OperationName, Right } from '../../src/protocol/index.js';
import { type Grant, type LeaseState, TagSet } from '../../src/validator/index.js';

export interface OracleShare {
  blocks: bigint;
  blockBytes: bigint;
  maxBlocks: bigint;
  rights: Set<'read' | 'write'>;
  operations: Set<OperationName>;
}

export interface World {
  active: boolean;
  lease: number;
  queue: number;
  generation: number;
  shares: OracleShare[];
  maxInFlight: number;
  inFlight: number;
  /** Bytes of each usable region, by handle. */
  regions: Map<number, bigint>;
  tags: Set<bigint>;
}

/** Slots of the region table that hold nothing now: where they are, and the size that an earlier region left in them. */
export type FreedSlots = ReadonlyMap<number, number>;

/** The same world in the form that the engine keeps. */
export function engineForm(world: World, slots: number, freed: FreedSlots, tagSeed: number): { grant: Grant; lease: LeaseState } {
  const words = new Uint32Array(2 * slots);
  for (const [slot, left] of freed) words[2 * slot + 1] = left;
  for (const [handle, size] of world.regions) {
    words[2 * (handle % 65_536)] = handle;
    words[2 * (handle % 65_536) + 1] = Number(size);
  }
  const tags = new TagSet(1024, tagSeed);
  for (const tag of world.tags) tags.add(Number(tag % 2n ** 32n), Number(tag / 2n ** 32n));
  const shares = world.shares.map((share) => ({
    blocks: Number(share.blocks),
    blockShift: Math.log2(Number(share.blockBytes)),
    maxBlocks: Number(share.maxBlocks),
    access: (share.rights.has('read') ? Right.read : 0) + (share.rights.has('write') ? Right.write : 0),
    operations: [...share.operations].reduce((mask, name) => mask + 2 ** Operation[name], 0),
  }));
  const { active, lease, queue, generation, inFlight, maxInFlight } = world;
  return { grant: { shares, maxInFlight }, lease: { active, lease, queue, generation, inFlight, regions: { words }, tags } };
}
