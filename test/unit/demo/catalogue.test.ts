/** The attack catalogue as data: complete, unambiguous, and about requirements and codes that there are. */
import { describe, expect, test } from 'vitest';
import { CATALOGUE } from '../../../src/cli/demo/catalogue.js';
import { expectedDamage } from '../../../src/cli/demo/judge.js';
import { Table } from '../../../src/cli/demo/report.js';
import { isOtherRefusal } from '../../../src/cli/demo/types.js';
import { CODES } from '../../../src/protocol/index.js';

/** What the demonstration has to contain, by the words of its specification. */
const REQUIRED = [
  'dma-write',
  'dma-read',
  'prp-race',
  'prp-chain',
  'lba-one-past',
  'lba-overflow',
  'other-memory',
  'other-queue',
  'other-lease',
  'other-tag',
  'namespace',
  'msi-address',
  'doorbell-beyond',
  'admin-opcode',
  'stale-generation',
  'replay',
  'use-after-unmap',
  'unmap-in-flight',
  'reserved-bits',
  'odd-numbers',
  'huge-lengths',
  'oversized',
  'malformed',
  'extension-type',
  'flood',
  'reset-others',
  'peer-to-peer',
  'sibling-lease',
  'ring-indices',
  'ring-race',
  'ring-huge',
  'ring-never-reap',
  'wake-storm',
  'completion-write',
  'hardware-ring',
  're-seal',
  'truncate',
  'ticket-guess',
  'ticket-twice',
  'descriptor-flood',
];

describe('the attack catalogue', () => {
  test('has every attack that it must have, each once', () => {
    const ids = CATALOGUE.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).toEqual(expect.arrayContaining(REQUIRED));
    expect(ids.length).toBeGreaterThanOrEqual(25);
    for (const id of ids) expect(id).toMatch(/^[a-z][a-z0-9-]{2,19}$/);
  });

  test('puts requirements to the test that there are', () => {
    for (const { id, requirement } of CATALOGUE) {
      expect(requirement, id).toMatch(/^R\d\d$/);
      expect(Number(requirement.slice(1)), id).toBeGreaterThanOrEqual(1);
      expect(Number(requirement.slice(1)), id).toBeLessThanOrEqual(41);
    }
  });

  test('does damage with raw access in most of what raw access can do', () => {
    for (const backing of ['emulated', 'qemu'] as const) {
      const damages = CATALOGUE.map((attack) => expectedDamage(attack, backing));
      expect(damages.filter((damage) => damage !== 'not-applicable').length).toBeGreaterThanOrEqual(25);
      expect(new Set(damages)).toEqual(new Set(['corrupted', 'leaked', 'stalled', 'crashed', 'not-applicable']));
    }
  });

  test('expects answers that the protocol has, of the severity that it gives them', () => {
    for (const { id, expected } of CATALOGUE) {
      expect(expected.mediated.length, id).toBeGreaterThanOrEqual(1);
      for (const { outcome, code } of expected.mediated) {
        if (code === '') expect(outcome, id).toBe('harmless');
        else if (isOtherRefusal(code)) expect(outcome, id).toBe('refused');
        else expect(CODES[code].severity, `${id} ${code}`).toBe(outcome === 'faulted' ? 'fault' : 'refuse');
      }
    }
  });

  test('fits on a screen of 120 columns', () => {
    const table = new Table(CATALOGUE);
    expect(table.heading.length).toBeLessThanOrEqual(120);
    for (const attack of CATALOGUE) {
      for (const { outcome, code } of attack.expected.mediated) {
        const row = table.row({ attack, raw: 'not-applicable', mediated: outcome, code, findings: [] });
        expect(row.length, attack.id).toBeLessThanOrEqual(120);
        expect(row).toContain(attack.title);
      }
    }
  });
});
