import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemFiles } from '../../../src/server/ledger/durable.js';
import type { Files } from '../../../src/server/ledger/durable.js';
import { Ledger, LedgerError } from '../../../src/server/ledger/index.js';
import type { Claim, Segment } from '../../../src/server/ledger/index.js';
import { judgeClaims, replaceSegment } from '../../../src/server/ledger/segments.js';

const BLOCK = 16;
const segment = (first: number, bytes: number, owners: string[], wiping = false): Segment => ({ first, bytes, owners, wiping });
const claim = (first: number, bytes: number, tenant: string, keepData?: boolean): Claim => ({ first, bytes, tenant, keepData });
const verdicts = (segments: Segment[], ...claims: Claim[]): string[] =>
  judgeClaims(segments, claims, BLOCK).map(({ first, bytes, owners, verdict }) => `${first}+${bytes} ${owners.join('&')} ${verdict}`);

describe('what becomes of blocks', () => {
  it.each<[string, Segment[], Claim[], string[]]>([
    ['clean blocks', [segment(0, 64, [])], [claim(0, 64, 'a')], ['0+64 a keep']],
    ['the same tenant', [segment(0, 64, ['a'])], [claim(0, 64, 'a')], ['0+64 a keep']],
    ['another tenant', [segment(0, 64, ['a'])], [claim(0, 64, 'b')], ['0+64 b wipe']],
    ['another tenant that keeps them', [segment(0, 64, ['a'])], [claim(0, 64, 'b', true)], ['0+64 b keep']],
    ['another tenant that says it keeps nothing', [segment(0, 64, ['a'])], [claim(0, 64, 'b', false)], ['0+64 b wipe']],
    ['one that joins', [segment(0, 64, ['a'])], [claim(0, 64, 'a'), claim(0, 64, 'b')], ['0+64 a&b keep']],
    ['one that stays', [segment(0, 64, ['a', 'b'])], [claim(0, 64, 'a')], ['0+64 a keep']],
    ['one that goes while another comes', [segment(0, 64, ['a', 'b'])], [claim(0, 64, 'a'), claim(0, 64, 'c')], ['0+64 a&c wipe']],
    ['a wipe that did not end', [segment(0, 64, [], true)], [claim(0, 64, 'a')], ['0+64 a wipe']],
    ['a wipe that did not end, kept', [segment(0, 64, [], true)], [claim(0, 64, 'a', true)], ['0+64 a wipe']],
    ['unknown blocks', [], [claim(0, 64, 'a')], ['0+64 a undecided']],
    ['unknown blocks, kept', [], [claim(0, 64, 'a', true)], ['0+64 a keep']],
    ['unknown blocks, not kept', [], [claim(0, 64, 'a', false)], ['0+64 a wipe']],
    ['unknown blocks of two, of whom one does not say', [], [claim(0, 64, 'a', true), claim(0, 64, 'b')], ['0+64 a&b undecided']],
    ['unknown blocks of two who differ', [], [claim(0, 64, 'a', true), claim(0, 64, 'b', false)], ['0+64 a&b wipe']],
    ['nobody', [segment(0, 64, ['a'])], [], []],
    [
      'a window over everything that there is',
      [segment(0, 16, ['a']), segment(16, 16, ['b']), segment(32, 16, [], true), segment(64, 16, [])],
      [claim(0, 96, 'a', false)],
      ['0+16 a keep', '16+48 a wipe', '64+16 a keep', '80+16 a wipe'],
    ],
    [
      'windows that lie on each other',
      [segment(0, 64, ['a'])],
      [claim(0, 48, 'a'), claim(32, 32, 'b')],
      ['0+32 a keep', '32+16 a&b keep', '48+16 b wipe'],
    ],
    // Blocks were smaller when these were noted: whoever has part of a block of now gets all of it wiped, and nothing beyond it.
    ['segments that are not whole blocks', [segment(0, 40, ['b']), segment(40, 40, ['a'])], [claim(0, 80, 'a')], ['0+48 a wipe', '48+32 a keep']],
    [
      'a gap within a block',
      [segment(0, 20, ['a']), segment(24, 40, ['a'])],
      [claim(0, 64, 'a')],
      ['0+16 a keep', '16+16 a undecided', '32+32 a keep'],
    ],
    [
      'a gap within a block, for another',
      [segment(0, 20, []), segment(24, 40, [])],
      [claim(0, 64, 'a')],
      ['0+16 a keep', '16+16 a undecided', '32+32 a keep'],
    ],
  ])('%s', (_what, segments, claims, expected) => expect(verdicts(segments, ...claims)).toEqual(expected));
});

