/** Clients that do not read, that flood, that say nothing: none of them costs the others or the server more than its limits. */
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { Code } from '../../../src/protocol/index.js';
import { parse, text } from '../config/support.js';
import { type Client, type ReadyClient, World, entries, submit, until } from './world.js';

const MIB = 1_048_576;
let world: World;
afterEach(() => world.end());

/** Stops the client from reading, as far as its own process is concerned. */
const stopReading = (client: Client): void => client.socket.pause();

const statusOf = (session: number) => world.sessions.list().find((status) => status.session === session);

describe('a client that does not read', () => {
  it('is read from no more, and served again when it reads', async () => {
    world = await World.create({ limits: { sendPauseBytes: 4 * MIB } });
    const slow = await world.session();
    await slow.call('setDomain');
    const { region } = await slow.call('mapMemory', { bytes: 2 * MIB });
    stopReading(slow);
    const ids = Array.from({ length: 100 }, () => slow.ask('readMemory', { region, offset: 0, length: 2 * MIB }));
    await until(() => (statusOf(1)?.waitingBytes ?? 0) > 4 * MIB);
    const other = await world.session('bob');
    for (let round = 0; round < 20; round++) await other.call('ping');
    // Two hundred megabytes were asked for: what waits is the limit and one answer.
    expect(statusOf(1)?.waitingBytes).toBeLessThan(7 * MIB);
    slow.socket.resume();
    for (const id of ids) expect(((await slow.answer(id))['data'] as Uint8Array).length).toBe(2 * MIB);
    await until(() => statusOf(1)?.waitingBytes === 0);
  });

  it('gets no completions that it has no room for: they stay in the ring', async () => {
    world = await World.create({ limits: { sendPauseBytes: 64 * 1_024 } });
    const slow = await world.ready('alice', 1_024);
    stopReading(slow);
    const requests = Array.from({ length: 256 }, (_, tag) => ({ tag: BigInt(tag), blocks: 8, length: 4_096 }));
    submit(slow, entries(slow, ...requests));
    const channel = (): number | undefined => world.engine.leases.get(slow.lease)?.channels.get(slow.queue)?.untaken;
    await until(() => channel() === 0 && (statusOf(1)?.waitingBytes ?? 0) > 64 * 1_024);
    submit(slow, entries(slow, ...requests.slice(0, 100)));
    for (let round = 0; round < 4; round++) slow.ask('ping', {});
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(statusOf(1)?.waitingBytes).toBeLessThan(1.2 * MIB);
    slow.socket.resume();
    const { completions, data } = await slow.completions(356);
    expect(completions.every(({ code }) => code === Code.ok)).toBe(true);
    expect(data.length).toBe(356 * 4_096);
  });

  it('gets one interrupt event for all that fired meanwhile', async () => {
    world = await World.create({ limits: { sendPauseBytes: 64 * 1_024 } });
    const slow = await world.ready();
    await slow.call('bindVector', { lease: slow.lease, vector: 2, enable: true });
    const { region } = await slow.call('mapMemory', { bytes: 2 * MIB });
    stopReading(slow);
    slow.ask('readMemory', { region, offset: 0, length: 2 * MIB });
    await until(() => (statusOf(1)?.waitingBytes ?? 0) > 64 * 1_024);
    for (let count = 0; count < 100_000; count++) world.engine.emit('interrupt', slow.lease, 2, 1);
    expect(statusOf(1)?.waitingBytes).toBeLessThan(3 * MIB);
    slow.socket.resume();
    expect(await slow.event('interrupt')).toMatchObject({ vector: 2, count: 100_000 });
  });

  it('is given up when events pile up all the same', async () => {
    world = await World.create({ limits: { sendPauseBytes: 64 * 1_024, sendCloseBytes: 3 * MIB } });
    const slow = await world.ready();
    const other = await world.ready('bob');
    const { region } = await slow.call('mapMemory', { bytes: 2 * MIB });
    stopReading(slow);
    slow.ask('readMemory', { region, offset: 0, length: 2 * MIB });
    await until(() => (statusOf(1)?.waitingBytes ?? 0) > 64 * 1_024);
    for (let count = 0; count < 10_000; count++) world.engine.emit('namespaceChanged', slow.lease, 0);
    expect(world.audit.at(-1)).toMatchObject({ code: 'tooManyMessages', tenant: 'alice' });
    await until(() => world.engine.leases.size === 1);
    await other.call('resetLease', { lease: other.lease });
  });
});

