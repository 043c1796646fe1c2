/**
 * A second opinion on requests, to hold the validator against. It was written from the documentation of the entry, the operations and the
 * codes, and shares nothing with the validator: a list of laws over decoded bytes, with whole numbers of any size, where additions just work.
 * Nobody would run it for real; anybody can read it.
 */
import type { CodeName, OperationName } from '../../src/protocol/index.js';
import type { OracleShare, World } from './world.js';

/** The 64 bytes of an entry, by the table in the documentation. */
export interface Request {
  operation: number;
  flags: number;
  share: number;
  generation: number;
  tag: bigint;
  lba: bigint;
  blocks: bigint;
  region: number;
  offset: bigint;
  length: bigint;
  lease: number;
  queue: number;
  reserved: Uint8Array;
}

export function decode(view: DataView): Request {
  return {
    operation: view.getUint8(0),
    flags: view.getUint8(1),
    share: view.getUint16(2, true),
    generation: view.getUint32(4, true),
    tag: view.getBigUint64(8, true),
    lba: view.getBigUint64(16, true),
    blocks: BigInt(view.getUint32(24, true)),
    region: view.getUint32(28, true),
    offset: view.getBigUint64(32, true),
    length: BigInt(view.getUint32(40, true)),
    lease: view.getUint32(44, true),
    queue: view.getUint16(48, true),
    reserved: new Uint8Array(view.buffer, view.byteOffset + 50, 14),
  };
}

/** What the documentation says about each operation. */
interface Kind {
  name: OperationName;
  right?: 'read' | 'write';
  /** Which groups of fields it uses. */
  uses: Set<'blocks' | 'data' | 'attachment'>;
}

const KINDS = new Map<number, Kind>([
  [1, { name: 'read', right: 'read', uses: new Set(['blocks', 'data']) }],
  [2, { name: 'write', right: 'write', uses: new Set(['blocks', 'data']) }],
  [3, { name: 'flush', uses: new Set() }],
  [4, { name: 'writeZeroes', right: 'write', uses: new Set(['blocks']) }],
  [5, { name: 'compare', right: 'read', uses: new Set(['blocks', 'data']) }],
  [6, { name: 'deallocate', right: 'write', uses: new Set(['attachment']) }],
]);

/** What every other operation code is. */
const UNASSIGNED: Kind = { name: 'read', uses: new Set() };

/** A request beside what it is judged by. `share` is there for the laws that come after the one that proves that it exists. */
class Case {
  readonly request: Request;
  readonly world: World;
  readonly fetched: DataView;
  readonly kind: Kind;
  readonly share: OracleShare;
  #ranges: CodeName | 'fine' | undefined;

  constructor(request: Request, world: World, fetched: DataView) {
    this.request = request;
    this.world = world;
    this.fetched = fetched;
    this.kind = KINDS.get(request.operation) ?? UNASSIGNED;
    this.share = world.shares[request.share];
  }

  get usesMemory(): boolean {
    return this.kind.uses.has('data') || this.kind.uses.has('attachment');
  }

  /** What is wrong with the first range that has something wrong with it. */
  get ranges(): CodeName | 'fine' {
    this.#ranges ??= this.kind.uses.has('attachment') ? this.#firstBadRange() : 'fine';
    return this.#ranges;
  }

  #firstBadRange(): CodeName | 'fine' {
    for (let at = 0; at < this.fetched.byteLength; at += 16) {
      const blocks = BigInt(this.fetched.getUint32(at + 8, true));
      if (this.fetched.getUint32(at + 12, true) !== 0) return 'rangeReserved';
      if (blocks === 0n) return 'rangeEmpty';
      if (this.fetched.getBigUint64(at, true) + blocks > this.share.blocks) return 'rangeOutsideShare';
    }
    return 'fine';
  }
}

