import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Client, connect, ConnectionError, type DeviceEvent, RefusedError } from '../../../src/client/index.js';
import { Code, COMPLETION_BYTES } from '../../../src/protocol/index.js';
import { type Fields, ScriptedServer, share, type Submitted } from './scripted-server.js';
import { bytes, errorOf, until } from './settled.js';

let server: ScriptedServer;
let client: Client;

beforeEach(async () => {
  server = await ScriptedServer.start();
  client = await connect({ socket: server.path });
});

afterEach(async () => {
  await client.close();
  await server.stop();
});

const answered = (message: Fields, fields: Fields): Fields => ({ type: 'answer', id: message['id'], ...fields });

describe('devices', () => {
  it('are listed and looked at', async () => {
    const [device] = await client.listDevices();
    expect(device).toEqual({ name: 'nvme0', class: 'nvme', state: 'open', free: true, heldBy: [], shares: server.shares });
    expect(await client.deviceState('nvme0', { wait: true })).toEqual(device);
    expect(server.messages('deviceState')[0]).toMatchObject({ device: 'nvme0', wait: true });
  });

  it('are opened after the domain, which is set once', async () => {
    const [first, second] = await Promise.all([
      client.openDevice('nvme0', { mode: 'exclusive', queues: 'own', queueEntries: 8 }),
      client.openDevice('nvme0'),
    ]);
    await client.allocate(1);
    expect(server.received.map(({ type }) => type)).toEqual([
      'hello',
      'setDomain',
      'openDevice',
      'openDevice',
      'openQueue',
      'openQueue',
      'mapMemory',
    ]);
    expect(server.messages('openDevice').map(({ mode, queues }) => [mode, queues])).toEqual([
      ['exclusive', 'own'],
      ['shared', 'shared'],
    ]);
    expect(server.messages('openQueue').map(({ entries }) => entries)).toEqual([8, 256]);
    expect([first.lease, second.lease]).toEqual([1, 2]);
    expect(first).toMatchObject({ name: 'nvme0', mode: 'exclusive', queues: 'own', vectors: 2, depth: 8, generation: 1, active: true });
    expect(first.queue.hardware.kind).toBe('shared');
    expect(first.shares).toEqual(server.shares);
    expect(await client.domain()).toBe(3);
  });

  it('join the domain that connect named', async () => {
    const sibling = await connect({ socket: server.path, domain: 42 });
    expect(await sibling.domain()).toBe(42);
    expect(server.messages('setDomain')[0]).toMatchObject({ domain: 42 });
    await sibling.close();
  });

  it('can be opened after a first try was refused', async () => {
    server.script('setDomain', (message, connection) => {
      connection.refuse(Number(message['id']), 'draining');
      server.scripts.delete('setDomain');
      return null;
    });
    expect(await errorOf(client.openDevice('nvme0'))).toMatchObject({ code: 'draining' });
    expect((await client.openDevice('nvme0')).active).toBe(true);
  });

  it('refuse a queue of a size that no ring has', async () => {
    for (const queueEntries of [0, 1, 3, 512, 2.5, Number.NaN]) {
      expect(await errorOf(client.openDevice('nvme0', { queueEntries }))).toMatchObject({ code: 'invalidArgument', field: 'queueEntries' });
    }
    expect(server.messages('openDevice').length).toBe(0);
  });

  it('are given back when their queue is refused', async () => {
    server.script('openQueue', (message, connection) => {
      connection.refuse(Number(message['id']), 'queueLimit');
      return null;
    });
    expect(await errorOf(client.openDevice('nvme0'))).toMatchObject({ code: 'queueLimit' });
    await until(() => server.messages('closeDevice').length === 1);
    expect(server.messages('closeDevice')[0]).toMatchObject({ lease: 1 });
  });

  it('and memory that nobody waits for any more are given back', async () => {
    for (const [type, undo] of [
      ['openDevice', 'closeDevice'],
      ['openQueue', 'closeDevice'],
      ['mapMemory', 'unmapMemory'],
    ]) {
      let release: (() => void) | undefined;
      server.script(type, () => {
        server.scripts.delete(type);
        release = () => undefined;
        return null;
      });
      const abort = new AbortController();
      const before = server.messages(undo).length;
      const opening = type === 'mapMemory' ? client.allocate(1, { signal: abort.signal }) : client.openDevice('nvme0', { signal: abort.signal });
      const failure = errorOf(opening);
      await until(() => release !== undefined);
      abort.abort();
      expect((await failure).name).toBe('AbortError');
      if (type !== 'openQueue') {
        const last = server.messages(type)[0];
        const late =
          type === 'mapMemory'
            ? { region: 5, bytes: 4_096 }
            : { lease: 9, generation: 1, device: 'nvme0', mode: 'shared', queues: 'shared', shares: [], vectors: 0, maxInFlight: 1 };
        server.connection.send(answered(last, late));
      }
      await until(() => server.messages(undo).length === before + 1);
    }
  });

  it('are closed once, with what is in flight ended', async () => {
    const device = await client.openDevice('nvme0');
    const disk = device.share();
    let held: Submitted | undefined;
    server.onSubmit = (submitted) => {
      held = submitted;
    };
    const inFlight = errorOf(disk.flush());
    await until(() => held !== undefined);
    const closing = device.close();
    const late = errorOf(disk.flush());
    await Promise.all([closing, device.close(), device[Symbol.asyncDispose]()]);
    expect(await inFlight).toMatchObject({ code: 'closed' });
    expect(await late).toMatchObject({ code: 'closed' });
    expect(await errorOf(disk.flush())).toBeInstanceOf(RefusedError);
    expect(server.messages('closeDevice').length).toBe(1);
    expect(device.active).toBe(false);
    if (held !== undefined) server.connection.complete(held);
    await client.ping();
    expect(client.connected).toBe(true);
  });
});

