/** One test for each rule, named after it, and for each row of the NVMe table. */
import { describe, expect, test } from 'vitest';
import { ALL_OPERATIONS, type CodeName, CODES, EntryFlag, Operation, Right } from '../../../src/protocol/index.js';
import { TagSet } from '../../../src/validator/index.js';
import { NO_ATTACHMENT, OPERATION_NAMES, pack, ranges, REGION, RULE_NAMES, TAG_IN_FLIGHT, valid, verdict, verdictOf } from './fixture.js';

/** A valid entry with one word changed by hand, past what `packEntry` would write. */
function withWord(at: number, value: number): Uint32Array {
  const entry = pack(valid('read'));
  entry[at] |= value;
  return entry;
}

const blockless = ['flush', 'deallocate'] as const;
const dataless = ['flush', 'writeZeroes'] as const;
const moving = ['read', 'write', 'compare'] as const;

/** Ways to break each rule. */
const BREACHES: Partial<Record<CodeName, () => string[]>> = {
  leaseNotActive: () => OPERATION_NAMES.map((name) => verdict(name, {}, { lease: { active: false } })),
  leaseMismatch: () => [0, 0x0003_0000, 0x0003_0002, 0x0004_0001, 0xffff_ffff].map((lease) => verdict('read', { lease })),
  queueMismatch: () => [0, 4, 6, 0xffff].map((queue) => verdict('read', { queue })),
  staleGeneration: () => [0, 8, 10, 0xffff_ffff].map((generation) => verdict('read', { generation })),
  reservedBits: () => [
    ...[0x0001_0000, 0x8000_0000].map((bit) => verdictOf(withWord(12, bit))),
    ...[13, 14, 15].flatMap((at) => [1, 0x8000_0000].map((bit) => verdictOf(withWord(at, bit)))),
  ],
  unknownOperation: () =>
    Array.from({ length: 256 }, (_, operation) => operation).flatMap((operation) =>
      operation >= 1 && operation <= 6 ? [] : [verdict('read', { operation })],
    ),
  unknownFlag: () => [
    ...[EntryFlag.inline, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x03].flatMap((flags) => OPERATION_NAMES.map((name) => verdict(name, { flags }))),
    ...blockless.map((name) => verdict(name, { flags: EntryFlag.forceUnitAccess })),
  ],
  unknownShare: () => [2, 3, 0xffff].flatMap((share) => OPERATION_NAMES.map((name) => verdict(name, { share }))),
  noReadRight: () =>
    (['read', 'compare'] as const).flatMap((name) => [Right.none, Right.write].map((access) => verdict(name, {}, { share: { access } }))),
  noWriteRight: () =>
    (['write', 'writeZeroes', 'deallocate'] as const).flatMap((name) =>
      [Right.none, Right.read].map((access) => verdict(name, {}, { share: { access } })),
    ),
  operationNotGranted: () =>
    OPERATION_NAMES.flatMap((name) =>
      [0, 1, ALL_OPERATIONS & ~(1 << Operation[name]), 0xffff_ff80].map((operations) => verdict(name, {}, { share: { operations } })),
    ),
  blocksZero: () => [...moving.map((name) => verdict(name, { blocks: 0, length: 0 })), verdict('writeZeroes', { blocks: 0 })],
  blocksTooMany: () => [verdict('read', { blocks: 9, length: 9 * 512 }), verdict('writeZeroes', { blocks: 0xffff_ffff })],
  blocksNotUsed: () => blockless.flatMap((name) => [1, 0x8000_0000].map((blocks) => verdict(name, { blocks }))),
  lbaOutsideShare: () => [997n, 1000n, 0x1_0000_0000n, 1n << 53n, (1n << 64n) - 1n].map((lba) => verdict('read', { lba })),
  lbaNotUsed: () => blockless.flatMap((name) => [1n, 0x1_0000_0000n].map((lba) => verdict(name, { lba }))),
  lengthMismatch: () => moving.flatMap((name) => [0, 4, 2047, 2049, 2048 + 512, 4 * 4096, 0xffff_ffff].map((length) => verdict(name, { length }))),
  lengthNotUsed: () => dataless.flatMap((name) => [1, 512, 0x8000_0000].map((length) => verdict(name, { length }))),
  unknownRegion: () => [
    ...moving.flatMap((name) => [0, 1, 2, 3, 0xffff, REGION + 0x1_0000, REGION - 0x1_0000, 0xffff_ffff].map((region) => verdict(name, { region }))),
    verdict('deallocate', { region: 0 }),
  ],
  regionNotUsed: () => dataless.flatMap((name) => [1, REGION].map((region) => verdict(name, { region }))),
  offsetOutsideRegion: () => [
    ...[16_384n - 2044n, 16_384n, 1n << 31n, 0x1_0000_0000n, 1n << 53n, (1n << 64n) - 4n].map((offset) => verdict('read', { offset })),
    verdict('deallocate', { offset: 16_384n - 28n }),
  ],
  offsetMisaligned: () => [1n, 2n, 3n, 513n].flatMap((offset) => [...moving, 'deallocate' as const].map((name) => verdict(name, { offset }))),
  offsetNotUsed: () => dataless.flatMap((name) => [4n, 0x1_0000_0000n].map((offset) => verdict(name, { offset }))),
  attachmentLength: () => [0, 1, 15, 17, 24, 4095, 4097, 4112, 0x8000_0000].map((length) => verdict('deallocate', { length })),
  rangeReserved: () => [
    verdict('deallocate', {}, { attachment: ranges({ lba: 0n, blocks: 1 }, { lba: 0n, blocks: 1, reserved: 1 }) }),
    verdict('deallocate', {}, { attachment: ranges({ lba: 0n, blocks: 1, reserved: 0x8000_0000 }, { lba: 0n, blocks: 1 }) }),
  ],
  rangeEmpty: () => [
    verdict('deallocate', {}, { attachment: ranges({ lba: 0n, blocks: 1 }, { lba: 0n, blocks: 0 }) }),
    verdict('deallocate', {}, { attachment: ranges({ lba: 0n, blocks: 0 }, { lba: 0n, blocks: 1 }) }),
  ],
  rangeOutsideShare: () =>
    [
      { lba: 999n, blocks: 2 },
      { lba: 1000n, blocks: 1 },
      { lba: 0n, blocks: 1001 },
      { lba: 0x1_0000_0000n, blocks: 1 },
      { lba: (1n << 64n) - 1n, blocks: 1 },
    ].flatMap((outside) => [
      verdict('deallocate', {}, { attachment: ranges({ lba: 0n, blocks: 1 }, outside) }),
      verdict('deallocate', {}, { attachment: ranges(outside, { lba: 0n, blocks: 1 }) }),
    ]),
  tagInUse: () => OPERATION_NAMES.map((name) => verdict(name, { tag: TAG_IN_FLIGHT })),
  inFlightLimit: () => [4, 5].map((inFlight) => verdict('read', {}, { lease: { inFlight } })),
  attachmentMissing: () => [
    verdict('deallocate', {}, { attachment: NO_ATTACHMENT }),
    verdict('deallocate', {}, { attachment: ranges({ lba: 0n, blocks: 1 }) }),
    verdict('deallocate', {}, { attachment: ranges({ lba: 0n, blocks: 1 }, { lba: 0n, blocks: 1 }, { lba: 0n, blocks: 1 }) }),
    // Memory shorter than what is said to have been fetched: a fault of the engine must not become an admission.
    verdict('deallocate', {}, { attachment: { words: new Uint32Array(4).fill(1), bytes: 32 } }),
  ],
};

