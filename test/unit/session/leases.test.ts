/** Devices, leases and queues, the events about them, and what a new configuration makes of them. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Code, LAST_OPERATION, Operation, Right } from '../../../src/protocol/index.js';
import { Refusal } from '../../../src/server/engine/api.js';
import { HardwareError } from '../../../src/hw/task.js';
import { share } from './engine-double.js';
import { World, directoryOf, entries, submit, until } from './world.js';

let world: World;
beforeEach(async () => {
  world = await World.create();
});
afterEach(() => world.end());

const SHARED = { device: 'nvme0', mode: 'shared', queues: 'own' } as const;

describe('devices', () => {
  it('are listed with the shares of the tenant, and nothing about others', async () => {
    const shares = [share('data'), share('logs', { access: Right.read, operations: 1 << Operation.read, blocks: 10, firstBlock: 2_048 })];
    world.directory = directoryOf(
      { alice: { grants: new Map([['nvme0', { device: 'nvme0', shares, modes: ['shared'], queues: ['own'] }]]) }, bob: {} },
      ['nvme0'],
    );
    const bob = await world.ready('bob');
    await bob.call('mapMemory', { bytes: 4_096 });
    const alice = await world.session('alice');
    const { devices } = await alice.call('listDevices');
    expect(devices).toEqual([
      {
        name: 'nvme0',
        class: 'nvme',
        state: 'open',
        free: false,
        heldBy: ['another tenant'],
        shares: [
          {
            index: 0,
            name: 'data',
            blocks: 1_024,
            blockBytes: 512,
            access: ['read', 'write'],
            operations: ['read', 'write', 'flush', 'writeZeroes', 'compare', 'deallocate'],
            maxBlocks: 2_048,
          },
          { index: 1, name: 'logs', blocks: 10, blockBytes: 512, access: ['read'], operations: ['read'], maxBlocks: 2_048 },
        ],
      },
    ]);
    expect(JSON.stringify(devices)).not.toContain('bob');
    expect(LAST_OPERATION).toBe(6);
    expect(await bob.call('deviceState', { device: 'nvme0' })).toMatchObject({ free: false, heldBy: [`lease ${bob.lease} of this tenant`] });
  });

  it('that are not granted cannot be told from those that do not exist', async () => {
    world.directory = directoryOf({ alice: { grants: new Map() } }, []);
    const client = await world.session();
    await client.call('setDomain');
    for (const device of ['nvme0', 'nvme9']) {
      const expected = { name: 'unknownDevice', field: 'device', value: device };
      expect(await client.refusal('openDevice', { ...SHARED, device })).toEqual(expected);
      expect(await client.refusal('deviceState', { device })).toEqual(expected);
    }
    expect((await client.call('listDevices'))['devices']).toEqual([]);
  });
});

describe('leases', () => {
  it('carry what the engine and the tenant allow', async () => {
    const client = await world.session();
    const { domain } = await client.call('setDomain');
    const lease = await client.call('openDevice', SHARED);
    expect(lease).toMatchObject({
      device: 'nvme0',
      mode: 'shared',
      queues: 'own',
      generation: 7,
      vectors: 4,
      maxInFlight: 1_024,
      shares: [{ maxBlocks: 256 }],
    });
    expect([...world.engine.leases.values()]).toMatchObject([{ tenantName: 'alice', session: 1, domain, maxQueues: 4, weight: 100, mode: 'shared' }]);
    const queue = await client.call('openQueue', { lease: lease['lease'], entries: 16 });
    expect(queue).toMatchObject({ queue: 0, entries: 16, ringVersion: 1, requestBytes: 4_096 + 1_024, completionBytes: 4_096 + 512, vector: 0 });
  });

  it('have limits', async () => {
    world.directory = directoryOf({ alice: { limits: { leases: 1, queuesPerLease: 1, ringEntries: 32 } } }, ['nvme0']);
    const client = await world.ready('alice', 32);
    expect(await client.refusal('openDevice', SHARED)).toMatchObject({ name: 'leaseLimit' });
    expect(await client.refusal('openQueue', { lease: client.lease, entries: 2 })).toMatchObject({ name: 'queueLimit', field: 'lease' });
    await client.call('closeQueue', { lease: client.lease, queue: client.queue });
    expect(await client.refusal('openQueue', { lease: client.lease, entries: 64 })).toEqual({ name: 'outOfRange', field: 'entries', value: '64' });
    await client.call('openQueue', { lease: client.lease, entries: 32 });
    expect(await client.refusal('bindVector', { lease: client.lease, vector: 4, enable: true })).toMatchObject({ name: 'unknownVector', value: '4' });
  });

  it('are of the kinds that are granted', async () => {
    const grants = new Map([['nvme0', { device: 'nvme0', shares: [share('data')], modes: ['shared'] as const, queues: ['shared'] as const }]]);
    world.directory = directoryOf({ alice: { grants } }, ['nvme0']);
    const client = await world.session();
    await client.call('setDomain');
    expect(await client.refusal('openDevice', { device: 'nvme0', mode: 'exclusive', queues: 'shared' })).toMatchObject({
      name: 'notInGrant',
      field: 'mode',
    });
    expect(await client.refusal('openDevice', SHARED)).toMatchObject({ name: 'notInGrant', field: 'queues', value: 'own' });
    expect(world.engine.leases.size).toBe(0);
  });

  it('are given back when something fails on the way', async () => {
    const client = await world.session();
    await client.call('setDomain');
    await client.call('mapMemory', { bytes: 4_096 });
    world.engine.failing.set('openLease', new HardwareError('absent', 'no such device on this machine'));
    expect(await client.refusal('openDevice', SHARED)).toEqual({ name: 'deviceUnavailable', field: 'device', value: 'nvme0' });
    world.engine.failing.clear();
    world.engine.failing.set('attachRegion', new HardwareError('exhausted', 'no addresses are left'));
    expect(await client.refusal('openDevice', SHARED)).toMatchObject({ name: 'deviceMemoryLimit' });
    expect(world.engine.leases.size).toBe(0);
    world.engine.failing.clear();
    await client.call('openDevice', SHARED);
  });

  it('that two devices number alike are not mixed up', async () => {
    await world.end();
    world = await World.create({ devices: ['nvme0', 'nvme1'] });
    const [first, second] = world.engines.values();
    const client = await world.session();
    await client.call('setDomain');
    const { lease } = await client.call('openDevice', SHARED);
    Object.defineProperty(second, 'openLease', { value: async () => ({ lease, generation: 1, vectors: 0, maxBlocks: [1] }) });
    expect(await client.refusal('openDevice', { ...SHARED, device: 'nvme1' })).toMatchObject({ name: 'deviceUnavailable' });
    expect(second.calls).toEqual([`closeLease ${String(lease)} its handle is in use`]);
    expect(first.leases.size).toBe(1);
    await client.call('openQueue', { lease, entries: 2 });
  });
});

describe('events', () => {
  it('of interrupts come only where the vector is bound', async () => {
    const client = await world.ready();
    const other = await world.ready();
    const fire = (vector: number, count: number): boolean => world.engine.emit('interrupt', client.lease, vector, count);
    fire(0, 1);
    await client.call('bindVector', { lease: client.lease, vector: 1, enable: true });
    fire(0, 2);
    fire(1, 3);
    expect(await client.event('interrupt')).toEqual({ type: 'event', event: 'interrupt', lease: client.lease, vector: 1, count: 3 });
    await client.call('bindVector', { lease: client.lease, vector: 1, enable: false });
    fire(1, 4);
    await client.call('ping');
    await other.call('ping');
    expect([...client.received, ...other.received]).toEqual([]);
  });

  it('of resets come after the completions that they caused, and to the lease only', async () => {
    const client = await world.ready();
    const other = await world.ready();
    world.engine.holding = true;
    submit(client, entries(client, {}));
    await until(() => world.engine.leases.get(client.lease)?.channels.get(0)?.inFlight.length === 1);
    const channel = world.engine.leases.get(client.lease)?.channels.get(0);
    channel?.complete(channel.inFlight[0], Code.reset, 0);
    world.engine.emit('reset', client.lease, 8, 'a command timed out');
    const event = await client.event('reset');
    expect(client.received.map(({ type }) => type)).toEqual(['completions']);
    expect(event).toMatchObject({ lease: client.lease, generation: 8, reason: 'a command timed out' });
    await other.call('ping');
    expect(other.received).toEqual([]);
  });

  it('of a reset on request: the completions, then the answer', async () => {
    const client = await world.ready();
    world.engine.holding = true;
    submit(client, entries(client, {}));
    await until(() => world.engine.leases.get(client.lease)?.channels.get(0)?.inFlight.length === 1);
    const id = client.ask('resetLease', { lease: client.lease });
    const { completions } = await client.completions(1);
    expect(completions).toMatchObject([{ code: Code.reset }]);
    expect(await client.answer(id)).toMatchObject({ generation: 8 });
  });

  it('of devices and namespaces', async () => {
    const client = await world.ready();
    world.engine.emit('namespaceChanged', client.lease, 2);
    world.engine.emit('deviceLost', 'it was pulled out');
    world.engine.emit('deviceRestored', [{ lease: client.lease, generation: 11 }]);
    expect(await client.event('namespaceChanged')).toMatchObject({ lease: client.lease, share: 2 });
    expect(await client.event('deviceLost')).toMatchObject({ device: 'nvme0', lease: client.lease, reason: 'it was pulled out' });
    expect(await client.event('deviceRestored')).toMatchObject({ device: 'nvme0', lease: client.lease, generation: 11 });
  });

  it('of revocation end the lease, and only it', async () => {
    const client = await world.ready();
    const second = (await client.call('openDevice', SHARED))['lease'];
    world.engine.emit('revoked', client.lease, 'it causes resets');
    expect(await client.event('revoked')).toMatchObject({ lease: client.lease, reason: 'it causes resets' });
    await until(() => world.engine.leases.size === 1);
    expect(await client.refusal('openQueue', { lease: client.lease, entries: 2 })).toMatchObject({ name: 'unknownLease' });
    await client.call('openQueue', { lease: second, entries: 2 });
  });

  it('of a broken ring contract end the session, and only it', async () => {
    const client = await world.ready();
    const other = await world.ready();
    world.engine.emit('fault', client.lease, Code.ringContract);
    expect(await client.error()).toMatchObject({ name: 'ringContract' });
    expect(await client.closed).toBe(1_008);
    await until(() => world.engine.leases.size === 1);
    await other.call('resetLease', { lease: other.lease });
  });

  it('for leases that are gone are ignored', async () => {
    const client = await world.ready();
    await client.call('closeDevice', { lease: client.lease });
    world.engine.emit('revoked', client.lease, 'late');
    world.engine.emit('reset', client.lease, 1, 'late');
    world.engine.emit('fault', 12_345, Code.ringContract);
    await client.call('ping');
    expect(client.received).toEqual([]);
  });
});

describe('an earlier holder', () => {
  it('is waited for, and its end is told to those who may have the device next (R23)', async () => {
    const holder = await world.ready('alice');
    const next = await world.session('bob');
    await next.call('setDomain');
    expect(await next.refusal('openDevice', { ...SHARED, mode: 'exclusive' })).toMatchObject({ name: 'deviceBusy' });
    const id = next.ask('deviceState', { device: 'nvme0', wait: true });
    await next.call('ping');
    expect(await next.call('deviceState', { device: 'nvme0', wait: false })).toMatchObject({ free: false });
    holder.socket.terminate();
    expect(await next.event('holderGone')).toMatchObject({ device: 'nvme0' });
    expect(await next.answer(id)).toMatchObject({ name: 'nvme0', free: true, heldBy: [] });
    await next.call('openDevice', { ...SHARED, mode: 'exclusive' });
  });

  it('is no business of those who did not ask', async () => {
    const holder = await world.ready('alice');
    const bystander = await world.session('bob');
    const asked = await world.session('bob');
    await asked.call('listDevices');
    for (let round = 0; round < 3; round++) {
      await holder.call('unsetDomain');
      await until(() => world.engine.leases.size === 0);
      await holder.call('setDomain');
      await holder.call('openDevice', SHARED);
    }
    await asked.event('holderGone');
    await asked.call('ping');
    await bystander.call('ping');
    expect([...asked.received, ...bystander.received, ...holder.received]).toEqual([]);
  });

  it('that is gone already is not waited for', async () => {
    const client = await world.session();
    expect(await client.call('deviceState', { device: 'nvme0', wait: true })).toMatchObject({ free: true });
  });

  it('is waited for a bounded number of times', async () => {
    await world.ready('alice');
    const client = await world.session('bob');
    for (let count = 0; count < 16; count++) client.ask('deviceState', { device: 'nvme0', wait: true });
    expect(await client.refusal('deviceState', { device: 'nvme0', wait: true })).toMatchObject({ name: 'tooManyMessages' });
    expect(await client.closed).toBe(1_008);
  });
});

describe('a new configuration', () => {
  const grant = (...shares: ReturnType<typeof share>[]) =>
    new Map([['nvme0', { device: 'nvme0', shares, modes: ['shared'] as const, queues: ['own'] as const }]]);

  it('changes nothing for leases that it covers as before', async () => {
    const client = await world.ready();
    world.directory = directoryOf({ alice: {}, bob: {} }, ['nvme0']);
    await world.sessions.applyPolicy();
    expect(world.engine.calls.filter((call) => call.startsWith('replaceGrant'))).toEqual([]);
    await client.call('ping');
  });

  it('ends the sessions of tenants that are gone, and of credentials that no longer hold', async () => {
    const client = await world.ready();
    const other = await world.ready('bob');
    world.directory = directoryOf({ bob: {} }, ['nvme0']);
    await world.sessions.applyPolicy();
    expect(await client.event('revoked')).toMatchObject({ lease: client.lease });
    expect(await client.error()).toMatchObject({ name: 'authenticationFailed' });
    await client.closed;
    await until(() => world.engine.leases.size === 1);
    world.directory = directoryOf({ bob: { token: 'changed' } }, ['nvme0']);
    await world.sessions.applyPolicy();
    await other.closed;
    await until(() => world.engine.leases.size === 0);
  });

  it('revokes leases whose windows it changes, so that an index never means other blocks', async () => {
    for (const now of [grant(), grant(share('data', { blocks: 512 })), grant(share('data', { firstBlock: 8 })), grant(share('other'))]) {
      world.directory = directoryOf({ alice: { grants: grant(share('data')) } }, ['nvme0']);
      const client = await world.ready();
      world.directory = directoryOf({ alice: { grants: now } }, ['nvme0']);
      await world.sessions.applyPolicy();
      expect(await client.event('revoked')).toMatchObject({ lease: client.lease });
      expect(world.engine.calls).toContain(`replaceGrant ${client.lease} 0`);
      await until(() => world.engine.leases.size === 0);
      await client.call('ping');
    }
  });

  it('keeps the windows at their indices when rights change, or windows are added or put in another order', async () => {
    world.directory = directoryOf({ alice: { grants: grant(share('a'), share('b', { firstBlock: 2_048 })) } }, ['nvme0']);
    const client = await world.ready();
    const readOnly = share('b', { firstBlock: 2_048, access: Right.read });
    world.directory = directoryOf({ alice: { grants: grant(share('c', { firstBlock: 4_096 }), readOnly, share('a')) } }, ['nvme0']);
    await world.sessions.applyPolicy();
    expect(world.engine.leases.get(client.lease)?.grant).toEqual([share('a'), readOnly]);
    expect(client.received).toEqual([]);
  });

  it('revokes a lease that was being opened meanwhile', async () => {
    const client = await world.session();
    await client.call('setDomain');
    await client.call('mapMemory', { bytes: 4_096 });
    const attach = world.engine.attachRegion.bind(world.engine);
    world.engine.attachRegion = async (...args) => {
      world.directory = directoryOf({ alice: { grants: new Map() } }, ['nvme0']);
      await world.sessions.applyPolicy();
      await attach(...args);
    };
    expect(await client.refusal('openDevice', SHARED)).toMatchObject({ name: 'notInGrant' });
    await until(() => world.engine.leases.size === 0);
    await client.call('ping');
  });

  it('survives an engine that cannot replace a grant: the lease ends', async () => {
    const client = await world.ready();
    world.engine.failing.set('replaceGrant', new Refusal('internal'));
    world.directory = directoryOf({ alice: { grants: grant() } }, ['nvme0']);
    await world.sessions.applyPolicy();
    expect(await client.event('revoked')).toMatchObject({ lease: client.lease });
    await until(() => world.engine.leases.size === 0);
  });
});
