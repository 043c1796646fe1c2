/** The judge: what an attack says of itself decides nothing. */
import { describe, expect, test } from 'vitest';
import { changes } from '../../../src/cli/demo/canary.js';
import { type Witness, escapes, judgeMediated, judgeRaw, succeeded } from '../../../src/cli/demo/judge.js';
import type { RawWorld } from '../../../src/cli/demo/raw/world.js';
import { toJson } from '../../../src/cli/demo/report.js';
import {
  type Attack,
  type AttackResult,
  type DemoReport,
  type Reply,
  faulted,
  harmless,
  notApplicable,
  refused,
} from '../../../src/cli/demo/types.js';

/** A world with one byte of somebody else's in it. */
class TinyWorld implements Witness {
  readonly memory = Buffer.alloc(4_096, 0x11);
  readonly #expected = Buffer.from(this.memory);
  sessionsAlive = true;
  ended = 0;

  harm(): Promise<string[]> {
    return changes([{ name: 'memory', expected: this.#expected, read: () => this.memory }]);
  }
  async endAttack(): Promise<void> {
    this.ended++;
  }
  async sessionsGoOn(): Promise<boolean> {
    return this.sessionsAlive;
  }
}

const attackThat = (mediated: (world: TinyWorld) => Promise<Reply>, ...expected: Reply[]) => ({
  expected: { raw: 'corrupted' as const, mediated: expected },
  mediated,
});

const attack: Attack = {
  id: 'an-attack',
  title: 'an attack',
  requirement: 'R41',
  expected: { raw: 'corrupted', mediated: [refused('unknownRegion')] },
  raw: async () => 'corrupted',
  mediated: async () => refused('unknownRegion'),
};
const good: AttackResult = { attack, raw: 'corrupted', mediated: 'refused', code: 'unknownRegion', findings: [] };
const reportOf = (change: Partial<DemoReport>): DemoReport => ({
  backing: 'emulated',
  workload: { tenants: 2, requests: 10, bytes: 4_096, mismatches: 0 },
  results: [good],
  findings: [],
  ...change,
});

describe('an attack through the server', () => {
  test('that says it was refused, and changed a byte of somebody else, has escaped', async () => {
    const cheat = attackThat(async (world) => {
      world.memory[4_095] ^= 0x80;
      return refused('unknownRegion');
    }, refused('unknownRegion'));
    const verdict = await judgeMediated(cheat, new TinyWorld());
    expect(verdict).toEqual({ outcome: 'ESCAPED', code: 'unknownRegion', findings: ['memory changed at byte 4095'] });
  });

  test('without a verdict has escaped', async () => {
    const silent = attackThat(() => Promise.reject(new Error('no answer')), harmless);
    expect(await judgeMediated(silent, new TinyWorld())).toMatchObject({
      outcome: 'ESCAPED',
      code: '',
      findings: [expect.stringContaining('no answer')],
    });
  });

  test('after which nobody can look has escaped', async () => {
    const world = new TinyWorld();
    world.harm = () => Promise.reject(new Error('no server'));
    const verdict = await judgeMediated(
      attackThat(async () => harmless, harmless),
      world,
    );
    expect(verdict).toMatchObject({ outcome: 'ESCAPED', findings: [expect.stringContaining('no server')] });
  });

  test('that hit nothing is what it was told', async () => {
    const world = new TinyWorld();
    const isRefused = attackThat(async () => refused('staleGeneration'), harmless, refused('staleGeneration'));
    expect(await judgeMediated(isRefused, world)).toEqual({ outcome: 'refused', code: 'staleGeneration', findings: [] });
    const isFaulted = attackThat(async () => faulted('malformed'), faulted('malformed'));
    expect(await judgeMediated(isFaulted, world)).toEqual({ outcome: 'faulted', code: 'malformed', findings: [] });
    expect(world.ended).toBe(2);
  });

  test('that is answered in another way than it must be is a finding', async () => {
    for (const reply of [refused('tagInUse'), faulted('malformed')]) {
      const verdict = await judgeMediated(
        attackThat(async () => reply, refused('unknownRegion')),
        new TinyWorld(),
      );
      expect(verdict.outcome).toBe(reply.outcome);
      expect(verdict.findings).toEqual([expect.stringContaining('refused with unknownRegion was expected')]);
    }
  });

  test('that is accepted and must not be has escaped', async () => {
    const verdict = await judgeMediated(
      attackThat(async () => harmless, refused('unknownRegion')),
      new TinyWorld(),
    );
    expect(verdict).toEqual({
      outcome: 'ESCAPED',
      code: '',
      findings: ['through the server: accepted, where refused with unknownRegion was expected'],
    });
  });

  test('that is refused, and whose session is gone, is a finding', async () => {
    const world = new TinyWorld();
    world.sessionsAlive = false;
    const verdict = await judgeMediated(
      attackThat(async () => refused('unknownRegion'), refused('unknownRegion')),
      world,
    );
    expect(verdict.findings).toHaveLength(1);
  });
});

describe('an attack with raw access', () => {
  const world = {} as RawWorld;

  test('that does the expected damage is no finding', async () => {
    expect(await judgeRaw(attack, world, 'emulated')).toEqual({ outcome: 'corrupted', findings: [] });
    const nothing: Attack = { ...attack, expected: { ...attack.expected, raw: 'not-applicable' }, raw: notApplicable('no such thing') };
    expect(await judgeRaw(nothing, world, 'qemu')).toEqual({ outcome: 'not-applicable', findings: [] });
  });

  test('that does no damage, or other damage, is a finding', async () => {
    for (const outcome of ['none', 'leaked', 'not-applicable'] as const) {
      const verdict = await judgeRaw({ ...attack, raw: async () => outcome }, world, 'emulated');
      expect(verdict).toEqual({ outcome, findings: [`raw access: ${outcome}, where corrupted was expected`] });
    }
  });

  test('that fails is a finding, and no damage', async () => {
    const failing: Attack = { ...attack, raw: () => Promise.reject(new Error('the controller is gone')) };
    expect(await judgeRaw(failing, world, 'emulated')).toMatchObject({
      outcome: 'none',
      findings: [expect.stringContaining('the controller is gone')],
    });
  });

  test('may do other damage on another backing', async () => {
    const differing: Attack = { ...attack, expected: { ...attack.expected, raw: { emulated: 'stalled', qemu: 'not-applicable' } } };
    expect((await judgeRaw({ ...differing, raw: async () => 'stalled' }, world, 'emulated')).findings).toEqual([]);
    expect((await judgeRaw({ ...differing, raw: async () => 'stalled' }, world, 'qemu')).findings).toHaveLength(1);
  });
});

describe('the demonstration', () => {
  test('succeeds when everything is as it has to be', () => {
    expect(succeeded(reportOf({}))).toBe(true);
    expect(escapes(reportOf({}))).toBe(0);
  });

  test.each([
    ['an escape', { results: [good, { ...good, mediated: 'ESCAPED' as const }] }],
    ['a mismatch', { workload: { tenants: 2, requests: 10, bytes: 4_096, mismatches: 1 } }],
    ['a finding of one attack', { results: [{ ...good, raw: 'none' as const, findings: ['raw access: none'] }] }],
    ['a finding at the end', { findings: ['blocks changed'] }],
  ])('fails with %s', (_what, change) => {
    expect(succeeded(reportOf(change))).toBe(false);
  });

  test('counts escapes, and what the last look found as one', () => {
    const escaped = { ...good, mediated: 'ESCAPED' as const };
    expect(escapes(reportOf({ results: [good, escaped, escaped] }))).toBe(2);
    expect(escapes(reportOf({ results: [good, escaped], findings: ['a', 'b'] }))).toBe(2);
  });

  test('has exactly the documented report', () => {
    expect(toJson(reportOf({}))).toEqual({
      backing: 'emulated',
      workload: { tenants: 2, requests: 10, bytes: 4_096, mismatches: 0 },
      attacks: [{ id: 'an-attack', requirement: 'R41', raw: 'corrupted', mediated: 'refused', code: 'unknownRegion' }],
      escapes: 0,
    });
  });
});
