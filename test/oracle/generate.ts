/** Worlds and requests for the differential test: most of them nearly valid, so that the request gets far before it is refused. */
import { Operation, type OperationName, packEntry, type RequestFields } from '../../src/protocol/index.js';
import { attachmentToFetch, type Attachment, type Grant, type LeaseState } from '../../src/validator/index.js';
import { Random } from './random.js';
import { engineForm, type OracleShare, type World } from './world.js';

const NAMES = Object.keys(Operation) as OperationName[];
const SHARE_BLOCKS = [1, 2, 7, 8, 256, 1000, 65_536, 2 ** 20, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 40, 2 ** 53 - 1];
const MAX_BLOCKS = [1, 8, 32, 256, 1024, 65_535, 65_536];
const REGION_BYTES = [4096, 8192, 65_536, 2 ** 20, 2 ** 24, 2 ** 31 - 4096, 2 ** 31];
const EDGES_32 = [
  0,
  1,
  2,
  3,
  4,
  7,
  8,
  15,
  16,
  17,
  255,
  256,
  511,
  512,
  4095,
  4096,
  4097,
  65_535,
  65_536,
  65_537,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 31 + 1,
  2 ** 32 - 1,
];
const EDGES_64 = [
  ...EDGES_32.map(BigInt),
  ...[32n, 33n, 52n, 53n, 54n, 63n].flatMap((bits) => [2n ** bits - 1n, 2n ** bits, 2n ** bits + 1n]),
  2n ** 64n - 512n,
  2n ** 64n - 4n,
  2n ** 64n - 1n,
];

const u64 = (random: Random): bigint => (BigInt(random.word()) << 32n) | BigInt(random.word());
const handle = (slot: number, sequence: number): number => sequence * 65_536 + slot;

function makeShare(random: Random): OracleShare {
  return {
    blocks: BigInt(random.pick(SHARE_BLOCKS)),
    blockBytes: 2n ** BigInt(random.once(3) ? 9 + random.below(8) : 9),
    maxBlocks: BigInt(random.pick(MAX_BLOCKS)),
    rights: new Set(random.once(8) ? random.pick([[], ['read'], ['write']] as const) : (['read', 'write'] as const)),
    operations: new Set(NAMES.filter(() => !random.once(24))),
  };
}

/** Everything that a batch of requests is made from and judged by. */
export interface Scene {
  world: World;
  grant: Grant;
  lease: LeaseState;
  /** For picking from. */
  handles: number[];
  freed: number[];
  tags: bigint[];
}

export function makeScene(random: Random): Scene {
  const slots = 1 + random.below(random.once(50) ? 65_536 : 64);
  const regions = new Map<number, bigint>();
  const freed = new Map<number, number>();
  for (let count = 0; count < 12; count++) {
    const slot = random.below(slots);
    if (freed.has(slot) || [...regions.keys()].some((other) => other % 65_536 === slot)) continue;
    if (random.once(4)) freed.set(slot, random.pick(REGION_BYTES));
    else regions.set(handle(slot, 1 + random.below(65_535)), BigInt(random.pick(REGION_BYTES)));
  }
  const tags = new Set(Array.from({ length: random.below(64) }, () => (random.once(4) ? BigInt(random.below(16)) : u64(random))));
  const inFlight = tags.size + random.below(4);
  const world: World = {
    active: !random.once(40),
    lease: random.word(),
    queue: random.below(random.once(2) ? 65_536 : 4),
    generation: random.word(),
    shares: Array.from({ length: 1 + random.below(5) }, () => makeShare(random)),
    maxInFlight: random.once(20) ? inFlight : inFlight + 1 + random.below(1024),
    inFlight,
    regions,
    tags,
  };
  return { world, ...engineForm(world, slots, freed, random.word()), handles: [...regions.keys()], freed: [...freed.keys()], tags: [...tags] };
}

/** One request in memory that is used again for the next one. */
export class Specimen {
  readonly entry = new Uint32Array(16);
  /** Memory for an attachment, longer than any that is admitted. */
  readonly words = new Uint32Array(1028);
  readonly view = new DataView(this.entry.buffer);
  readonly #bytes = new DataView(this.words.buffer);
  attachment: Attachment = { words: this.words, bytes: 0 };

