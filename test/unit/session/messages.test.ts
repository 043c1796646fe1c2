/** Every message of a client, as raw bytes: too short, too long, wrong type, unknown field, out of order, twice. */
import { Packr } from 'msgpackr';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CODES, type CodeName, MAX_MESSAGE_BYTES, type RequestType } from '../../../src/protocol/index.js';
import { EXAMPLES, REQUEST_TYPES } from '../wire/examples.js';
import { type Client, World, entries } from './world.js';

const packr = new Packr({ useRecords: false, variableMapSize: true });
const bytesOf = (type: string, fields: object, id = 1_000): Buffer => packr.pack({ type, id, ...fields });

/** Status with which the connection closes after each fault. */
const PROTOCOL_ERROR = 1_002;
const POLICY_VIOLATION = 1_008;

let world: World;
/** A session that must notice nothing of what the others do. */
let witness: Client;
beforeAll(async () => {
  world = await World.create({ tenants: { alice: { limits: { messagesPerSecond: 100_000 } }, bob: {} }, limits: { helloMilliseconds: 20_000 } });
  witness = await world.session('bob');
});
afterAll(async () => {
  await witness.call('ping');
  expect(witness.received).toEqual([]);
  await world.end();
});

/** Sends one message on a connection of its own, which the server must end with this fault. */
async function expectFault(client: Client, bytes: Uint8Array, name: CodeName, field: string, status: number): Promise<void> {
  client.sendBytes(bytes);
  expect(await client.error()).toMatchObject({ name, field });
  expect(CODES[name].severity).toBe('fault');
  expect(await client.closed).toBe(status);
}

describe.each(REQUEST_TYPES)('%s', (type) => {
  const example: object = EXAMPLES[type];
  const whole = bytesOf(type, example);

  it('cut short, at every byte', async () => {
    const calls = world.engine.calls.length;
    // One connection for each would take long: the codec is tested with every prefix, the session with some.
    for (const length of new Set([0, 1, Math.floor(whole.length / 2), whole.length - 1])) {
      await expectFault(await world.session(), whole.subarray(0, length), 'malformed', '', PROTOCOL_ERROR);
    }
    expect(world.engine.calls.length).toBe(calls);
  });

  it('with a byte too many', async () => {
    await expectFault(await world.session(), Buffer.concat([whole, Buffer.of(0)]), 'malformed', '', PROTOCOL_ERROR);
  });

  it('before hello', async () => {
    if (type === 'hello') return;
    await expectFault(await world.connect(), whole, 'notAuthenticated', 'type', POLICY_VIOLATION);
  });

  it('with an unknown field, without a field, with a field of another type', async () => {
    await expectFault(await fresh(type), bytesOf(type, { ...example, extra: 1 }), 'unknownField', 'extra', PROTOCOL_ERROR);
    for (const [name, value] of Object.entries(example)) {
      await expectFault(await fresh(type), bytesOf(type, { ...example, [name]: [value] }), 'wrongType', name, PROTOCOL_ERROR);
    }
    const { id: _, ...noId } = { type, id: 1, ...example };
    await expectFault(await fresh(type), packr.pack(noId), 'missingField', 'id', PROTOCOL_ERROR);
  });

  it('twice, or with an id that does not rise', async () => {
    const client = await fresh(type);
    client.sendBytes(whole);
    client.sendBytes(whole);
    const message = await client.next((candidate) => candidate['name'] === 'replayedId');
    expect(message).toMatchObject({ field: 'id', value: '1000', id: 1_000 });
    expect(await client.closed).toBe(PROTOCOL_ERROR);
    if (type === 'hello') return;
    const other = await fresh(type);
    other.sendBytes(bytesOf('ping', {}, 2_000));
    await other.next((candidate) => candidate['id'] === 2_000);
    await expectFault(other, whole, 'replayedId', 'id', PROTOCOL_ERROR);
  });

  it('with numbers that are none: refused, and the session goes on', async () => {
    for (const [name, value] of Object.entries(example)) {
      if (typeof value !== 'number') continue;
      const client = await fresh(type);
      let id = 1_000;
      for (const wrong of [NaN, Infinity, -1, 0.5, 2 ** 53, 2 ** 64]) {
        client.sendBytes(bytesOf(type, { ...example, [name]: wrong }, ++id));
        expect(await client.error()).toMatchObject({ name: 'outOfRange', field: name, id });
      }
      client.sendBytes(type === 'hello' ? bytesOf('hello', { version: 1 }, ++id) : bytesOf('ping', {}, ++id));
      expect(await client.next((message) => message['id'] === id)).toMatchObject({ type: 'answer' });
      client.socket.terminate();
    }
  });
});

/** A connection that may send a message of this type. */
const fresh = (type: RequestType): Promise<Client> => (type === 'hello' ? world.connect() : world.session());