describe('events', () => {
  const take = async (events: AsyncIterable<DeviceEvent>, count: number): Promise<DeviceEvent[]> => {
    const taken: DeviceEvent[] = [];
    for await (const event of events) {
      taken.push(event);
      if (taken.length === count) break;
    }
    return taken;
  };

  it('of a lease are iterated in their order', async () => {
    const device = await client.openDevice('nvme0');
    const other = await client.openDevice('nvme0');
    const events = device.events();
    const others = other.events();
    await device.bindVector(1);
    await device.unbindVector(1);
    expect(server.messages('bindVector').map(({ vector, enable }) => [vector, enable])).toEqual([
      [1, true],
      [1, false],
    ]);
    const { connection } = server;
    connection.event('interrupt', { lease: device.lease, vector: 1, count: 3 });
    connection.event('namespaceChanged', { lease: device.lease, share: 0 });
    connection.event('reset', { lease: device.lease, generation: 4, reason: 'asked for' });
    connection.event('deviceLost', { device: 'nvme0', lease: device.lease, reason: 'unplugged' });
    connection.event('deviceRestored', { device: 'nvme0', lease: device.lease, generation: 6 });
    connection.event('draining', { milliseconds: 500 });
    expect(await take(events, 6)).toEqual([
      { type: 'interrupt', vector: 1, count: 3 },
      { type: 'namespaceChanged', share: 0 },
      { type: 'reset', generation: 4, reason: 'asked for' },
      { type: 'deviceLost', reason: 'unplugged' },
      { type: 'deviceRestored', generation: 6 },
      { type: 'draining', milliseconds: 500 },
    ]);
    expect(device.generation).toBe(6);
    expect(await take(others, 1)).toEqual([{ type: 'draining', milliseconds: 500 }]);
    expect((await events.next()).done).toBe(true);
  });

  it('tell of completions only when asked to', async () => {
    const device = await client.openDevice('nvme0');
    const plain = device.events();
    const events = device.events({ completions: true });
    server.onSubmit = (submitted, connection) => connection.complete(submitted, (entry) => (entry.operation === 1 ? { code: Code.timeout } : {}));
    await device.share().write(512, bytes(1_024));
    await errorOf(device.share().read(0, 512));
    await device.share().flush();
    expect(await take(events, 3)).toEqual([
      { type: 'completion', operation: 'write', share: 0, lba: 1, blocks: 2, code: 0 },
      { type: 'completion', operation: 'read', share: 0, lba: 0, blocks: 1, code: Code.timeout },
      { type: 'completion', operation: 'flush', share: 0, lba: 0, blocks: 0, code: 0 },
    ]);
    server.connection.event('draining', { milliseconds: 1 });
    expect(await take(plain, 1)).toEqual([{ type: 'draining', milliseconds: 1 }]);
  });

  it('that nobody takes are dropped, the oldest first, and counted', async () => {
    const device = await client.openDevice('nvme0');
    const events = device.events({ capacity: 3 });
    for (let count = 1; count <= 10; count++) server.connection.event('interrupt', { lease: 1, vector: 0, count });
    await client.ping();
    expect(await take(events, 4)).toEqual([
      { type: 'dropped', count: 7 },
      { type: 'interrupt', vector: 0, count: 8 },
      { type: 'interrupt', vector: 0, count: 9 },
      { type: 'interrupt', vector: 0, count: 10 },
    ]);
    for (const capacity of [0, 1.5, 2_000_000]) expect(() => device.events({ capacity })).toThrow(RefusedError);
  });

  it('end with a revoked lease, whose requests are rejected with the reason', async () => {
    const device = await client.openDevice('nvme0');
    const events = device.events();
    let held: Submitted | undefined;
    server.onSubmit = (submitted) => {
      held = submitted;
    };
    const request = errorOf(device.share().flush());
    await until(() => held !== undefined);
    server.connection.event('revoked', { lease: 1, reason: 'the grant was taken away' });
    expect(await request).toMatchObject({ code: 'revoked', number: Code.revoked });
    expect((await request).message).toContain('the grant was taken away');
    const all: DeviceEvent[] = [];
    for await (const event of events) all.push(event);
    expect(all).toEqual([{ type: 'revoked', reason: 'the grant was taken away' }]);
    expect(device.active).toBe(false);
    expect((await device.events().next()).done).toBe(true);
    await device.close();
    // What crossed the end of the lease means nothing any more.
    if (held !== undefined) server.connection.complete(held);
    server.connection.send({
      type: 'error',
      id: 0,
      code: Code.unknownLease,
      name: 'unknownLease',
      field: 'lease',
      value: '1',
      message: '',
      submit: 1,
    });
    server.connection.event('interrupt', { lease: 1, vector: 0, count: 1 });
    await client.ping();
    expect(server.messages('closeDevice').length).toBe(0);
  });

  it('that come before the queue is open are kept', async () => {
    server.script('openQueue', (_message, connection) => {
      connection.event('reset', { lease: 1, generation: 8, reason: 'early' });
      return undefined;
    });
    const device = await client.openDevice('nvme0');
    expect(device.generation).toBe(8);
  });

  it('right behind the answer that opens a lease find it', async () => {
    const device = client.openDevice('nvme0').then((opened) => ({ opened, events: opened.events() }));
    await until(() => server.messages('openQueue').length === 1);
    const { opened } = await device;
    expect(opened.generation).toBe(1);
  });

  it('of the connection are for the client', async () => {
    const events = client.events();
    server.connection.event('holderGone', { device: 'nvme0' });
    server.connection.event('draining', { milliseconds: 3 });
    expect((await events.next()).value).toEqual({ type: 'holderGone', device: 'nvme0' });
    expect((await events.next()).value).toEqual({ type: 'draining', milliseconds: 3 });
    await client.close();
    expect((await events.next()).done).toBe(true);
    expect((await client.events().next()).done).toBe(true);
  });

  it('stop with their signal, and with a lost connection after what they hold', async () => {
    const device = await client.openDevice('nvme0');
    const abort = new AbortController();
    const aborted = device.events({ signal: abort.signal });
    const waiting = errorOf(aborted.next());
    abort.abort(new Error('enough'));
    expect((await waiting).message).toBe('enough');
    expect((await aborted.next()).done).toBe(true);
    const events = device.events();
    server.connection.event('interrupt', { lease: 1, vector: 0, count: 1 });
    await client.ping();
    server.connection.socket.terminate();
    await until(() => !client.connected);
    expect((await events.next()).value).toMatchObject({ type: 'interrupt' });
    expect(await errorOf(events.next())).toBeInstanceOf(ConnectionError);
    expect((await events.next()).done).toBe(true);
    expect(await errorOf(device.events().next())).toBeInstanceOf(ConnectionError);
  });
});