  /** What was fetched, for the oracle. */
  get fetched(): DataView {
    return new DataView(this.words.buffer, 0, this.attachment.bytes);
  }

  range(at: number, lba: bigint, blocks: number, reserved: number): void {
    this.#bytes.setBigUint64(at * 16, lba, true);
    this.#bytes.setUint32(at * 16 + 8, blocks, true);
    this.#bytes.setUint32(at * 16 + 12, reserved, true);
  }

  set(fields: RequestFields): void {
    packEntry(this.entry, 0, fields);
  }
}

/** How many blocks of the share one request can move: what its limit, its size and the region allow. */
function most(share: OracleShare, room: bigint): number {
  const fit = room / share.blockBytes;
  return Number([share.maxBlocks, share.blocks, fit].reduce((least, each) => (each < least ? each : least)));
}

/** Fields of a request that is valid as far as the scene lets one be. */
function validFields(random: Random, scene: Scene): RequestFields {
  const { world } = scene;
  const name = random.pick(NAMES);
  const index = random.below(world.shares.length);
  const share = world.shares[index];
  const fields: RequestFields = {
    operation: Operation[name],
    flags: 0,
    share: index,
    generation: world.generation,
    tag: u64(random),
    lba: 0n,
    blocks: 0,
    region: 0,
    offset: 0n,
    length: 0,
    lease: world.lease,
    queue: world.queue,
  };
  if (name === 'flush') return fields;
  const region = scene.handles.length > 0 ? random.pick(scene.handles) : 0;
  const room = world.regions.get(region) ?? 0n;
  if (name === 'deallocate') {
    fields.length = 16 * (1 + random.below(random.once(40) ? 256 : 4));
  } else {
    if (random.once(4)) fields.flags = 1;
    const top = most(share, name === 'writeZeroes' ? 2n ** 40n : room);
    fields.blocks = random.once(4) ? top : 1 + random.below(Math.max(1, top));
    const last = Number(share.blocks) - fields.blocks;
    fields.lba = BigInt(random.once(3) ? Math.max(0, last) : random.below(Math.max(1, last)));
    if (name === 'writeZeroes') return fields;
    fields.length = Number(BigInt(fields.blocks) * share.blockBytes);
  }
  fields.region = region;
  const spare = Math.max(0, Number(room) - fields.length);
  fields.offset = BigInt(random.once(3) ? spare : random.below(spare + 1) & ~3);
  return fields;
}

function validRanges(random: Random, specimen: Specimen, share: OracleShare, count: number): void {
  const blocks = Number(share.blocks);
  for (let at = 0; at < count; at++) {
    const length = 1 + random.below(Math.min(blocks, 2 ** 32 - 1));
    specimen.range(at, BigInt(random.once(3) ? blocks - length : random.below(blocks - length + 1)), length, 0);
  }
}

type FieldChange = (random: Random, fields: RequestFields, scene: Scene) => void;

const shareOf = (fields: RequestFields, scene: Scene): OracleShare => scene.world.shares[fields.share] ?? scene.world.shares[0];
/** One more, one less, or an edge. */
const nearby = (random: Random, value: number): number =>
  random.pick([value + 1, value - 1, value + 1, value - 1, random.pick(EDGES_32), random.word()]) >>> 0;
const nearby64 = (random: Random, value: bigint): bigint =>
  BigInt.asUintN(64, random.pick([value + 1n, value - 1n, value + 4n, random.pick(EDGES_64), u64(random)]));