describe('each rule has its own code', () => {
  test.each(RULE_NAMES.map((name) => ({ name, code: CODES[name].code })))('$name ($code)', ({ name }) => {
    const breaches = BREACHES[name]?.() ?? [];
    expect(breaches.length).toBeGreaterThan(0);
    expect(new Set(breaches)).toEqual(new Set([name]));
  });

  test('every rule says why, and what to do', () => {
    for (const name of RULE_NAMES) {
      expect(CODES[name].reason, name).not.toBe('');
      expect(CODES[name].remedy, name).not.toBe('');
      expect(CODES[name].severity, name).toBe('refuse');
    }
    expect(new Set(RULE_NAMES.map((name) => CODES[name].code)).size).toBe(RULE_NAMES.length);
  });

  test('no test breaks a rule that does not exist', () => {
    expect(Object.keys(BREACHES).toSorted()).toEqual(RULE_NAMES.toSorted());
  });
});

describe('a request that breaks no rule is admitted', () => {
  test.each(OPERATION_NAMES)('%s', (name) => expect(verdict(name)).toBe('ok'));

  test.each(['read', 'write', 'writeZeroes', 'compare'] as const)('%s with force unit access', (name) => {
    expect(verdict(name, { flags: EntryFlag.forceUnitAccess })).toBe('ok');
  });

  test('in every share of the grant', () => {
    expect(verdict('read', { share: 0, lba: 6n })).toBe('ok');
    expect(verdict('read', { share: 0, lba: 7n })).toBe('lbaOutsideShare');
  });

  test('with every handle that the maximum of its field holds', () => {
    const region = 0xffff_ffff;
    const words = new Uint32Array(2 * 65_536).fill(2 ** 31);
    words[2 * 65_535] = region;
    const regions = { words };
    const lease = { lease: 0xffff_ffff, queue: 0xffff, generation: 0xffff_ffff, regions };
    expect(verdict('read', { lease: 0xffff_ffff, queue: 0xffff, generation: 0xffff_ffff, region }, { lease })).toBe('ok');
  });

  test('whatever an attachment holds, where the operation has none', () => {
    const attachment = { words: new Uint32Array(4).fill(0xffff_ffff), bytes: 16 };
    for (const name of OPERATION_NAMES.filter((each) => each !== 'deallocate')) expect(verdict(name, {}, { attachment }), name).toBe('ok');
  });
});

