import { describe, expect, it } from 'vitest';
import { type Client, connect, ConnectionError } from '../../../src/client/index.js';
import { Code, COMPLETION_BYTES } from '../../../src/protocol/index.js';
import { client, connectBeforeEach, server } from '../../support/scripted-client.js';
import { type Fields, share, type Submitted } from '../../support/scripted-server.js';
import { errorOf, until } from '../../support/settled.js';

connectBeforeEach();

describe('a server that does not keep to the protocol', () => {
  const completion = (tag: [number, number], code = 0, length = 0): Buffer => {
    const words = Uint32Array.of(tag[0], tag[1], code, 0, 0, 0, 1, length);
    return Buffer.from(words.buffer);
  };
  const tagOf = ({ entries }: Submitted): [number, number] => [Number(entries[0].tag & 0xffff_ffffn), Number(entries[0].tag >> 32n)];

  it.each<[string, Fields]>([
    ['an unknown type', { type: 'surprise' }],
    ['no type', {}],
    ['an answer to nothing', { type: 'answer', id: 999 }],
    ['an answer without id', { type: 'answer' }],
    ['an unknown event', { type: 'event', event: 'party', lease: 1 }],
    ['an event of an unknown lease', { type: 'event', event: 'interrupt', lease: 77, vector: 0, count: 1 }],
    ['an event with a wrong field', { type: 'event', event: 'interrupt', lease: 1, vector: -1, count: 1 }],
    ['an event without a field', { type: 'event', event: 'reset', lease: 1, generation: 2 }],
    ['an error without code', { type: 'error', id: 0, name: 'x', field: '', value: '', message: '' }],
    ['an error of an unknown code', { type: 'error', id: 0, code: 99, name: 'x', field: '', value: '', message: '' }],
    ['a refusal of nothing', { type: 'error', id: 0, code: Code.ringFull, name: 'ringFull', field: '', value: '', message: '' }],
    [
      'a refusal of a submit that was not sent',
      { type: 'error', id: 0, code: Code.ringFull, name: 'ringFull', field: '', value: '', message: '', submit: 9 },
    ],
    ['a refusal of an unknown call', { type: 'error', id: 77, code: Code.ringFull, name: 'ringFull', field: '', value: '', message: '' }],
    ['completions of an unknown lease', { type: 'completions', lease: 5, queue: 0, entries: Buffer.alloc(COMPLETION_BYTES) }],
    ['completions of an unknown queue', { type: 'completions', lease: 1, queue: 3, entries: Buffer.alloc(COMPLETION_BYTES) }],
    ['completions that are no binary', { type: 'completions', lease: 1, queue: 0, entries: 'text' }],
    ['no completions', { type: 'completions', lease: 1, queue: 0, entries: Buffer.alloc(0) }],
    ['half a completion', { type: 'completions', lease: 1, queue: 0, entries: Buffer.alloc(48) }],
    ['more completions than requests', { type: 'completions', lease: 1, queue: 0, entries: Buffer.alloc(2 * COMPLETION_BYTES) }],
    ['a completion of an unknown tag', { type: 'completions', lease: 1, queue: 0, entries: Buffer.alloc(COMPLETION_BYTES, 0xff) }],
  ])('ends the connection: %s', async (_name, message) => {
    const disk = (await client.openDevice('nvme0')).share();
    let submitted: Submitted | undefined;
    server.onSubmit = (arrived) => {
      submitted = arrived;
    };
    const request = errorOf(disk.read(0, 512));
    await until(() => submitted !== undefined);
    server.connection.send(message);
    const error = await request;
    expect(error).toBeInstanceOf(ConnectionError);
    expect(error.severity).toBe('fault');
    expect(client.connected).toBe(false);
  });

  it.each<[string, (submitted: Submitted) => Fields]>([
    ['a read without data', (submitted) => ({ entries: completion(tagOf(submitted), 0, 512) })],
    ['a read with too few data', (submitted) => ({ entries: completion(tagOf(submitted), 0, 512), data: Buffer.alloc(511) })],
    ['a read with too many data', (submitted) => ({ entries: completion(tagOf(submitted), 0, 512), data: Buffer.alloc(513) })],
    ['a read of another length', (submitted) => ({ entries: completion(tagOf(submitted), 0, 256), data: Buffer.alloc(256) })],
    ['a refused read with data', (submitted) => ({ entries: completion(tagOf(submitted), Code.timeout), data: Buffer.alloc(512) })],
    ['data that are no binary', (submitted) => ({ entries: completion(tagOf(submitted), 0, 512), data: 7 })],
    ['an unknown code', (submitted) => ({ entries: completion(tagOf(submitted), 250) })],
    ['a tag of another sequence', (submitted) => ({ entries: completion([tagOf(submitted)[0], tagOf(submitted)[1] + 1], 0) })],
  ])('ends the connection: %s', async (_name, make) => {
    const disk = (await client.openDevice('nvme0')).share();
    server.onSubmit = (submitted, connection) => connection.send({ type: 'completions', lease: 1, queue: 0, ...make(submitted) });
    const error = await errorOf(disk.read(0, 512));
    expect(error).toBeInstanceOf(ConnectionError);
    expect(error).toMatchObject({ code: 'malformedAnswer' });
    expect(client.connected).toBe(false);
  });

  it('ends the connection: a completion twice', async () => {
    const disk = (await client.openDevice('nvme0')).share();
    server.onSubmit = (submitted, connection) => {
      connection.complete({ ...submitted, entries: submitted.entries.slice(0, 1) });
      connection.complete({ ...submitted, entries: submitted.entries.slice(0, 1) });
    };
    const [, second] = await Promise.allSettled([disk.flush(), disk.flush()]);
    expect(second).toMatchObject({ status: 'rejected', reason: { code: 'malformedAnswer' } });
  });

  it.each<[string, string | Buffer]>([
    ['text', 'hello'],
    ['bytes that are not msgpack', Buffer.from([0xc1])],
    ['a message that is cut', Buffer.from([0x82, 0xa4, 0x74])],
    ['a list', Buffer.from([0x90])],
    ['nothing', Buffer.alloc(0)],
  ])('ends the connection: %s', async (_name, data) => {
    server.script('ping', (_message, connection) => {
      connection.socket.send(data);
      return null;
    });
    expect(await errorOf(client.ping())).toMatchObject({ code: 'malformedAnswer' });
  });

  it.each<[string, string, Fields, (client: Client) => Promise<unknown>]>([
    ['a list of devices', 'listDevices', { devices: 'none' }, (each) => each.listDevices()],
    ['a device', 'listDevices', { devices: [{ name: 'x' }] }, (each) => each.listDevices()],
    ['a state', 'deviceState', { name: 'x', class: 'nvme', state: 'odd', free: true, heldBy: [], shares: [] }, (each) => each.deviceState('x')],
    [
      'a share',
      'deviceState',
      { name: 'x', class: 'nvme', state: 'open', free: true, heldBy: [], shares: [{ ...share(0, 'a', 2 ** 53, 512) }] },
      (each) => each.deviceState('x'),
    ],
    ['a domain', 'setDomain', { domain: 1.5, pinLimit: 0 }, (each) => each.domain()],
    ['a lease', 'openDevice', { lease: 1 }, (each) => each.openDevice('nvme0')],
    ['a queue', 'openQueue', { queue: 0, entries: 0 }, (each) => each.openDevice('nvme0')],
    ['a region', 'mapMemory', { region: 0, bytes: 4096 }, (each) => each.allocate(1)],
    ['a free flag', 'deviceState', { name: 'x', class: 'nvme', state: 'open', free: 1, heldBy: [], shares: [] }, (each) => each.deviceState('x')],
    ['read memory', 'readMemory', { data: Buffer.alloc(3) }, async (each) => (await each.allocate(4_096)).read(0, 4)],
    ['a generation', 'resetLease', { generation: -1 }, async (each) => (await each.openDevice('nvme0')).reset()],
  ])('ends the connection: a wrong answer for %s', async (_name, type, answer, ask) => {
    server.script(type, () => answer);
    expect(await errorOf(ask(client))).toMatchObject({ code: 'malformedAnswer', severity: 'fault' });
    expect(client.connected).toBe(false);
  });

  it('ends the connection: a wrong answer to hello', async () => {
    server.script('hello', () => ({ session: 1, tenant: 'a', server: 'b', isolation: 'uid', limits: {} }));
    expect(await errorOf(connect({ socket: server.path }))).toMatchObject({ code: 'malformedAnswer' });
  });

  it('ends the connection: something before the answer to hello', async () => {
    server.script('hello', (_message, connection) => {
      connection.send({ type: 'completions', lease: 1, queue: 0, entries: Buffer.alloc(32) });
      return null;
    });
    expect(await errorOf(connect({ socket: server.path }))).toMatchObject({ code: 'malformedAnswer' });
  });
});
