import { afterEach, describe, expect, it, vi } from 'vitest';
import { AUDIT_RECORDS, AuditLog } from '../../../src/server/admin/audit.js';
import type { Details, Log } from '../../../src/server/log.js';
import { silentLog } from '../../../src/server/log.js';

const recording = (): { log: Log; lines: [string, Details][] } => {
  const lines: [string, Details][] = [];
  return { lines, log: { ...silentLog, warn: (message, details = {}) => lines.push([message, details]) } };
};
const record = (tenant: string, code: string, session = 1, field = '', value = '') => ({ time: session, tenant, session, code, field, value });

describe('the audit of refusals', () => {
  afterEach(() => vi.useRealTimers());

  it('keeps the last ones, oldest first', () => {
    const audit = new AuditLog(silentLog);
    for (let session = 1; session <= AUDIT_RECORDS + 10; session++) audit.refusal(record('a', 'pinLimit', session));
    const recent = audit.recent();
    expect(recent).toHaveLength(AUDIT_RECORDS);
    expect([recent[0].session, recent.at(-1)?.session]).toEqual([11, AUDIT_RECORDS + 10]);
    expect(audit.total).toBe(AUDIT_RECORDS + 10);
    audit.close();
  });

  it('counts by tenant and code', () => {
    const audit = new AuditLog(silentLog);
    for (const [tenant, code] of [
      ['a', 'x'],
      ['a', 'x'],
      ['a', 'y'],
      ['b', 'x'],
      ['', 'x'],
    ])
      audit.refusal(record(tenant, code));
    expect(audit.counts()).toEqual([
      { tenant: 'a', code: 'x', count: 2 },
      { tenant: 'a', code: 'y', count: 1 },
      { tenant: 'b', code: 'x', count: 1 },
      { tenant: '', code: 'x', count: 1 },
    ]);
    audit.close();
  });

  it('does not grow without bound, whatever it is told', () => {
    const audit = new AuditLog(silentLog);
    for (let index = 0; index < 40_000; index++) audit.refusal(record(`t${index}`, 'x', index, 'f'.repeat(5_000), 'v'.repeat(5_000)));
    expect(audit.counts().length).toBeLessThanOrEqual(16_385);
    expect(audit.counts().reduce((sum, { count }) => sum + count, 0)).toBe(40_000);
    expect(audit.counts().at(-1)).toMatchObject({ tenant: 'other', code: 'other' });
    expect(Math.max(...audit.recent().map(({ field, value }) => field.length + value.length))).toBeLessThan(600);
    audit.close();
  });

  it('logs the first of a kind at once, and the others as a number every ten seconds', () => {
    vi.useFakeTimers();
    const { log, lines } = recording();
    const audit = new AuditLog(log);
    for (let index = 0; index < 1_000; index++) audit.refusal(record('a', 'x', 7, 'lba', '99'));
    audit.refusal(record('b', 'x'));
    expect(lines).toEqual([
      ['refused', { tenant: 'a', session: 7, code: 'x', field: 'lba', value: '99' }],
      ['refused', { tenant: 'b', session: 1, code: 'x', field: '', value: '' }],
    ]);
    vi.advanceTimersByTime(10_000);
    expect(lines.slice(2)).toEqual([['refused again', { tenant: 'a', code: 'x', times: 999, total: 1_000 }]]);
    vi.advanceTimersByTime(60_000);
    expect(lines).toHaveLength(3);
    audit.refusal(record('a', 'x'));
    audit.close();
    expect(lines[3]).toEqual(['refused again', { tenant: 'a', code: 'x', times: 1, total: 1_001 }]);
  });

  it('never keeps a token', () => {
    const { log, lines } = recording();
    const audit = new AuditLog(log);
    audit.refusal(record('', 'authenticationFailed', 1, 'token', 'rwt_secret'));
    expect(JSON.stringify([audit.recent(), lines])).not.toContain('rwt_secret');
    audit.close();
  });
});