describe('NVMe, command by command', () => {
  const READ_ONLY = { share: { access: Right.read } };
  const WRITE_ONLY = { share: { access: Right.write } };

  test('a share with the right to read takes read, compare and flush', () => {
    expect(OPERATION_NAMES.filter((name) => verdict(name, {}, READ_ONLY) === 'ok')).toEqual(['read', 'flush', 'compare']);
  });
  test('a share with the right to write takes write, flush, write zeroes and deallocate', () => {
    expect(OPERATION_NAMES.filter((name) => verdict(name, {}, WRITE_ONLY) === 'ok')).toEqual(['write', 'flush', 'writeZeroes', 'deallocate']);
  });
  test('compare is no way around the right to read', () => expect(verdict('compare', {}, WRITE_ONLY)).toBe('noReadRight'));
  test('write zeroes and deallocate are no way around the right to write', () => {
    expect(verdict('writeZeroes', {}, READ_ONLY)).toBe('noWriteRight');
    expect(verdict('deallocate', {}, READ_ONLY)).toBe('noWriteRight');
  });
  test('no entry names a namespace: bits 31:0 of an NVMe command are a share index here, and all-ones is not one', () => {
    expect(verdict('flush', { share: 0xffff })).toBe('unknownShare');
  });
  test('fused commands cannot be asked for: their bits are unknown flags', () => {
    expect(verdict('compare', { flags: 0x01 << 1 })).toBe('unknownFlag');
    expect(verdict('write', { flags: 0x02 << 1 })).toBe('unknownFlag');
  });
  test.each([
    ['delete I/O submission queue', 0x00],
    ['abort', 0x08],
    ['set features', 0x09],
    ['reservation register', 0x0d],
    ['firmware commit', 0x10],
    ['format NVM', 0x80],
    ['sanitize', 0x84],
    ['vendor specific', 0xc0],
  ])('there is no operation with the opcode of %s', (_, operation) => expect(verdict('read', { operation })).toBe('unknownOperation'));
  test('an opcode that happens to be an operation is that operation: identify (06h) is deallocate, which takes no blocks', () => {
    expect(verdict('read', { operation: 0x06 })).toBe('blocksNotUsed');
  });
  test('deallocate takes its ranges from the attachment, not from the entry', () => {
    expect(verdict('deallocate')).toBe('ok');
    expect(verdict('deallocate', { lba: 1n })).toBe('lbaNotUsed');
    expect(verdict('deallocate', { blocks: 1 })).toBe('blocksNotUsed');
  });
  test('read, write and compare name memory; flush and write zeroes none', () => {
    for (const name of moving) expect(verdict(name, { region: 0, offset: 0n })).toBe('unknownRegion');
    for (const name of dataless) expect(verdict(name, { region: REGION })).toBe('regionNotUsed');
  });
});

describe('the moment', () => {
  test('a tag may be used again after its completion', () => {
    const tags = new TagSet(1, 0);
    tags.add(77, 0);
    expect(verdict('read', {}, { lease: { tags } })).toBe('tagInUse');
    tags.delete(77, 0);
    expect(verdict('read', {}, { lease: { tags } })).toBe('ok');
  });

  test('tags that differ in one half only are different tags', () => {
    expect(verdict('read', { tag: TAG_IN_FLIGHT ^ 1n })).toBe('ok');
    expect(verdict('read', { tag: TAG_IN_FLIGHT ^ (1n << 32n) })).toBe('ok');
  });
});
