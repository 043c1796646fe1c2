import { describe, expect, test } from 'vitest';
import { AUDIT_LIMIT, Audit } from '../../../src/hw/emulated/audit.js';
import { type AuditRecord, violations } from '../../../src/hw/emulated/index.js';
import { AdminOpcode, NvmOpcode, Sqe } from '../../../src/hw/nvme/spec/index.js';
import { blocks, buildPrps } from '../../support/raw-nvme.js';
import { PAGE, startHost } from './world.js';

describe.each(['stepped', 'thread'] as const)('the audit, %s', (mode) => {
  test('says whose memory each access hit, and for which command', async () => {
    const { backing, host } = await startHost({ mode, audit: true }, 2);
    const pair = await host.createPair(3, 16, 1);
    const tenant = await host.allocate(8 * PAGE, { owner: 'tenant' });
    const lists = await host.allocate(PAGE, { owner: 'lists' });
    await host.run(backing.clearAudit());
    const prps = buildPrps(tenant, 512, 6 * PAGE, lists);
    const write = await host.io(pair, { opcode: NvmOpcode.write, nsid: 1, ...prps, words: blocks(0, 48) });
    const records = await host.run(backing.audit());
    const at = (offset: number): string => tenant.at(offset).toString(16);
    const common = { target: 'memory', direction: 'read', queue: 3, command: write.commandId };
    const reads = records.filter(({ owner, direction }) => owner === 'tenant' && direction === 'read');
    expect(reads).toEqual([
      { ...common, owner: 'tenant', address: at(512), offset: 512, bytes: PAGE - 512 },
      ...[1, 2, 3, 4, 5].map((page) => ({ ...common, owner: 'tenant', address: at(page * PAGE), offset: page * PAGE, bytes: PAGE })),
      { ...common, owner: 'tenant', address: at(6 * PAGE), offset: 6 * PAGE, bytes: 512 },
    ]);
    expect(records.filter(({ owner }) => owner === 'lists')).toHaveLength(6);
    // The command is fetched before anybody knows which it is.
    expect(records[0]).toMatchObject({ target: 'memory', owner: 'host', bytes: 64, direction: 'read', queue: 3, command: -1 });
    expect(records.filter(({ owner, direction }) => owner === 'host' && direction === 'write')).toMatchObject([
      { bytes: 16, queue: 3, command: write.commandId },
    ]);
    const messages = records.filter(({ target }) => target === 'interrupt');
    expect(messages).toMatchObject([{ address: 'fee00000', bytes: 4, direction: 'write', queue: -1, command: -1 }]);
    expect(violations(records, ['tenant', 'lists', 'host'])).toEqual([]);
    expect(violations(records, ['tenant', 'host'])).toHaveLength(6);
  });

  test('has what went astray: nothing, registers, interrupts', async () => {
    const { backing, host } = await startHost({ mode, audit: true }, 1);
    const pair = await host.createPair(1);
    const bar = BigInt(((await host.run(backing.config.read32(0x20))) & 0xffff_fff0) >>> 0);
    await host.run(backing.clearAudit());
    const read = (address: bigint): Promise<unknown> => host.io(pair, { opcode: NvmOpcode.read, nsid: 1, prp1: address, words: blocks(0, 1) });
    await read(0x66_6666_6000n);
    await read(bar);
    await read(0xfee0_0000n);
    await read(1n << 63n);
    const wrong = violations(await host.run(backing.audit()), ['host']);
    expect(wrong.map(({ target, address }) => [target, address])).toEqual([
      ['nothing', '6666666000'],
      ['registers', bar.toString(16)],
      ['interrupt', 'fee00000'],
      ['nothing', '8000000000000000'],
    ]);
    for (const { direction, bytes, queue } of wrong) expect([direction, bytes, queue]).toEqual(['write', 512, 1]);
  });

  test('many records come in several answers, in order', async () => {
    const { backing, host } = await startHost({ mode, audit: true });
    await host.run(backing.clearAudit());
    for (let turn = 0; turn < 200; turn++) await host.admin({ opcode: AdminOpcode.getFeatures, words: { [Sqe.cdw10]: 1 } });
    const records = await host.run(backing.audit());
    expect(records.length).toBe(400);
    expect(records.filter(({ direction }) => direction === 'write').map(({ command }) => command)).toEqual(
      Array.from({ length: 200 }, (_, index) => (records[1].command + index) & 0xffff),
    );
  });
});

test('an audit that is off records nothing', async () => {
  const { backing, host } = await startHost();
  await host.admin({ opcode: AdminOpcode.getFeatures, words: { [Sqe.cdw10]: 1 } });
  expect(await host.run(backing.audit())).toEqual([]);
});

test('an audit that is full says so instead of forgetting in silence', () => {
  const audit = new Audit();
  for (let index = 0; index < AUDIT_LIMIT + 5; index++) audit.record('memory', 'a', index, 0, 0, 4, false);
  expect(audit.lost).toBe(5);
  expect(audit.list(AUDIT_LIMIT - 1, 10)).toHaveLength(1);
  audit.clear();
  expect([audit.lost, audit.list(0, 10)]).toEqual([0, []]);
});

test('violations are judged by owner, and interrupts by who caused them', () => {
  const record = (change: Partial<AuditRecord>): AuditRecord => ({
    target: 'memory',
    owner: 'a',
    address: '1000',
    offset: 0,
    bytes: 4,
    direction: 'read',
    queue: 1,
    command: 1,
    ...change,
  });
  const good = [record({}), record({ target: 'interrupt', owner: '', queue: -1, command: -1 })];
  const bad = [
    record({ owner: 'b' }),
    record({ owner: '' }),
    record({ target: 'nothing' }),
    record({ target: 'registers' }),
    record({ target: 'interrupt' }),
  ];
  expect(violations([...good, ...bad], ['a'])).toEqual(bad);
});
