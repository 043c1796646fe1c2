/** Of several broken rules the first in the documented order is told: a client can count on it, and so can a test. */
import { expect, test } from 'vitest';
import type { CodeName, OperationName, RequestFields } from '../../../src/protocol/index.js';
import { type Circumstances, pack, ranges, REGION, RULE_NAMES, TAG_IN_FLIGHT, valid, verdictOf } from './fixture.js';

/** How to break a rule in a request that may break others too. */
interface Breach {
  fields?: Partial<RequestFields>;
  world?: Circumstances;
  /** Bits to set in word 13. */
  reserved?: number;
}

/** The rules that every operation can break, in front and behind. */
const FIRST: [CodeName, Breach][] = [
  ['leaseNotActive', { world: { lease: { active: false } } }],
  ['leaseMismatch', { fields: { lease: 1 } }],
  ['queueMismatch', { fields: { queue: 1 } }],
  ['staleGeneration', { fields: { generation: 1 } }],
  ['reservedBits', { reserved: 1 }],
  ['unknownFlag', { fields: { flags: 2 } }],
];
const LAST: [CodeName, Breach][] = [
  ['tagInUse', { fields: { tag: TAG_IN_FLIGHT } }],
  ['inFlightLimit', { world: { maxInFlight: 1 } }],
];

/** For an operation, the rules that it can break together, in their order. */
const ORDER: [OperationName, [CodeName, Breach][]][] = [
  [
    'read',
    [
      ...FIRST,
      ['noReadRight', { world: { share: { access: 0 } } }],
      ['operationNotGranted', { world: { share: { operations: 0 } } }],
      ['blocksTooMany', { fields: { blocks: 9 } }],
      ['lbaOutsideShare', { fields: { lba: 1000n } }],
      ['lengthMismatch', { fields: { length: 2049 } }],
      ['unknownRegion', { fields: { region: 1 } }],
      ['offsetOutsideRegion', { fields: { offset: 16_383n } }],
      ...LAST,
    ],
  ],
  [
    'write',
    [
      ...FIRST,
      ['noWriteRight', { world: { share: { access: 0 } } }],
      ['operationNotGranted', { world: { share: { operations: 0 } } }],
      ['blocksZero', { fields: { blocks: 0 } }],
      ['lbaOutsideShare', { fields: { lba: 1001n } }],
      ['lengthMismatch', { fields: { length: 2049 } }],
      ['unknownRegion', { fields: { region: 1 } }],
      ['offsetMisaligned', { fields: { offset: 3n } }],
      ...LAST,
    ],
  ],
  [
    'flush',
    [
      ...FIRST,
      ['unknownShare', { fields: { share: 2 } }],
      ['operationNotGranted', { world: { share: { operations: 0 } } }],
      ['blocksNotUsed', { fields: { blocks: 1 } }],
      ['lbaNotUsed', { fields: { lba: 1n } }],
      ['lengthNotUsed', { fields: { length: 1 } }],
      ['regionNotUsed', { fields: { region: REGION } }],
      ['offsetNotUsed', { fields: { offset: 1n } }],
      ...LAST,
    ],
  ],
  [
    'deallocate',
    [
      ...FIRST,
      ['noWriteRight', { world: { share: { access: 0 } } }],
      ['blocksNotUsed', { fields: { blocks: 1 } }],
      ['lbaNotUsed', { fields: { lba: 1n } }],
      ['attachmentLength', { fields: { length: 33 } }],
      ['unknownRegion', { fields: { region: 1 } }],
      ['offsetOutsideRegion', { fields: { offset: 16_384n } }],
      ['attachmentMissing', { world: { attachment: ranges({ lba: 0n, blocks: 1 }) } }],
      ...LAST,
    ],
  ],
];

/** What is said of a request with both breaches; of two that set the same field the first one counts. */
function both(operation: OperationName, first: Breach, second: Breach): string {
  const entry = pack({ ...valid(operation), ...second.fields, ...first.fields });
  entry[13] = (first.reserved ?? 0) | (second.reserved ?? 0);
  const share = { ...second.world?.share, ...first.world?.share };
  const lease = { ...second.world?.lease, ...first.world?.lease };
  const attachment = ranges({ lba: 0n, blocks: 1 }, { lba: 0n, blocks: 1 });
  return verdictOf(entry, { attachment, ...second.world, ...first.world, share, lease });
}

test.each(ORDER)('%s: of each two broken rules the earlier is told', (operation, rules) => {
  for (const [at, [name, breach]] of rules.entries()) {
    expect(both(operation, breach, {}), name).toBe(name);
    for (const [, later] of rules.slice(at + 1)) expect(both(operation, breach, later), name).toBe(name);
  }
});

test('an unknown operation is told before its flags and its share, and after the reserved bits', () => {
  const entry = pack({ ...valid('read'), operation: 7, flags: 0xff, share: 9 });
  expect(verdictOf(entry)).toBe('unknownOperation');
  entry[15] = 1;
  expect(verdictOf(entry)).toBe('reservedBits');
});

test('in a range: reserved, then empty, then outside; and an earlier range before a later one', () => {
  const judge = (...list: Parameters<typeof ranges>): string =>
    verdictOf(pack({ ...valid('deallocate'), length: list.length * 16 }), {}, ranges(...list));
  expect(judge({ lba: 1001n, blocks: 0, reserved: 1 })).toBe('rangeReserved');
  expect(judge({ lba: 1001n, blocks: 0 })).toBe('rangeEmpty');
  expect(judge({ lba: 1000n, blocks: 1 }, { lba: 0n, blocks: 0, reserved: 1 })).toBe('rangeOutsideShare');
  expect(judge({ lba: 0n, blocks: 0 }, { lba: 1000n, blocks: 1 })).toBe('rangeEmpty');
});

test('a tag in use is told after everything that is wrong with the ranges', () => {
  const entry = pack({ ...valid('deallocate'), tag: TAG_IN_FLIGHT, length: 16 });
  expect(verdictOf(entry, {}, ranges({ lba: 0n, blocks: 0 }))).toBe('rangeEmpty');
  expect(verdictOf(entry, {}, ranges({ lba: 0n, blocks: 1 }))).toBe('tagInUse');
});

test('the order covers every rule', () => {
  const covered = new Set(ORDER.flatMap(([, rules]) => rules.map(([name]) => name)));
  const besides = ['unknownOperation', 'rangeReserved', 'rangeEmpty', 'rangeOutsideShare'];
  expect([...covered, ...besides].toSorted()).toEqual(RULE_NAMES.toSorted());
});