describe('a client that floods', () => {
  it('with control messages is ended, and nobody else is', async () => {
    world = await World.create({ tenants: { alice: { limits: { messagesPerSecond: 20 } }, bob: {} } });
    const flood = await world.session();
    const other = await world.session('bob');
    for (let count = 0; count < 250; count++) flood.ask('ping', {});
    expect(await flood.closed).toBe(1_008);
    const { name, id } = await flood.error();
    expect(name).toBe('tooManyMessages');
    // Ten seconds' worth in a burst after hello, and what a slow machine earned meanwhile.
    expect(id).toBeGreaterThan(201);
    expect(id).toBeLessThan(251);
    await other.call('ping');
  });

  it('with submits that are refused is ended as well', async () => {
    world = await World.create({ tenants: { alice: { limits: { messagesPerSecond: 20 } } } });
    const flood = await world.ready();
    for (let count = 0; count < 250; count++) submit(flood, entries(flood, { region: 1 }));
    expect(await flood.closed).toBe(1_008);
    const errors = flood.received.filter(({ type }) => type === 'error');
    expect(errors.at(-1)).toMatchObject({ name: 'tooManyMessages', submit: errors.length });
  });

  it.each([
    ['before hello', false],
    ['with ids that are none', true],
  ])('%s is ended as well', async (_what, hello) => {
    world = await World.create({ tenants: { alice: { limits: { messagesPerSecond: 1 } } } });
    const flood = hello ? await world.session() : await world.connect();
    for (let count = 0; count < 20; count++) flood.send({ type: 'hello', id: NaN, version: 1 });
    expect(await flood.closed).toBe(1_008);
    expect(flood.received.at(-1)).toMatchObject({ name: 'tooManyMessages' });
    expect(flood.received.length).toBeLessThan(14);
  });

  it('with good submits is slowed by its ring only', async () => {
    world = await World.create({ tenants: { alice: { limits: { messagesPerSecond: 1 } } } });
    const busy: ReadyClient = await world.ready();
    for (let count = 0; count < 300; count++) {
      submit(busy, entries(busy, {}));
      await busy.completions(1);
    }
  });

  it('with requests that take long is read from no more, and all are answered', async () => {
    world = await World.create();
    const client = await world.session();
    await client.call('setDomain');
    let release = (): void => undefined;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const report = world.engine.report.bind(world.engine);
    world.engine.report = async () => {
      await gate;
      return report();
    };
    const ids = Array.from({ length: 300 }, () => client.ask('deviceState', { device: 'nvme0' }));
    await (await world.session('bob')).call('ping');
    release();
    for (const id of ids) await client.answer(id);
  });
});

describe('connections', () => {
  it('that do not say hello in time are ended', async () => {
    world = await World.create({ limits: { helloMilliseconds: 50 } });
    const silent = await world.connect();
    const raw = connect(world.path);
    const rawClosed = new Promise((resolve) => raw.once('close', resolve));
    const half = connect(world.path);
    const halfClosed = new Promise((resolve) => half.once('close', resolve));
    half.write('GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ');
    const good = await world.session();
    await Promise.all([silent.closed, rawClosed, halfClosed]);
    await good.call('ping');
    expect(world.sessions.gate.counts).toEqual({ connections: 1, unauthenticated: 0 });
  });

  it('are limited, and told so', async () => {
    world = await World.create({ limits: { connections: 3 } });
    const clients = [await world.session(), await world.session(), await world.session()];
    const one = await world.connect();
    expect(await one.error()).toMatchObject({ name: 'connectionLimit' });
    expect(await one.closed).toBe(1_013);
    clients[0].socket.terminate();
    await until(() => world.sessions.gate.counts.connections === 2);
    await world.session();
  });

  it('of a hundred clients at once are all let in, with the limits that are the default', async () => {
    world = await World.create({ limits: parse(text()).limits });
    // All are connected before the first one says hello.
    const clients = await Promise.all(Array.from({ length: 100 }, () => world.connect()));
    expect(world.sessions.gate.counts).toEqual({ connections: 100, unauthenticated: 100 });
    await Promise.all(clients.slice(0, 50).map((client) => client.call('hello', { version: 1, tenant: 'alice' })));
    await Promise.all(clients.slice(50).map((client) => client.call('hello', { version: 1, tenant: 'bob' })));
    expect(world.sessions.gate.counts).toEqual({ connections: 100, unauthenticated: 0 });
  });

  it('that send much before hello are ended, and none of it is kept', async () => {
    world = await World.create();
    const stranger = await world.connect();
    stranger.sendBytes(Buffer.alloc(MIB));
    expect(await stranger.error()).toMatchObject({ name: 'messageTooLarge', field: 'messageBytes', value: '65536' });
    expect(await stranger.closed).toBe(1_009);
    expect(world.audit).toMatchObject([{ code: 'messageTooLarge', tenant: '' }]);
    await until(() => world.sessions.gate.counts.connections === 0);
    const known = await world.session();
    await known.call('setDomain');
    const { region } = await known.call('mapMemory', { bytes: MIB });
    await known.call('writeMemory', { region, offset: 0, data: Buffer.alloc(MIB) });
  });

  it('that are turned away cost little, however many they are', async () => {
    world = await World.create({ limits: { connections: 1 } });
    await world.session();
    const flood = Array.from({ length: 100 }, () => connect(world.path).on('error', () => undefined));
    await Promise.all(flood.map((socket) => new Promise((resolve) => socket.once('close', resolve))));
    expect(world.sessions.gate.counts).toEqual({ connections: 1, unauthenticated: 0 });
  });

  it('of one tenant are limited', async () => {
    world = await World.create({ tenants: { alice: { limits: { sessions: 2 } }, bob: {} } });
    const one = await world.session();
    await world.session();
    const third = await world.connect();
    await expect(third.call('hello', { version: 1, tenant: 'alice' })).rejects.toMatchObject({ fields: { name: 'sessionLimit' } });
    expect(await third.closed).toBe(1_008);
    await world.session('bob');
    one.socket.close();
    await until(() => world.sessions.count === 2);
    await world.session();
  });

  it('that answer no ping are ended', async () => {
    world = await World.create({ limits: { keepaliveMilliseconds: 100 } });
    const client = await world.session();
    await new Promise((resolve) => setTimeout(resolve, 300));
    await client.call('ping');
    // Stopped for good: neither reads nor answers.
    client.socket.pause();
    await until(() => world.sessions.count === 0);
  });
});