describe('the order of messages', () => {
  const needDomain: RequestType[] = ['unsetDomain', 'openDevice', 'mapMemory', 'unmapMemory', 'writeMemory', 'readMemory'];
  const needLease: RequestType[] = ['closeDevice', 'openQueue', 'closeQueue', 'resetLease', 'bindVector'];

  it('nothing without a domain', async () => {
    const client = await world.session();
    const calls = world.engine.calls.length;
    for (const type of [...needDomain, ...needLease]) expect(await client.refusal(type, EXAMPLES[type])).toMatchObject({ name: 'noDomain' });
    client.send({ type: 'submit', lease: 1, queue: 0, entries: new Uint8Array(64) });
    expect(await client.error()).toEqual({ name: 'noDomain', field: '', value: '', id: 0, submit: 1 });
    expect(world.engine.calls.length).toBe(calls);
  });

  it('nothing of a device without a lease', async () => {
    const client = await world.session();
    await client.call('setDomain');
    const calls = world.engine.calls.length;
    for (const type of needLease) expect(await client.refusal(type, EXAMPLES[type])).toMatchObject({ name: 'noLease' });
    client.send({ type: 'submit', lease: 1, queue: 0, entries: new Uint8Array(64) });
    expect(await client.error()).toMatchObject({ name: 'noLease', submit: 1 });
    expect(world.engine.calls.length).toBe(calls);
  });

  it('nothing of a lease or a queue that is not the session’s own', async () => {
    const owner = await world.ready();
    const client = await world.ready();
    expect(client.lease).not.toBe(owner.lease);
    const calls = world.engine.calls.length;
    for (const type of needLease) {
      const fields = { ...EXAMPLES[type], lease: owner.lease };
      expect(await client.refusal(type, fields)).toEqual({ name: 'unknownLease', field: 'lease', value: String(owner.lease) });
    }
    expect(await client.refusal('closeQueue', { lease: client.lease, queue: 9 })).toEqual({ name: 'unknownQueue', field: 'queue', value: '9' });
    client.send({ type: 'submit', lease: owner.lease, queue: owner.queue, entries: entries(owner, {}) });
    expect(await client.error()).toMatchObject({ name: 'unknownLease', field: 'lease' });
    client.send({ type: 'submit', lease: client.lease, queue: 9, entries: entries(client, {}) });
    expect(await client.error()).toMatchObject({ name: 'unknownQueue', field: 'queue', submit: 2 });
    expect(world.engine.calls.length).toBe(calls);
  });

  it('hello once, the domain once', async () => {
    const client = await world.session();
    await client.call('setDomain');
    expect(await client.refusal('setDomain')).toMatchObject({ name: 'domainSet' });
    await expectFault(client, bytesOf('hello', EXAMPLES.hello), 'alreadyAuthenticated', 'type', POLICY_VIOLATION);
  });
});

describe('what is no message at all', () => {
  it.each([
    ['a text frame', 'hello', 'malformed', ''],
    ['an array', packr.pack(['ping', 1]), 'malformed', ''],
    ['a record of msgpackr', new Packr({ useRecords: true }).pack({ type: 'ping', id: 1 }), 'malformed', ''],
    ['no type', packr.pack({ id: 1 }), 'missingField', 'type'],
    ['a type that is a number', packr.pack({ type: 5, id: 1 }), 'wrongType', 'type'],
    ['an unknown type', packr.pack({ type: 'identify', id: 1_000 }), 'unknownMessage', 'type'],
    ['the name of a method as its type', packr.pack({ type: 'constructor', id: 1_000 }), 'unknownMessage', 'type'],
    ['a message of the server', packr.pack({ type: 'completions', id: 1_000 }), 'unknownMessage', 'type'],
  ] as const)('%s', async (_what, bytes, name, field) => {
    const client = await world.session();
    client.sendBytes(bytes);
    expect(await client.error()).toMatchObject({ name, field });
    expect(await client.closed).toBe(PROTOCOL_ERROR);
  });

  it('a message longer than the limit', async () => {
    const client = await world.session();
    client.sendBytes(Buffer.alloc(MAX_MESSAGE_BYTES + 1));
    expect(await client.error()).toMatchObject({ id: 0, name: 'messageTooLarge', field: 'messageBytes', value: String(MAX_MESSAGE_BYTES) });
    expect(await client.closed).toBe(1_009);
    expect(world.audit.filter(({ session }) => session === world.audit.at(-1)?.session)).toMatchObject([
      { code: 'messageTooLarge', tenant: 'alice' },
    ]);
  });

  it('a message of the largest size with nothing in it', async () => {
    const client = await world.session();
    await expectFault(client, Buffer.alloc(MAX_MESSAGE_BYTES, 0x91), 'malformed', '', PROTOCOL_ERROR);
  });

  it('hello of another version, or without the right credentials', async () => {
    const old = await world.connect();
    await expectFault(old, bytesOf('hello', { version: 2 }), 'wrongVersion', 'version', POLICY_VIOLATION);
    const stranger = await world.connect();
    await expectFault(stranger, bytesOf('hello', { version: 1, tenant: 'mallory' }), 'authenticationFailed', 'tenant', POLICY_VIOLATION);
  });
});
