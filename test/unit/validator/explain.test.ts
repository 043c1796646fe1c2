/** What is told about a refusal: the field and the value that offended. */
import { describe, expect, test } from 'vitest';
import { Code, type CodeName, CODES, Field, fieldName } from '../../../src/protocol/index.js';
import { type Attachment, refusedField, refusedValue } from '../../../src/validator/index.js';
import { NO_ATTACHMENT, pack, ranges, RULE_NAMES } from './fixture.js';

/** An entry in which every field has another value, and no two words share one. */
const FIELDS = {
  operation: 0xa1,
  flags: 0xb2,
  share: 0xc3c4,
  generation: 0xd1d2_d3d4,
  tag: 0xe1e2_e3e4_e5e6_e7e8n,
  lba: 0xf1f2_f3f4_f5f6_f7f8n,
  blocks: 0x8182_8384,
  region: 0x9192_9394,
  offset: 0x7172_7374_7576_7778n,
  length: 0x6162_6364,
  lease: 0x5152_5354,
  queue: 0x4142,
};

function value(code: number, entry: Uint32Array = pack(FIELDS), attachment: Attachment = NO_ATTACHMENT): bigint {
  const out = Uint32Array.of(0xdead_beef, 0xdead_beef);
  refusedValue(code, entry, attachment, out);
  return BigInt(out[0]) | (BigInt(out[1]) << 32n);
}

describe('field', () => {
  test.each(RULE_NAMES)('%s: the one in the table of codes', (name) => expect(fieldName(refusedField(CODES[name].code))).toBe(CODES[name].field));

  test('none for every number that is not a code of the validator', () => {
    const others = Object.values(CODES)
      .map(({ code }) => code)
      .filter((code) => code === 0 || code >= 100);
    for (const code of [...others, 31, 99, 65_535, 0xffff_ffff, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])
      expect(refusedField(code)).toBe(Field.none);
  });
});

describe('value', () => {
  const direct = RULE_NAMES.filter((name) => CODES[name].field !== '' && CODES[name].field !== 'reserved' && CODES[name].field !== 'attachment');

  test.each(direct)('%s: that of its field', (name) => {
    expect(value(CODES[name].code)).toBe(BigInt(FIELDS[CODES[name].field as keyof typeof FIELDS]));
  });

  test.each<CodeName>(['leaseNotActive', 'inFlightLimit', 'ok', 'deviceError', 'malformed'])('%s: zero, for no field is named', (name) => {
    expect(value(CODES[name].code)).toBe(0n);
  });

  test('reservedBits: the first reserved field that is not zero', () => {
    const entry = pack(FIELDS);
    for (const [word, bits] of [
      [15, 0x1515],
      [14, 0x8000_1414],
      [13, 0x1313],
      [12, 0x1212_0000],
    ] as const) {
      entry[word] |= bits;
      expect(value(Code.reservedBits, entry)).toBe(BigInt(word === 12 ? bits >>> 16 : bits));
    }
  });

  test('attachmentMissing: how many bytes there were', () => {
    expect(value(Code.attachmentMissing, pack(FIELDS), { words: new Uint32Array(8).fill(7), bytes: 16 })).toBe(16n);
  });

  test('rangeReserved: the reserved field of the first range where it is not zero', () => {
    const attachment = ranges({ lba: 1n, blocks: 1 }, { lba: 2n, blocks: 1, reserved: 0x8000_0009 }, { lba: 3n, blocks: 1, reserved: 7 });
    expect(value(Code.rangeReserved, pack(FIELDS), attachment)).toBe(0x8000_0009n);
  });

  test('rangeEmpty: the lba of the first empty range', () => {
    const attachment = ranges({ lba: 1n, blocks: 1 }, { lba: 0xf000_0001_8000_0002n, blocks: 0 }, { lba: 3n, blocks: 0 });
    expect(value(Code.rangeEmpty, pack(FIELDS), attachment)).toBe(0xf000_0001_8000_0002n);
    expect(value(Code.rangeEmpty, pack(FIELDS), ranges({ lba: 9n, blocks: 1 }, { lba: 4n, blocks: 0 }))).toBe(4n);
  });

  test('rangeOutsideShare: the lba of the range that reaches furthest', () => {
    const far = (...list: Parameters<typeof ranges>): bigint => value(Code.rangeOutsideShare, pack(FIELDS), ranges(...list));
    expect(far({ lba: 5n, blocks: 1 })).toBe(5n);
    expect(far({ lba: 5n, blocks: 1 }, { lba: 9n, blocks: 1 }, { lba: 7n, blocks: 1 })).toBe(9n);
    expect(far({ lba: 5n, blocks: 1 }, { lba: 4n, blocks: 9 }, { lba: 6n, blocks: 1 })).toBe(4n);
    expect(far({ lba: 6n, blocks: 1 }, { lba: 0x1_0000_0000n, blocks: 1 }, { lba: 0xffff_ffffn, blocks: 1 })).toBe(0x1_0000_0000n);
    expect(far({ lba: 5n, blocks: 2 }, { lba: 6n, blocks: 1 })).toBe(5n);
    expect(far({ lba: (1n << 64n) - 1n, blocks: 1 }, { lba: 1n, blocks: 1 })).toBe((1n << 64n) - 1n);
  });

  test('what lies behind the attachment in the memory of the engine is never told', () => {
    const secret = { words: Uint32Array.of(1, 0, 1, 0, 0x5ec2e7, 0x5ec2e7, 0, 0x5ec2e7), bytes: 16 };
    expect(value(Code.rangeReserved, pack(FIELDS), secret)).toBe(0n);
    expect(value(Code.rangeEmpty, pack(FIELDS), secret)).toBe(1n);
    expect(value(Code.rangeOutsideShare, pack(FIELDS), secret)).toBe(1n);
  });

  test('an attachment that ends early, or says that it is longer than its memory', () => {
    for (const attachment of [NO_ATTACHMENT, { words: new Uint32Array(0), bytes: 0 }, { words: new Uint32Array(0), bytes: 0xffff_ffff }]) {
      for (const code of [Code.rangeReserved, Code.rangeEmpty, Code.rangeOutsideShare]) expect(value(code, pack(FIELDS), attachment)).toBe(0n);
    }
    expect(value(Code.rangeOutsideShare, pack(FIELDS), { words: Uint32Array.of(3, 0, 1, 0, 9, 0), bytes: 2 ** 32 - 1 })).toBe(3n);
  });
});
