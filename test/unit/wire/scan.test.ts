import { Packr } from 'msgpackr';
import { describe, expect, it } from 'vitest';
import { MAX_DEPTH, MAX_TEXT } from '../../../src/protocol/index.js';
import { Refusal } from '../../../src/server/engine/api.js';
import { decode } from '../../../src/server/wire/index.js';
import { fuzzed } from './fuzz.js';

const packr = new Packr({ useRecords: false, variableMapSize: true });
const pack = (value: unknown): Buffer => packr.pack(value);

/** Bytes of hexadecimal digits, blanks ignored; text between quotes is ASCII. */
function bytes(...parts: (string | number[])[]): Uint8Array {
  return Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part.replaceAll(' ', ''), 'hex') : Buffer.from(part))));
}
const text = (value: string): number[] => [0xa0 | value.length, ...Buffer.from(value)];

function reasonOf(message: Uint8Array): string {
  try {
    decode(message);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    expect(error.code).toBe('malformed');
    return error.value;
  }
  return 'accepted';
}

describe('what is refused before msgpackr sees it', () => {
  const a = text('a');
  const cases: [name: string, message: Uint8Array, reason: string][] = [
    ['nothing', bytes(''), 'truncated at byte 0'],
    ['a number', bytes('05'), 'not a map at byte 0'],
    ['an array', bytes('91 05'), 'not a map at byte 0'],
    ['text', bytes(text('ping')), 'not a map at byte 0'],
    ['a map that lacks its entries', bytes('82', a, '05'), 'truncated at byte 4'],
    ['a key without a value', bytes('81', a), 'truncated at byte 3'],
    ['bytes after the message', bytes('81', a, '05 00'), 'bytes after the message at byte 4'],
    ['two messages', bytes('80 80'), 'bytes after the message at byte 1'],
    ['a truncated uint16', bytes('81', a, 'cd 01'), 'truncated number at byte 3'],
    ['a truncated float64', bytes('81', a, 'cb 00000000000000'), 'truncated number at byte 3'],
    ['a text longer than the message', bytes('81', a, 'a5 6161'), 'truncated text at byte 3'],
    ['a text with a length that is not there', bytes('81', a, 'd9'), 'truncated length at byte 4'],
    ['a binary longer than the message', bytes('81', a, 'c4 05 00'), 'truncated binary at byte 3'],
    ['a binary of 4 GiB', bytes('81', a, 'c6 ffffffff 00'), 'truncated binary at byte 3'],
    ['a text of 4 GiB', bytes('81', a, 'db ffffffff 00'), 'text too long at byte 3'],
    ['a map of 4 G keys', bytes('df ffffffff'), 'too many keys at byte 0'],
    ['an array of 4 G items', bytes('81', a, 'dd ffffffff'), 'too many items at byte 3'],
    [
      'more keys than any message has',
      bytes('de 0011', ...Array.from({ length: 17 }, (_, key) => [...text(`k${key}`), 0])),
      'too many keys at byte 0',
    ],
    [
      'a text that is too long',
      bytes(
        '81',
        a,
        'da 0401',
        Array.from({ length: 4 * MAX_TEXT + 1 }, () => 0x61),
      ),
      'text too long at byte 3',
    ],
    ['a text that is not UTF-8', bytes('81', a, 'a2 c328'), 'text that is not UTF-8 at byte 3'],
    ['a key that is a number', bytes('81 01 05'), 'a key that is not text at byte 1'],
    ['a key that is nil', bytes('81 c0 05'), 'a key that is not text at byte 1'],
    ['a key that is an array', bytes('81 90 05'), 'a key that is not text at byte 1'],
    ['a key with a zero byte', bytes('81 a2 6100 05'), 'a key that is not printable ASCII at byte 3'],
    ['a key beyond ASCII', bytes('81 a2 c3a4 05'), 'a key that is not printable ASCII at byte 2'],
    [
      'a key that is too long',
      bytes(
        '81 d9 21',
        Array.from({ length: 33 }, () => 0x61),
        '05',
      ),
      'key too long at byte 1',
    ],
    ['a key twice', bytes('82', a, '05', a, '06'), 'duplicate key at byte 4'],
    ['a key twice, written in two ways', bytes('82', a, '05 d9 01 61 06'), 'duplicate key at byte 4'],
    ['a key twice in an inner map', bytes('81', a, '82', a, '05', a, '06'), 'duplicate key at byte 7'],
    ['the byte that is never used', bytes('81', a, 'c1'), 'the byte that is never used at byte 3'],
    ['fixext 1', bytes('81', a, 'd4 01 00'), 'extension type at byte 3'],
    ['fixext 2', bytes('81', a, 'd5 01 0000'), 'extension type at byte 3'],
    ['fixext 4, a timestamp', bytes('81', a, 'd6 ff 00000000'), 'extension type at byte 3'],
    ['fixext 8', bytes('81', a, 'd7 ff 0000000000000000'), 'extension type at byte 3'],
    ['fixext 16', bytes('81', a, 'd8 01 00000000000000000000000000000000'), 'extension type at byte 3'],
    ['ext 8', bytes('81', a, 'c7 01 01 00'), 'extension type at byte 3'],
    ['ext 16', bytes('81', a, 'c8 0001 01 00'), 'extension type at byte 3'],
    ['ext 32', bytes('81', a, 'c9 00000001 01 00'), 'extension type at byte 3'],
    ["msgpackr's record definition", bytes('81', a, 'd4 72 40 91', a, '05'), 'extension type at byte 3'],
    ['a record definition as the message', bytes('d4 72 40 91', a, '05'), 'not a map at byte 0'],
    ['a Date of msgpackr', pack({ a: new Date(0) }), 'extension type at byte 3'],
    ['a Map with numbers as keys', pack({ a: new Map([[1, 2]]) }), 'a key that is not text at byte 4'],
  ];
  it.each(cases)('%s', (_name, message, reason) => {
    expect(reasonOf(message)).toBe(reason);
  });

  it('nesting beyond the limit, and not one level below it', () => {
    const nested = (levels: number): Uint8Array => {
      let value: unknown = 1;
      for (let level = 1; level < levels; level++) value = [value];
      return pack({ a: value });
    };
    expect(reasonOf(nested(MAX_DEPTH))).toBe('accepted');
    expect(reasonOf(nested(MAX_DEPTH + 1))).toBe(`nested too deep at byte ${2 + MAX_DEPTH}`);
    expect(reasonOf(Buffer.concat([Buffer.from('81a161', 'hex'), Buffer.alloc(4_000_000, 0x91)]))).toMatch(/^nested too deep/);
  });

  it('more items than any message has, however they are spread', () => {
    expect(reasonOf(pack({ a: Array.from({ length: 250 }, () => 1) }))).toBe('accepted');
    expect(reasonOf(pack({ a: Array.from({ length: 254 }, () => 1) }))).toMatch(/^too many items/);
    expect(reasonOf(pack({ a: Array.from({ length: 60 }, () => [1, 1, 1, 1]) }))).toMatch(/^too many items/);
  });
});

