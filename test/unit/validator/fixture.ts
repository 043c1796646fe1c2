/** A small world in which one request of each kind is valid, for tests that change one thing at a time. */
import {
  ALL_OPERATIONS,
  CODES,
  codeName,
  type CodeName,
  ENTRY_WORDS,
  Operation,
  type OperationName,
  packEntry,
  type RequestFields,
  Right,
} from '../../../src/protocol/index.js';
import { admit, type Attachment, type Grant, type LeaseState, type Share, TagSet } from '../../../src/validator/index.js';

/** One range of a deallocate attachment. */
export interface Range {
  lba: bigint;
  blocks: number;
  reserved?: number;
}

/** An attachment of these ranges, laid out by hand. */
export function ranges(...list: Range[]): Attachment {
  const words = new Uint32Array(list.length * 4);
  for (const [at, range] of list.entries()) {
    words[at * 4] = Number(BigInt.asUintN(32, range.lba));
    words[at * 4 + 1] = Number(range.lba >> 32n);
    words[at * 4 + 2] = range.blocks;
    words[at * 4 + 3] = range.reserved ?? 0;
  }
  return { words, bytes: words.byteLength };
}

export const NO_ATTACHMENT: Attachment = { words: new Uint32Array(1024), bytes: 0 };

/** 1000 blocks of 512 bytes, everything allowed. */
const SHARE: Share = { blocks: 1000, blockShift: 9, access: Right.read | Right.write, operations: ALL_OPERATIONS, maxBlocks: 8 };
/** Slot 2 of the regions, 16 KiB. */
export const REGION = 0x0007_0002;
export const REGION_BYTES = 16_384;
export const TAG_IN_FLIGHT = 0xfeed_0000_0000_0001n;

/** Three slots: a region with an all-zero sequence, a freed one whose size was left behind, and {@link REGION}. */
export const REGIONS = { words: Uint32Array.of(0x0001_0000, 4096, 0, 1_048_576, REGION, REGION_BYTES) };

/** What a test may change about the world. */
export interface Circumstances {
  share?: Partial<Share>;
  lease?: Partial<LeaseState>;
  maxInFlight?: number;
  attachment?: Attachment;
}

export function world(changes: Circumstances = {}): { grant: Grant; lease: LeaseState } {
  const tags = new TagSet(8, 1);
  tags.add(Number(BigInt.asUintN(32, TAG_IN_FLIGHT)), Number(TAG_IN_FLIGHT >> 32n));
  return {
    grant: {
      shares: [
        { ...SHARE, blocks: 10 },
        { ...SHARE, ...changes.share },
      ],
      maxInFlight: changes.maxInFlight ?? 4,
    },
    lease: { active: true, lease: 0x0003_0001, queue: 5, generation: 9, inFlight: 1, regions: REGIONS, tags, ...changes.lease },
  };
}

/** Fields of a request that the world above admits. */
export function valid(operation: OperationName): RequestFields {
  const common = { operation: Operation[operation], flags: 0, share: 1, generation: 9, tag: 77n, lease: 0x0003_0001, queue: 5 };
  const none = { lba: 0n, blocks: 0, region: 0, offset: 0n, length: 0 };
  switch (operation) {
    case 'flush':
      return { ...common, ...none };
    case 'writeZeroes':
      return { ...common, ...none, lba: 10n, blocks: 4 };
    case 'deallocate':
      return { ...common, ...none, region: REGION, offset: 64n, length: 32 };
    default:
      return { ...common, lba: 10n, blocks: 4, region: REGION, offset: 512n, length: 2048 };
  }
}

/** The attachment that goes with `valid('deallocate')`. */
const VALID_RANGES = ranges({ lba: 0n, blocks: 8 }, { lba: 996n, blocks: 4 });

export const OPERATION_NAMES = Object.keys(Operation) as OperationName[];

export function pack(fields: RequestFields): Uint32Array {
  const entry = new Uint32Array(ENTRY_WORDS);
  packEntry(entry, 0, fields);
  return entry;
}

/** The name of what {@link admit} answers for a valid request with `changes`. */
export function verdict(operation: OperationName, changes: Partial<RequestFields> = {}, circumstances: Circumstances = {}): string {
  return verdictOf(pack({ ...valid(operation), ...changes }), circumstances, operation === 'deallocate' ? VALID_RANGES : NO_ATTACHMENT);
}

/** The same for an entry that is packed already. */
export function verdictOf(entry: Uint32Array, circumstances: Circumstances = {}, attachment: Attachment = NO_ATTACHMENT): string {
  const { grant, lease } = world(circumstances);
  return codeName(admit(entry, circumstances.attachment ?? attachment, grant, lease)) ?? 'not a code';
}

/** The names of the codes of the validator's group. */
export const RULE_NAMES = (Object.keys(CODES) as CodeName[]).filter((name) => CODES[name].code > 0 && CODES[name].code < 100);
