import { expect, it } from 'vitest';
import { AuditLog } from '../../../src/server/admin/index.js';
import { type Log, silentLog } from '../../../src/server/log.js';
import { World } from './world.js';

it('a refusal is counted, kept, and logged once, by the audit alone', async () => {
  const lines: unknown[] = [];
  const record = (message: string, details: object = {}): unknown => lines.push({ message, ...details });
  const log: Log = { ...silentLog, debug: record, info: record, warn: record, error: record };
  const audit = new AuditLog(log);
  const world = await World.create({ log, audit });
  try {
    const client = await world.session();
    for (let times = 0; times < 3; times++) await expect(client.call('deviceState', { device: 'none' })).rejects.toThrow();
    client.ask('hello', { version: 1 });
    await client.closed;
    audit.summarize();
    const refused = { tenant: 'alice', session: 1, code: 'unknownDevice', field: 'device', value: 'none' };
    const fault = { tenant: 'alice', session: 1, code: 'alreadyAuthenticated', field: 'type', value: 'hello' };
    expect(audit.recent()).toMatchObject([refused, refused, refused, fault]);
    expect(audit.counts()).toEqual([
      { tenant: 'alice', code: 'unknownDevice', count: 3 },
      { tenant: 'alice', code: 'alreadyAuthenticated', count: 1 },
    ]);
    expect(lines.filter((line) => JSON.stringify(line).includes('"code"'))).toEqual([
      { message: 'refused', ...refused },
      { message: 'refused', ...fault },
      { message: 'refused again', tenant: 'alice', code: 'unknownDevice', times: 2, total: 3 },
    ]);
  } finally {
    audit.close();
    await world.end();
  }
});