/** Each law and when it is broken, in the order in which they are looked at. */
const LAWS: readonly (readonly [CodeName, (about: Case) => boolean])[] = [
  ['leaseNotActive', ({ world }) => !world.active],
  ['leaseMismatch', ({ request, world }) => request.lease !== world.lease],
  ['queueMismatch', ({ request, world }) => request.queue !== world.queue],
  ['staleGeneration', ({ request, world }) => request.generation !== world.generation],
  ['reservedBits', ({ request }) => request.reserved.some((byte) => byte !== 0)],
  ['unknownOperation', ({ kind }) => kind === UNASSIGNED],
  ['unknownFlag', ({ request, kind }) => request.flags !== 0 && !(request.flags === 1 && kind.uses.has('blocks'))],
  ['unknownShare', ({ share }) => share === undefined],
  ['noReadRight', ({ kind, share }) => kind.right === 'read' && !share.rights.has('read')],
  ['noWriteRight', ({ kind, share }) => kind.right === 'write' && !share.rights.has('write')],
  ['operationNotGranted', ({ kind, share }) => !share.operations.has(kind.name)],
  ['blocksZero', ({ request, kind }) => kind.uses.has('blocks') && request.blocks === 0n],
  ['blocksTooMany', ({ request, kind, share }) => kind.uses.has('blocks') && request.blocks > share.maxBlocks],
  ['blocksNotUsed', ({ request, kind }) => !kind.uses.has('blocks') && request.blocks !== 0n],
  ['lbaOutsideShare', ({ request, kind, share }) => kind.uses.has('blocks') && request.lba + request.blocks > share.blocks],
  ['lbaNotUsed', ({ request, kind }) => !kind.uses.has('blocks') && request.lba !== 0n],
  ['lengthMismatch', ({ request, kind, share }) => kind.uses.has('data') && request.length !== request.blocks * share.blockBytes],
  ['lengthNotUsed', (about) => !about.usesMemory && about.request.length !== 0n],
  [
    'attachmentLength',
    ({ request, kind }) => kind.uses.has('attachment') && (request.length === 0n || request.length > 256n * 16n || request.length % 16n !== 0n),
  ],
  ['unknownRegion', (about) => about.usesMemory && !about.world.regions.has(about.request.region)],
  ['regionNotUsed', (about) => !about.usesMemory && about.request.region !== 0],
  [
    'offsetOutsideRegion',
    (about) => about.usesMemory && about.request.offset + about.request.length > (about.world.regions.get(about.request.region) ?? 0n),
  ],
  ['offsetMisaligned', (about) => about.usesMemory && about.request.offset % 4n !== 0n],
  ['offsetNotUsed', (about) => !about.usesMemory && about.request.offset !== 0n],
  ['attachmentMissing', ({ request, kind, fetched }) => kind.uses.has('attachment') && BigInt(fetched.byteLength) !== request.length],
  ['rangeReserved', (about) => about.ranges === 'rangeReserved'],
  ['rangeEmpty', (about) => about.ranges === 'rangeEmpty'],
  ['rangeOutsideShare', (about) => about.ranges === 'rangeOutsideShare'],
  ['tagInUse', ({ request, world }) => world.tags.has(request.tag)],
  ['inFlightLimit', ({ world }) => world.inFlight >= world.maxInFlight],
];

/** The name of the first law that a request breaks, or `ok`. `fetched` is what could be fetched of its attachment. */
export function judge(entry: DataView, fetched: DataView, world: World): CodeName {
  const about = new Case(decode(entry), world, fetched);
  for (const [name, broken] of LAWS) if (broken(about)) return name;
  return 'ok';
}

const FETCH_LAWS: readonly CodeName[] = ['attachmentLength', 'unknownRegion', 'offsetOutsideRegion', 'offsetMisaligned'];

/** How much of an attachment may be fetched before the request was judged: all of it or nothing. */
export function mayFetch(entry: DataView, world: World): number {
  const about = new Case(decode(entry), world, entry);
  if (!about.kind.uses.has('attachment')) return 0;
  return LAWS.some(([name, broken]) => FETCH_LAWS.includes(name) && broken(about)) ? 0 : Number(about.request.length);
}

/** Whether an admitted request stays where it may go: its blocks in the share, its bytes in one region of the domain. */
export function staysInside(entry: DataView, fetched: DataView, world: World): boolean {
  const about = new Case(decode(entry), world, fetched);
  const { request, kind, share } = about;
  if (kind.uses.has('blocks') && !(request.blocks > 0n && request.lba + request.blocks <= share.blocks)) return false;
  if (kind.uses.has('data') && request.length !== request.blocks * share.blockBytes) return false;
  if (about.usesMemory && !(request.offset + request.length <= (world.regions.get(request.region) ?? -1n))) return false;
  return about.ranges === 'fine';
}
