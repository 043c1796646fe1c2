/** How sessions end, and that nothing of them is left. */
import { readdirSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Refusal } from '../../../src/server/engine/api.js';
import { type ReadyClient, World, entries, submit, until } from './world.js';

let world: World;
beforeEach(async () => {
  world = await World.create();
});
afterEach(() => world.end());

const descriptors = (): number => readdirSync('/proc/self/fd').length;

const nothingIsLeft = (): void => {
  expect(world.engine.leases.size).toBe(0);
  expect(world.engine.regions.size).toBe(0);
  expect(world.sessions.list()).toEqual([]);
  expect(world.sessions.domains.count).toBe(0);
  expect(world.sessions.domains.quarantineBytes).toBe(0);
  expect(world.sessions.domains.pins.pinned('alice')).toBe(0);
  expect(world.sessions.gate.counts).toEqual({ connections: 0, unauthenticated: 0 });
};

it('200 sessions that end in every way leave nothing behind, and another notices nothing', async () => {
  const witness = await world.ready('bob');
  submit(witness, entries(witness, {}));
  await witness.completions(1);
  const before = { descriptors: descriptors(), leases: world.engine.leases.size, regions: world.engine.regions.size };
  const ways: ((client: ReadyClient) => void)[] = [
    (client) => client.socket.terminate(),
    (client) => client.socket.close(),
    (client) => client.sendBytes('text'),
    (client) => client.ask('unsetDomain', {}),
    (client) => client.ask('closeDevice', { lease: client.lease }),
    (client) => {
      client.ask('openDevice', { device: 'nvme0', mode: 'shared', queues: 'own' });
      client.ask('mapMemory', { bytes: 65_536 });
      client.socket.terminate();
    },
  ];
  for (let round = 0; round < 200; round++) {
    const client = await world.ready();
    await client.call('mapMemory', { bytes: 8_192 });
    world.engine.holding = round % 3 === 0;
    submit(client, entries(client, {}, {}, {}));
    if (!world.engine.holding) await client.completions(3);
    ways[round % ways.length](client);
    if (round % 2 === 0) client.socket.terminate();
    else client.socket.close();
    world.engine.holding = false;
    submit(witness, entries(witness, { tag: BigInt(round) }));
    expect((await witness.completions(1)).completions).toMatchObject([{ tag: BigInt(round), code: 0 }]);
  }
  await until(() => world.sessions.list().length === 1);
  await until(() => descriptors() <= before.descriptors);
  expect({ descriptors: descriptors(), leases: world.engine.leases.size, regions: world.engine.regions.size }).toEqual(before);
  expect(world.sessions.domains.pins.pinned('alice')).toBe(0);
});

