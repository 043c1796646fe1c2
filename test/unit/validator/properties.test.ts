/** What holds for every entry, attachment and world. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CODES, ENTRY_WORDS, Operation } from '../../../src/protocol/index.js';
import { admit, type Attachment, attachmentToFetch, memoryRule, refusedField, refusedValue } from '../../../src/validator/index.js';
import { decode, staysInside } from '../../oracle/judge.js';
import { makeScene, nextCase, Specimen } from '../../oracle/generate.js';
import { Random } from '../../oracle/random.js';
import { RULE_NAMES, world } from './fixture.js';

const VERDICTS = new Set([0, ...RULE_NAMES.map((name) => CODES[name].code)]);

const word = fc.oneof(fc.nat({ max: 0xffff_ffff }), fc.constantFrom(0, 1, 2, 0x7fff_ffff, 0x8000_0000, 0x001f_ffff, 0x0020_0000, 0xffff_ffff));
/** Any sixteen words; every other time with a head and an identity that get it past the first rules. */
const entries = fc
  .tuple(fc.array(word, { minLength: ENTRY_WORDS, maxLength: ENTRY_WORDS }), fc.boolean(), fc.constantFrom(...Object.values(Operation)))
  .map(([words, past, operation]) => {
    const entry = Uint32Array.from(words);
    if (past) {
      entry[0] = operation | 0x0001_0000;
      entry[1] = 9;
      entry[11] = 0x0003_0001;
      entry.fill(0, 12);
      entry[12] = 5;
    }
    return entry;
  });
/** Any words, and any number of bytes said to have been fetched. */
const attachments: fc.Arbitrary<Attachment> = fc.record({
  words: fc.array(word, { maxLength: 64, size: 'max' }).map((words) => Uint32Array.from(words)),
  bytes: fc.oneof(fc.nat({ max: 4096 }), word),
});

/** Scenes and requests of the differential test, from a seed that shrinks. */
const scenes = fc.nat({ max: 0xffff_ffff }).map((seed) => {
  const random = new Random(seed);
  const scene = makeScene(random);
  const specimen = new Specimen();
  nextCase(random, scene, specimen);
  return { ...scene, specimen };
});

describe('totality', () => {
  test('any sixteen words and any attachment get a verdict of the table', () => {
    const { grant, lease } = world();
    fc.assert(
      fc.property(entries, attachments, (entry, attachment) => {
        expect(VERDICTS.has(admit(entry, attachment, grant, lease))).toBe(true);
        expect(VERDICTS.has(memoryRule(entry, lease.regions))).toBe(true);
        expect(attachmentToFetch(entry, lease.regions)).toBeLessThanOrEqual(4096);
      }),
      { numRuns: 2000 },
    );
  });

  test('any code, words and attachment get a field and a value', () => {
    fc.assert(
      fc.property(fc.oneof(fc.nat({ max: 110 }), fc.double()), entries, attachments, (code, entry, attachment) => {
        const out = new Uint32Array(2);
        expect(refusedField(code)).toBeLessThanOrEqual(15);
        expect(() => refusedValue(code, entry, attachment, out)).not.toThrow();
      }),
      { numRuns: 2000 },
    );
  });

  test('a grant of nothing and a domain of nothing admit nothing', () => {
    const { lease } = world({ lease: { regions: { words: new Uint32Array(0) } } });
    fc.assert(fc.property(entries, attachments, (entry, attachment) => admit(entry, attachment, { shares: [], maxInFlight: 1024 }, lease) !== 0));
  });
});

describe('purity', () => {
  test('nothing is changed, and the same question has the same answer', () => {
    fc.assert(
      fc.property(scenes, ({ specimen, grant, lease }) => {
        const before = structuredClone([specimen.entry, specimen.words, grant, lease.regions]);
        const first = admit(specimen.entry, specimen.attachment, grant, lease);
        const out = new Uint32Array(2);
        refusedValue(first, specimen.entry, specimen.attachment, out);
        expect(admit(specimen.entry, specimen.attachment, grant, lease)).toBe(first);
        expect([specimen.entry, specimen.words, grant, lease.regions]).toEqual(before);
      }),
      { numRuns: 300 },
    );
  });

  test('it needs nothing that may be written: all of it can be frozen', () => {
    const { grant, lease } = world();
    const frozen = { ...lease, active: true };
    Object.freeze(grant.shares);
    Object.freeze(grant);
    Object.freeze(frozen);
    fc.assert(fc.property(entries, attachments, (entry, attachment) => admit(entry, Object.freeze(attachment), grant, frozen) >= 0));
  });
});

describe('what is admitted', () => {
  test('has its blocks in the share and its bytes in a region of the domain, reckoned with whole numbers of any size', () => {
    let admitted = 0;
    fc.assert(
      fc.property(scenes, ({ specimen, grant, lease, world: judged }) => {
        if (admit(specimen.entry, specimen.attachment, grant, lease) !== 0) return;
        admitted += 1;
        expect(staysInside(specimen.view, specimen.fetched, judged)).toBe(true);
      }),
      { numRuns: 3000 },
    );
    expect(admitted).toBeGreaterThan(100);
  });

  test('has a right, a tag that is free, and room in flight', () => {
    let admitted = 0;
    fc.assert(
      fc.property(scenes, ({ specimen, grant, lease, world: judged }) => {
        if (admit(specimen.entry, specimen.attachment, grant, lease) !== 0) return;
        admitted += 1;
        const request = decode(specimen.view);
        expect(judged.tags.has(request.tag)).toBe(false);
        expect(judged.inFlight).toBeLessThan(judged.maxInFlight);
        if (request.operation !== Operation.flush) expect(judged.shares[request.share].rights.size).toBeGreaterThan(0);
      }),
      { numRuns: 3000 },
    );
    expect(admitted).toBeGreaterThan(100);
  });
});

describe('what is told about a range that lies outside', () => {
  test('is the lba of a range that really does', () => {
    let told = 0;
    fc.assert(
      fc.property(scenes, ({ specimen, grant, lease, world: judged }) => {
        const code = admit(specimen.entry, specimen.attachment, grant, lease);
        if (code !== CODES.rangeOutsideShare.code) return;
        told += 1;
        const out = new Uint32Array(2);
        refusedValue(code, specimen.entry, specimen.attachment, out);
        const value = BigInt(out[0]) + (BigInt(out[1]) << 32n);
        const share = judged.shares[decode(specimen.view).share];
        const fetched = specimen.fetched;
        const outside = Array.from({ length: fetched.byteLength / 16 }, (_, at) => at * 16).filter(
          (at) => fetched.getBigUint64(at, true) + BigInt(fetched.getUint32(at + 8, true)) > share.blocks,
        );
        expect(outside.map((at) => fetched.getBigUint64(at, true))).toContain(value);
      }),
      { numRuns: 5000 },
    );
    expect(told).toBeGreaterThan(5);
  });
});