describe('segments', () => {
  it('give way to a new one, and join neighbours that are alike', () => {
    expect(replaceSegment([segment(0, 64, ['a'])], segment(16, 16, ['b']))).toEqual([
      segment(0, 16, ['a']),
      segment(16, 16, ['b']),
      segment(32, 32, ['a']),
    ]);
    expect(replaceSegment([segment(0, 16, ['a']), segment(16, 16, ['b'])], segment(16, 16, ['a']))).toEqual([segment(0, 32, ['a'])]);
    expect(replaceSegment([segment(0, 16, ['a']), segment(48, 16, ['a'])], segment(8, 48, []))).toEqual([
      segment(0, 8, ['a']),
      segment(8, 48, []),
      segment(56, 8, ['a']),
    ]);
    expect(replaceSegment([segment(0, 16, [], true)], segment(16, 16, []))).toEqual([segment(0, 16, [], true), segment(16, 16, [])]);
  });
});

describe('the ledger', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'ringwarden-ledger-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const NAMESPACE = 'image:1:2';
  const begin = (ledger: Ledger, ...claims: Claim[]) => {
    const judged = ledger.judge(NAMESPACE, claims, BLOCK);
    ledger.begin(judged.map((each) => ({ namespace: NAMESPACE, judged: each })));
    return judged;
  };

  it('remembers over restarts who had what', () => {
    const first = new Ledger(folder);
    first.noteClean(NAMESPACE, 0, 64);
    begin(first, claim(0, 32, 'a'), claim(32, 32, 'b'));
    const second = new Ledger(folder);
    expect(second.segments(NAMESPACE)).toEqual([segment(0, 32, ['a']), segment(32, 32, ['b'])]);
    const judged = begin(second, claim(0, 64, 'a'));
    expect(new Ledger(folder).segments(NAMESPACE)).toEqual([segment(0, 32, ['a']), segment(32, 32, [], true)]);
    second.wiped(NAMESPACE, judged[1]);
    expect(new Ledger(folder).segments(NAMESPACE)).toEqual([segment(0, 64, ['a'])]);
  });

  it('keeps what nobody claims', () => {
    const ledger = new Ledger(folder);
    ledger.noteClean(NAMESPACE, 0, 64);
    begin(ledger, claim(0, 64, 'a'));
    begin(ledger);
    expect(new Ledger(folder).judge(NAMESPACE, [claim(0, 64, 'b')], BLOCK)).toMatchObject([{ verdict: 'wipe' }]);
  });

  it('does not take note of undecided blocks', () => {
    const ledger = new Ledger(folder);
    begin(ledger, claim(0, 64, 'a'));
    expect(ledger.segments(NAMESPACE)).toEqual([]);
  });

  it('does not write down what lives in memory', () => {
    const ledger = new Ledger(folder);
    ledger.noteClean('memory:nvme0/1', 0, 64);
    expect(ledger.segments('memory:nvme0/1')).toHaveLength(1);
    ledger.noteClean(NAMESPACE, 0, 16);
    expect(new Ledger(folder).segments('memory:nvme0/1')).toEqual([]);
  });

  it.each([
    ['no JSON', '{', /cannot be read/],
    ['another version', '{"version": 2, "namespaces": {}}', /version 2, and this server knows 1/],
    ['no version', '{}', /version undefined/],
    ['no namespaces', '{"version": 1}', /damaged/],
    ['a segment that is none', '{"version": 1, "namespaces": {"n": [{"first": 0, "bytes": 1.5, "owners": [], "wiping": false}]}}', /damaged/],
    ['owners that are none', '{"version": 1, "namespaces": {"n": [{"first": 0, "bytes": 1, "owners": [3], "wiping": false}]}}', /damaged/],
  ])('refuses a file with %s, and says what to do', (_what, content, message) => {
    writeFileSync(join(folder, 'ledger.json'), content);
    expect(() => new Ledger(folder)).toThrow(LedgerError);
    expect(() => new Ledger(folder)).toThrow(message);
    expect(() => new Ledger(folder)).toThrow(
      expect.objectContaining({ remedy: expect.stringMatching(/^restore .*ledger\.json from a backup, or move it away/) }),
    );
  });

  /** Files that stop before their `limit`th step, as a killed process does; a step is one system call that changes something. */
  class Killed extends Error {}
  const mortal = (limit: number): Files => {
    let steps = 0;
    const step = <Args extends unknown[], Result>(call: (...args: Args) => Result) => {
      return (...args: Args): Result => {
        if (steps++ >= limit) throw new Killed();
        return call(...args);
      };
    };
    return {
      read: systemFiles.read,
      create: step(systemFiles.create),
      openFolder: step(systemFiles.openFolder),
      // A few bytes at a time, so that the process can die in the middle of the text.
      write: step((fd, bytes) => systemFiles.write(fd, bytes.subarray(0, 40))),
      sync: step(systemFiles.sync),
      close: systemFiles.close,
      rename: step(systemFiles.rename),
    };
  };

  it('survives a kill between any two steps: the blocks of another are never taken for clean', () => {
    let outcomes = 0;
    for (let limit = 0; ; limit++) {
      const start = new Ledger(folder);
      writeFileSync(join(folder, 'ledger.json'), JSON.stringify({ version: 1, namespaces: { [NAMESPACE]: [segment(0, 64, ['a'])] } }));
      expect(start).toBeDefined();
      // What is on the "disk": whether the data of a lie there, and whether b could have read them.
      let dataOfA = true;
      let killed = false;
      try {
        const ledger = new Ledger(folder, mortal(limit));
        for (const piece of begin(ledger, claim(0, 64, 'b'))) {
          expect(piece.verdict).toBe('wipe');
          dataOfA = false;
          ledger.wiped(NAMESPACE, piece);
        }
      } catch (error) {
        if (!(error instanceof Killed)) throw error;
        killed = true;
      }
      // After the restart: b gets the blocks as they are only if a's data are gone.
      const [after] = new Ledger(folder).judge(NAMESPACE, [claim(0, 64, 'b')], BLOCK);
      expect(['keep', 'wipe']).toContain(after.verdict);
      if (after.verdict === 'keep') expect(dataOfA).toBe(false);
      // And a gets them back unwiped only if nothing was wiped, or b never had them.
      const [back] = new Ledger(folder).judge(NAMESPACE, [claim(0, 64, 'a')], BLOCK);
      if (back.verdict === 'keep') expect(dataOfA).toBe(true);
      outcomes++;
      if (!killed) break;
    }
    // Two replacements, each with create, writes, sync, rename, open, sync.
    expect(outcomes).toBeGreaterThan(12);
  });

  it('does not claim what it could not write down', () => {
    const ledger = new Ledger(folder, mortal(0));
    expect(() => ledger.noteClean(NAMESPACE, 0, 64)).toThrow(Killed);
    expect(ledger.segments(NAMESPACE)).toEqual([]);
  });

  it('writes the file for its user only, and makes it durable before it is in place', () => {
    const calls: string[] = [];
    const traced = Object.fromEntries(
      Object.entries(systemFiles).map(([name, call]) => [
        name,
        (...args: never[]) => {
          calls.push(name);
          return (call as (...rest: never[]) => unknown)(...args);
        },
      ]),
    ) as unknown as Files;
    new Ledger(folder, traced).noteClean(NAMESPACE, 0, 64);
    expect(calls).toEqual(['read', 'create', 'write', 'sync', 'close', 'rename', 'openFolder', 'sync', 'close']);
    expect(JSON.parse(readFileSync(join(folder, 'ledger.json'), 'utf8'))).toEqual({ version: 1, namespaces: { [NAMESPACE]: [segment(0, 64, [])] } });
  });
});
