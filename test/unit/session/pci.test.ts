/** The PCI function as messages: whose lease it is, what is answered, what is refused before the engine is asked. */
import { afterEach, describe, expect, it } from 'vitest';
import { HardwareError } from '../../../src/hw/task.js';
import { Refusal } from '../../../src/server/engine/api.js';
import { type Message, type ReadyClient, World } from './world.js';

let world: World;
afterEach(() => world.end());

async function ready(): Promise<ReadyClient> {
  world = await World.create();
  return world.ready();
}

const MESSAGES: Readonly<Record<string, Record<string, unknown>>> = {
  readPciConfig: { offset: 0x10, width: 4 },
  writePciConfig: { offset: 0x10, width: 4, value: 0xffff_ffff },
  listPciRegions: {},
  readPciRegister: { bar: 0, offset: 8, width: 4 },
  readPciRom: { offset: 0, length: 3 },
};

/** The error that a message gets. */
async function refused(client: ReadyClient, type: string, fields: Record<string, unknown>) {
  client.ask(type, fields);
  return client.error();
}

it('answers what the engine says', async () => {
  const client = await ready();
  const { lease } = client;
  const answers: Message[] = [];
  for (const [type, fields] of Object.entries(MESSAGES)) answers.push(await client.call(type, { lease, ...fields }));
  expect(answers).toMatchObject([
    { value: 7 },
    { resetAsked: false },
    { regions: [{ index: 0, name: 'BAR0', kind: 'memory', bytes: 16_384, readable: [{ name: 'VS', offset: 8, bytes: 4, width: 4 }] }] },
    { value: 0x0001_0400 },
    { data: Buffer.from([0x55, 0x55, 0x55]) },
  ]);
  expect(await client.call('writePciConfig', { lease, offset: 0x58, width: 2, value: 0x8000 })).toMatchObject({ resetAsked: true });
  expect(world.engine.calls).toContain(`writePciConfig ${lease} 16 4 4294967295`);
});

describe.each(Object.keys(MESSAGES))('%s', (type) => {
  const fields = MESSAGES[type];

  it('of a lease of another session is refused, and the engine hears nothing of it', async () => {
    const client = await ready();
    const other = await world.ready('bob');
    expect(await refused(other, type, { lease: client.lease, ...fields })).toMatchObject({ name: 'unknownLease', field: 'lease' });
    expect(world.engine.calls.filter((call) => call.startsWith(type))).toEqual([]);
  });

  it('of a lease that was closed is refused', async () => {
    const client = await ready();
    const second = await client.call('openDevice', { device: 'nvme0', mode: 'shared', queues: 'shared' });
    await client.call('closeDevice', { lease: second['lease'] });
    expect(await refused(client, type, { lease: second['lease'], ...fields })).toMatchObject({ name: 'unknownLease' });
  });

  it('passes on what the engine refuses, and the session goes on', async () => {
    const client = await ready();
    world.engine.failing.set(type as 'readPciConfig', new Refusal('notReadable', 'offset', 0x2000));
    expect(await refused(client, type, { lease: client.lease, ...fields })).toMatchObject({ name: 'notReadable', field: 'offset', value: '8192' });
    world.engine.failing.set(type as 'readPciConfig', new HardwareError('lost', 'gone'));
    expect(await refused(client, type, { lease: client.lease, ...fields })).toMatchObject({ name: 'deviceLost', value: '' });
    await client.call('ping');
  });
});

it('numbers that no access can have are refused here', async () => {
  const client = await ready();
  const { lease } = client;
  for (const [type, field, value] of [
    ['readPciConfig', 'width', 3],
    ['readPciConfig', 'width', 8],
    ['readPciConfig', 'offset', 0x1_0000],
    ['writePciConfig', 'value', 2 ** 32],
    ['readPciRegister', 'offset', 2 ** 53],
    ['readPciRom', 'length', 65_537],
    ['readPciRom', 'offset', -1],
  ] as const) {
    expect(await refused(client, type, { lease, ...MESSAGES[type], [field]: value })).toMatchObject({ name: 'outOfRange', field });
  }
  expect(world.engine.calls.filter((call) => call.includes('Pci'))).toEqual([]);
});