describe('what is accepted', () => {
  it('comes out as it was written', () => {
    const data = Uint8Array.from([1, 2, 3]);
    const message = { type: 'x', id: 2 ** 40, negative: -5, fraction: 1.5, yes: true, no: false, nothing: null, data, list: [1, [2]], text: 'ü…' };
    const decoded = decode(pack(message));
    expect({ ...decoded, data: Uint8Array.from(decoded['data'] as Uint8Array) }).toEqual(message);
  });

  it('is never given a prototype by its keys', () => {
    const message = decode(bytes('82', text('__proto__'), '81', text('admin'), 'c3', text('constructor'), '05'));
    expect(Object.getPrototypeOf(message)).toBe(Object.prototype);
    expect((message as { admin?: unknown }).admin).toBeUndefined();
    expect(Object.keys(message)).toHaveLength(2);
  });

  it('has 64-bit integers as numbers, rounded up to something that no guard takes when they are too large', () => {
    expect(decode(bytes('81', text('a'), 'cf 0000000100000000'))).toEqual({ a: 2 ** 32 });
    expect(decode(bytes('81', text('a'), 'cf ffffffffffffffff'))).toEqual({ a: 2 ** 64 });
    expect(decode(bytes('81', text('a'), 'cf 0020000000000001'))).toEqual({ a: 2 ** 53 });
    expect(decode(bytes('81', text('a'), 'd3 ffffffffffffffff'))).toEqual({ a: -1 });
    expect(decode(bytes('81', text('a'), 'cb 8000000000000000'))).toEqual({ a: -0 });
  });

  it('holds bytes that look like a record of an earlier message as the numbers that they are', () => {
    for (let round = 0; round < 10; round++) {
      expect(reasonOf(bytes('81', text('a'), 'd4 72 40 91', text('b'), '05'))).toMatch(/^extension/);
      expect(decode(bytes('81', text('a'), '40'))).toEqual({ a: 0x40 });
    }
  });
});

it('never throws anything but a refusal, for 100 000 random and mutated messages', { timeout: 180_000 }, () => {
  let accepted = 0;
  let refused = 0;
  for (const message of fuzzed(100_000, 0x5eed)) {
    const before = Buffer.from(message);
    const reason = reasonOf(message);
    if (reason === 'accepted') {
      accepted++;
      expect(Object.getPrototypeOf(decode(message))).toBe(Object.prototype);
    } else refused++;
    if (!before.equals(message)) throw new Error('the message was changed');
  }
  expect(accepted).toBeGreaterThan(1_000);
  expect(refused).toBeGreaterThan(50_000);
});