/** Ways to make a valid request slightly wrong, each aimed at a rule or at an edge. */
const FIELD_CHANGES: readonly FieldChange[] = [
  (random, fields) => (fields.operation = random.once(2) ? random.below(256) : random.below(9)),
  (random, fields) => (fields.flags = random.once(2) ? 1 : 1 << random.below(8)),
  (random, fields, { world }) => (fields.share = random.once(2) ? world.shares.length : random.below(65_536)),
  (random, fields) => (fields.share ^= 1 << random.below(3)),
  (random, fields) => (fields.generation = nearby(random, fields.generation)),
  (random, fields) => (fields.lease = nearby(random, fields.lease)),
  (random, fields) => (fields.queue = nearby(random, fields.queue)),
  (random, fields, { tags }) => (fields.tag = tags.length > 0 ? random.pick(tags) : 1n),
  (random, fields) => (fields.lba = nearby64(random, fields.lba)),
  (random, fields, scene) => (fields.lba = BigInt.asUintN(64, shareOf(fields, scene).blocks - BigInt(fields.blocks) + BigInt(random.below(3)))),
  (random, fields) => (fields.lba += BigInt(1 + random.below(3)) << 53n),
  (_, fields) => (fields.blocks = 0),
  (random, fields) => (fields.blocks = nearby(random, fields.blocks)),
  (random, fields, scene) => (fields.blocks = Number(shareOf(fields, scene).maxBlocks) + random.below(2)),
  (_, fields, scene) => {
    // A length that is right for the new number of blocks, so that the offset has to be what is wrong.
    fields.blocks = Math.min(65_536, fields.blocks * 2);
    fields.length = Number(BigInt.asUintN(32, BigInt(fields.blocks) * shareOf(fields, scene).blockBytes));
  },
  (random, fields) => (fields.length = nearby(random, fields.length)),
  (random, fields) => (fields.length = 16 * random.below(260)),
  (random, fields) => (fields.length ^= 1 << random.below(32)),
  (random, fields) => (fields.region = nearby(random, fields.region)),
  (random, fields, { freed }) => (fields.region = freed.length > 0 ? random.pick(freed) : 0),
  (random, fields) => (fields.region = (fields.region ^ (0x1_0000 << random.below(16))) >>> 0),
  (_, fields) => (fields.region = 0),
  (random, fields) => (fields.offset = nearby64(random, fields.offset)),
  (random, fields, { world }) =>
    (fields.offset = BigInt.asUintN(64, (world.regions.get(fields.region) ?? 0n) - BigInt(fields.length) + BigInt(random.below(9) - 4))),
  (random, fields) => (fields.offset += 1n << BigInt(32 + random.below(32))),
  (random, fields) => (fields.offset |= BigInt(1 + random.below(3))),
];

type RangeChange = (random: Random, specimen: Specimen, scene: Scene, at: number) => void;

/** Ways to make one range wrong; each knows word `at` of the memory as the start of a range. */
const RANGE_CHANGES: readonly RangeChange[] = [
  (random, { words }, _, at) => (words[at + 3] = random.pick(EDGES_32)),
  (_, { words }, __, at) => (words[at + 2] = 0),
  (random, { words }, _, at) => (words[at + 2] = nearby(random, words[at + 2])),
  (random, { words }, _, at) => (words[at] = nearby(random, words[at])),
  (random, { words }, _, at) => (words[at + 1] = random.pick(EDGES_32)),
  (random, { words }, _, at) => (words[at + random.below(4)] ^= 1 << random.below(32)),
];

/** The next request of a scene: mostly valid but for a change or two, sometimes valid, sometimes noise. */
export function nextCase(random: Random, scene: Scene, specimen: Specimen): void {
  const fields = validFields(random, scene);
  const kind = random.below(16);
  const changes = kind < 3 ? 0 : kind < 12 ? 1 : kind < 14 ? 2 : 3;
  for (let count = 0; count < changes; count++) random.pick(FIELD_CHANGES)(random, fields, scene);
  specimen.set(fields);
  if (kind === 15) {
    // Noise in any word, reserved ones too; or an entry that was never one.
    const all = random.once(8);
    for (let word = 0; word < 16; word++) if (all || random.once(12)) specimen.entry[word] ^= random.once(2) ? random.word() : 1 << random.below(32);
  } else if (random.once(48)) {
    specimen.entry[12 + random.below(4)] ^= 0x1_0000 << random.below(16);
  }
  attach(random, scene, specimen, fields);
}

/** What the engine would have fetched for the entry, right or wrong. */
function attach(random: Random, scene: Scene, specimen: Specimen, fields: RequestFields): void {
  let bytes = attachmentToFetch(specimen.entry, scene.lease.regions);
  if (bytes > 0) {
    const count = bytes / 16;
    validRanges(random, specimen, shareOf(fields, scene), count);
    if (random.once(2)) random.pick(RANGE_CHANGES)(random, specimen, scene, 4 * random.below(count));
    if (random.once(12)) bytes = random.once(2) ? 0 : 16 * random.below(258);
  } else if (random.once(8)) {
    bytes = 16 * random.below(258);
  }
  specimen.attachment = { words: specimen.words, bytes };
}