describe('the end of the connection', () => {
  it('rejects everything that waits, and everything after it', async () => {
    const device = await client.openDevice('nvme0');
    const disk = device.share();
    const region = await client.allocate(4_096);
    server.onSubmit = () => undefined;
    server.script('ping', () => null);
    const waiting = [disk.flush(), disk.read(0, 512), client.ping(), disk.batch().submit()].map((promise) =>
      promise.then(
        () => 'ok',
        (error: unknown) => error,
      ),
    );
    await until(() => server.messages('submit').length === 1 && server.messages('ping').length === 1);
    server.connection.socket.terminate();
    const ends = await Promise.all(waiting);
    expect(ends[3]).toBe('ok');
    for (const end of ends.slice(0, 3)) expect(end).toBeInstanceOf(ConnectionError);
    for (const promise of [disk.flush(), client.listDevices(), region.read(0, 1), device.reset(), client.openDevice('nvme0')]) {
      expect(await errorOf(promise)).toMatchObject({ code: 'connectionClosed' });
    }
    await region.close();
    await device.close();
    await client.close();
  });

  it('by close of this program says so', async () => {
    const disk = (await client.openDevice('nvme0')).share();
    server.onSubmit = () => undefined;
    const request = errorOf(disk.flush());
    await until(() => server.messages('submit').length === 1);
    await client.close();
    expect(await request).toMatchObject({ code: 'connectionClosed' });
    expect((await request).message).toContain('closed by this program');
    await until(() => server.connection.socket.readyState === server.connection.socket.CLOSED);
  });

  it('after a fault carries the fault', async () => {
    server.script('ping', () => null);
    const waiting = errorOf(client.ping());
    await until(() => server.messages('ping').length === 1);
    server.connection.send({ type: 'error', id: 0, code: Code.tooManyMessages, name: 'tooManyMessages', field: '', value: '', message: 'x' });
    const error = await waiting;
    expect(error).toBeInstanceOf(ConnectionError);
    expect(error).toMatchObject({ severity: 'fault', cause: { code: 'tooManyMessages' } });
    expect(error.message).toContain('too many answers');
  });

  it('is not brought about by a refusal', async () => {
    server.script('resetLease', (message, connection) => {
      connection.refuse(Number(message['id']), 'outOfRange', 'lease', '9');
      return null;
    });
    const device = await client.openDevice('nvme0');
    expect(await errorOf(device.reset())).toMatchObject({ code: 'outOfRange', field: 'lease', value: '9', severity: 'refuse' });
    expect(await errorOf(device.bindVector(2))).toMatchObject({ code: 'unknownVector', value: '2' });
    await client.ping();
  });
});

describe('a submit that is refused as a whole', () => {
  it('ends the requests that went with it, and no others', async () => {
    const device = await client.openDevice('nvme0');
    const disk = device.share();
    const held: Submitted[] = [];
    server.onSubmit = (submitted) => held.push(submitted);
    const first = disk.flush();
    await until(() => held.length === 1);
    const second = [disk.read(0, 512), disk.flush()].map(errorOf);
    await until(() => held.length === 2);
    server.connection.send({
      type: 'error',
      id: 0,
      code: Code.stagingFull,
      name: 'stagingFull',
      field: 'length',
      value: '512',
      message: '',
      submit: 2,
    });
    for (const failure of second) expect(await failure).toMatchObject({ code: 'stagingFull', field: 'length', value: '512' });
    expect(device.inFlight).toBe(1);
    server.connection.complete(held[0]);
    await first;
    expect(device.inFlight).toBe(0);
    server.onSubmit = (submitted, connection) => connection.complete(submitted);
    await disk.read(0, 512);
  });
});

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