describe('the end of a session', () => {
  it('does every step whatever fails before it', async () => {
    const client = await world.ready();
    await client.call('mapMemory', { bytes: 4_096 });
    world.engine.failing.set('closeLease', new Error('the thread is gone'));
    client.socket.terminate();
    await until(() => world.sessions.list().length === 0);
    expect(world.engine.regions.size).toBe(0);
    expect(world.sessions.domains.pins.pinned('alice')).toBe(0);
    expect(world.engine.calls.some((call) => call === `closeLease ${client.lease} closed with status 1006`)).toBe(true);
  });

  it('waits for what is being made, and takes that down as well', async () => {
    const client = await world.session();
    await client.call('setDomain');
    let open = (): void => undefined;
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const openLease = world.engine.openLease.bind(world.engine);
    world.engine.openLease = async (request) => {
      await gate;
      return openLease(request);
    };
    client.ask('openDevice', { device: 'nvme0', mode: 'shared', queues: 'own' });
    await until(() => world.sessions.list()[0]?.domain !== undefined);
    client.socket.terminate();
    await until(() => world.sessions.count === 0);
    expect(world.sessions.list()).toMatchObject([{ ending: true }]);
    open();
    await until(() => world.sessions.list().length === 0);
    nothingIsLeft();
  });

  it('comes at the word of the administrator', async () => {
    const one = await world.ready();
    const two = await world.ready('bob');
    expect(world.sessions.end({ tenant: 'alice' }, 'asked to leave')).toBe(1);
    await one.closed;
    expect(world.sessions.end({ session: 2 }, 'asked to leave')).toBe(1);
    await two.closed;
    await until(() => world.sessions.list().length === 0);
    nothingIsLeft();
  });

  it('after an error that nobody expected says nothing about the server', async () => {
    const client = await world.ready();
    world.engine.failing.set('openQueue', new TypeError('/home/server/secret.ts: x is undefined'));
    client.ask('openQueue', { lease: client.lease, entries: 2 });
    const message = await client.next(({ type }) => type === 'error');
    expect(message).toMatchObject({ name: 'internal', field: '', value: '' });
    expect(JSON.stringify(message)).not.toContain('secret');
    expect(await client.closed).toBe(1_011);
  });

  it('does not come when a device fails in the middle of a request', async () => {
    const client = await world.ready();
    world.engine.failing.set('openQueue', Object.assign(new Error('no answer within 5000 ms'), { name: 'HardwareError' }));
    expect(await client.refusal('openQueue', { lease: client.lease, entries: 2 })).toEqual({ name: 'deviceLost', field: '', value: '' });
    world.engine.failing.set('openQueue', new Refusal('noFreeQueue', 'queues', 'own'));
    expect(await client.refusal('openQueue', { lease: client.lease, entries: 2 })).toEqual({ name: 'noFreeQueue', field: 'queues', value: 'own' });
  });
});

describe('the end of the server', () => {
  it('lets what is under way end, refuses what is new, and closes everything', async () => {
    const client = await world.ready();
    const idle = await world.session('bob');
    world.engine.holding = true;
    submit(client, entries(client, { tag: 5n }));
    await until(() => world.engine.leases.get(client.lease)?.channels.get(client.queue)?.inFlight.length === 1);
    let drained = false;
    const drain = world.sessions.drain(10_000).then(() => {
      drained = true;
    });
    expect(await idle.event('draining')).toMatchObject({ milliseconds: 10_000 });
    for (const [type, fields] of [
      ['setDomain', {}],
      ['mapMemory', { bytes: 4_096 }],
      ['openQueue', { lease: client.lease, entries: 2 }],
      ['openDevice', { device: 'nvme0', mode: 'shared', queues: 'own' }],
    ] as const) {
      expect(await client.refusal(type, fields)).toMatchObject({ name: 'draining' });
    }
    submit(client, entries(client, {}));
    expect(await client.error()).toMatchObject({ name: 'draining', submit: 2 });
    const late = await world.connect();
    await expect(late.call('hello', { version: 1, tenant: 'bob' })).rejects.toMatchObject({ fields: { name: 'draining' } });
    expect(await late.closed).toBe(1_013);
    await client.call('ping');
    expect(drained).toBe(false);
    world.engine.work();
    expect((await client.completions(1)).completions).toMatchObject([{ tag: 5n, code: 0 }]);
    expect(await client.closed).toBe(1_001);
    await idle.closed;
    await drain;
    nothingIsLeft();
  });

  it('takes what crossed the message that tells of it', async () => {
    const client = await world.ready();
    // Neither reads nor answers: what it sends, it sent before it knew.
    client.socket.pause();
    world.engine.holding = true;
    const drain = world.sessions.drain(10_000);
    submit(client, entries(client, { tag: 1n }));
    await until(() => world.engine.leases.get(client.lease)?.channels.get(client.queue)?.inFlight.length === 1);
    world.engine.work();
    client.socket.resume();
    expect((await client.completions(1)).completions).toMatchObject([{ tag: 1n, code: 0 }]);
    expect(await client.closed).toBe(1_001);
    await drain;
    nothingIsLeft();
  });

  it('does not wait longer than it may', async () => {
    const client = await world.ready();
    world.engine.holding = true;
    submit(client, entries(client, {}));
    await until(() => world.engine.leases.get(client.lease)?.channels.get(client.queue)?.inFlight.length === 1);
    await world.sessions.drain(20);
    await client.closed;
    nothingIsLeft();
  });
});
