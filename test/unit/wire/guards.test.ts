import { describe, expect, it } from 'vitest';
import { ENTRY_BYTES, MAX_BATCH, MAX_REGION_BYTES, MAX_RING_ENTRIES, MAX_TEXT, type RequestType } from '../../../src/protocol/index.js';
import { Refusal } from '../../../src/server/engine/api.js';
import {
  MAX_DATA_BYTES,
  REQUEST_FIELDS,
  type Rule,
  decode,
  guardId,
  guardRequest,
  guardSubmit,
  isRequestType,
} from '../../../src/server/wire/index.js';
import { EXAMPLES, REQUEST_TYPES } from './examples.js';
import { fuzzed } from './fuzz.js';

type Fields = Record<string, unknown>;

function refusalOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return error.message;
  }
  return 'accepted';
}
const judge = (type: RequestType, fields: Fields): string => refusalOf(() => guardRequest(type, { type, id: 1, ...fields }));

describe.each(REQUEST_TYPES)('%s', (type) => {
  const example: Fields = EXAMPLES[type];
  const rules: Readonly<Record<string, Rule>> = REQUEST_FIELDS[type];

  it('is accepted, with and without what is optional', () => {
    expect(judge(type, example)).toBe('accepted');
    const needed = Object.fromEntries(Object.entries(example).filter(([name]) => rules[name].optional !== true));
    expect(judge(type, needed)).toBe('accepted');
  });

  it('has no other field', () => {
    for (const name of ['other', 'Type', 'toString', '__proto__', 'constructor']) {
      const message: Fields = { type, id: 1, ...example };
      Object.defineProperty(message, name, { value: 'secret', enumerable: true });
      expect(refusalOf(() => guardRequest(type, message))).toBe(`unknownField at ${name}`);
    }
  });

  it('needs each field that is not optional', () => {
    for (const name of Object.keys(example)) {
      const { [name]: _, ...rest } = example;
      expect(judge(type, rest)).toBe(rules[name].optional === true ? 'accepted' : `missingField at ${name}`);
    }
  });

  it('has fields of one type each', () => {
    for (const [name, value] of Object.entries(example)) {
      for (const wrong of [1, 'text', true, null, [], { a: 1 }, new Uint8Array(2)]) {
        const same = value instanceof Uint8Array ? wrong instanceof Uint8Array : typeof wrong === typeof value && wrong !== null;
        if (same && !Array.isArray(wrong)) continue;
        expect(judge(type, { ...example, [name]: wrong })).toMatch(new RegExp(`^wrongType at ${name}(:|$)`));
      }
    }
  });

  it('has whole numbers in range', () => {
    for (const [name, rule] of Object.entries(rules)) {
      if (rule.kind !== 'whole') continue;
      for (const value of [NaN, Infinity, -Infinity, -1, 0.5, rule.least - 1, rule.most + 1, 2 ** 53, 2 ** 63, -(2 ** 53), 1e300, Number.MIN_VALUE]) {
        expect(judge(type, { ...example, [name]: value })).toBe(`outOfRange at ${name}: ${value}`);
      }
      expect(judge(type, { ...example, [name]: -0 })).toBe(`outOfRange at ${name}: -0`);
      expect(judge(type, { ...example, [name]: rule.least })).toBe('accepted');
      expect(judge(type, { ...example, [name]: rule.most })).toBe('accepted');
    }
  });

  it('has text without control characters, and not too long', () => {
    for (const [name, rule] of Object.entries(rules)) {
      if (rule.kind !== 'text') continue;
      expect(judge(type, { ...example, [name]: 'ü'.repeat(MAX_TEXT) })).toBe('accepted');
      for (const value of ['', 'x'.repeat(MAX_TEXT + 1), 'a\nb', 'a\u0000', 'a\u007f', 'a\u009bb']) {
        expect(judge(type, { ...example, [name]: value })).toMatch(new RegExp(`^outOfRange at ${name}`));
      }
    }
  });
});

describe('values', () => {
  it('are shown, cut short, and never when they are secret', () => {
    expect(judge('openDevice', { ...EXAMPLES.openDevice, mode: 'mine' })).toBe('outOfRange at mode: "mine"');
    expect(judge('openDevice', { ...EXAMPLES.openDevice, device: 'x'.repeat(257) })).toBe(`outOfRange at device: "${'x'.repeat(31)}…"`);
    expect(judge('mapMemory', { bytes: new Uint8Array(7) })).toBe('wrongType at bytes: binary of 7 bytes');
    expect(judge('mapMemory', { bytes: [1, 2] })).toBe('wrongType at bytes: array of 2');
    expect(judge('hello', { version: 1, token: 'x'.repeat(300) })).toBe('outOfRange at token');
    expect(judge('hello', { version: 1, token: 5 })).toBe('wrongType at token');
  });

  it('have the limits of the protocol', () => {
    expect(judge('mapMemory', { bytes: MAX_REGION_BYTES + 1 })).toMatch(/^outOfRange/);
    expect(judge('openQueue', { lease: 1, entries: MAX_RING_ENTRIES * 2 })).toMatch(/^outOfRange/);
    for (const entries of [3, 6, 1_000, 1_023]) expect(judge('openQueue', { lease: 1, entries })).toBe(`outOfRange at entries: ${entries}`);
    expect(judge('writeMemory', { region: 1, offset: 0, data: new Uint8Array(MAX_DATA_BYTES + 1) })).toBe(
      `outOfRange at data: ${MAX_DATA_BYTES + 1} bytes`,
    );
  });
});

it('an id is a whole number from 1', () => {
  expect(guardId({ id: 1 })).toBe(1);
  expect(guardId({ id: Number.MAX_SAFE_INTEGER })).toBe(Number.MAX_SAFE_INTEGER);
  expect(refusalOf(() => guardId({}))).toBe('missingField at id');
  for (const id of [0, -0, -1, 1.5, NaN, 2 ** 53]) expect(refusalOf(() => guardId({ id }))).toMatch(/^outOfRange at id/);
  for (const id of ['1', null, true]) expect(refusalOf(() => guardId({ id }))).toMatch(/^wrongType at id/);
});

describe('submit', () => {
  const good = { type: 'submit', lease: 1, queue: 0, entries: new Uint8Array(ENTRY_BYTES) };
  const submit = (change: Fields): string => refusalOf(() => guardSubmit({ ...good, ...change }));

  it('is accepted with and without data', () => {
    expect(submit({})).toBe('accepted');
    expect(submit({ data: new Uint8Array(0) })).toBe('accepted');
    expect(submit({ entries: new Uint8Array(MAX_BATCH * ENTRY_BYTES), data: new Uint8Array(MAX_DATA_BYTES) })).toBe('accepted');
  });

  it('names what is wrong', () => {
    expect(submit({ id: 5 })).toBe('unknownField at id');
    expect(submit({ other: 5 })).toBe('unknownField at other');
    expect(submit({ other: 5, data: new Uint8Array(0) })).toBe('unknownField at other');
    expect(submit({ data: undefined })).toMatch(/^wrongType at data/);
    expect(submit({ data: null })).toBe('wrongType at data: nil');
    expect(submit({ data: new Uint8Array(MAX_DATA_BYTES + 1) })).toMatch(/^outOfRange at data/);
    expect(submit({ lease: -1 })).toBe('outOfRange at lease: -1');
    expect(submit({ lease: 2 ** 32 })).toMatch(/^outOfRange at lease/);
    expect(submit({ lease: 'x' })).toBe('wrongType at lease: "x"');
    expect(submit({ queue: 65_536 })).toMatch(/^outOfRange at queue/);
    expect(submit({ queue: 0.5 })).toBe('outOfRange at queue: 0.5');
    expect(submit({ entries: 'x' })).toBe('wrongType at entries: "x"');
    for (const bytes of [0, 1, 63, 65, (MAX_BATCH + 1) * ENTRY_BYTES]) {
      expect(submit({ entries: new Uint8Array(bytes) })).toBe(`outOfRange at entries: ${bytes} bytes`);
    }
    for (const name of ['lease', 'queue', 'entries']) {
      const { [name as keyof typeof good]: _, ...rest } = good;
      expect(refusalOf(() => guardSubmit(rest))).toBe(`missingField at ${name}`);
    }
  });
});

it('what guards accept is exactly what the rules say, for 100 000 random and mutated messages', { timeout: 180_000 }, () => {
  let accepted = 0;
  for (const bytes of fuzzed(100_000, 0xbad5eed)) {
    let message;
    try {
      message = decode(bytes);
    } catch (error) {
      expect(error).toBeInstanceOf(Refusal);
      continue;
    }
    const { type } = message;
    const accepts = refusalOf(() => {
      if (type === 'submit') guardSubmit(message);
      else if (isRequestType(type)) guardRequest(type, message);
      else throw new Refusal('unknownMessage');
    });
    if (accepts !== 'accepted' || type === 'submit') continue;
    accepted++;
    const names = Object.keys(message).filter((name) => name !== 'type' && name !== 'id');
    const rules: Readonly<Record<string, Rule>> = REQUEST_FIELDS[type as RequestType];
    if (!names.every((name) => Object.hasOwn(rules, name))) throw new Error(`a field too many: ${names.join()}`);
    for (const name of names) {
      const value = message[name];
      if (typeof value === 'number' && !(Number.isSafeInteger(value) && value >= 0)) throw new Error(`${name} is ${value}`);
    }
  }
  expect(accepted).toBeGreaterThan(500);
});
