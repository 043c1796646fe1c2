/** Domains and their regions: whose they are, who can reach them, and when they end. */
import { readdirSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MAX_REGION_BYTES } from '../../../src/protocol/index.js';
import { HardwareError } from '../../../src/hw/task.js';
import { Refusal } from '../../../src/server/engine/api.js';
import { HandleTable } from '../../../src/server/domains/handles.js';
import { type Client, type ReadyClient, World, entries, submit, until } from './world.js';

let world: World;
beforeEach(async () => {
  world = await World.create();
});
afterEach(() => world.end());

const descriptors = (): number => readdirSync('/proc/self/fd').length;
const pinned = (tenant = 'alice'): number => world.sessions.domains.pins.pinned(tenant);

async function inDomain(domain?: number, tenant = 'alice'): Promise<Client & { domain: number }> {
  const client = await world.session(tenant);
  const answer = await client.call('setDomain', domain === undefined ? {} : { domain });
  return Object.assign(client, { domain: answer['domain'] as number });
}

describe('handles', () => {
  it('are never 0, never the same soon, and reuse slots late', () => {
    const table = new HandleTable();
    const seen = new Set<number>();
    const order: number[] = [];
    for (let round = 0; round < 100_000; round++) {
      const handle = table.allocate();
      if (handle === undefined || handle === 0) throw new Error(`handle ${handle}`);
      expect(seen.has(handle)).toBe(false);
      seen.add(handle);
      order.push(handle & 0xffff);
      table.free(handle);
    }
    const last = new Map<number, number>();
    order.forEach((slot, index) => {
      const before = last.get(slot);
      if (before !== undefined && index - before < 64) throw new Error(`slot ${slot} was used again after ${index - before} others`);
      last.set(slot, index);
    });
  });

  it('end when all slots are in use, and leave the last slot alone', () => {
    const table = new HandleTable();
    let last = 0;
    for (let slot = 0; slot < 65_535; slot++) last = table.allocate() ?? 0;
    expect(last & 0xffff).toBe(65_534);
    expect(table.allocate()).toBeUndefined();
    table.free(last);
    expect(table.allocate()).toBe((2 << 16) | 65_534);
  });
});

describe('memory', () => {
  it('is rounded up to pages, zeroed, written and read', async () => {
    const client = await inDomain();
    const { region, bytes } = await client.call('mapMemory', { bytes: 4_097 });
    expect(bytes).toBe(8_192);
    expect(pinned()).toBe(8_192);
    expect((await client.call('readMemory', { region, offset: 0, length: 8_192 }))['data']).toEqual(Buffer.alloc(8_192));
    await client.call('writeMemory', { region, offset: 8_189, data: Uint8Array.from([1, 2, 3]) });
    expect((await client.call('readMemory', { region, offset: 8_188, length: 4 }))['data']).toEqual(Buffer.from([0, 1, 2, 3]));
    await client.call('writeMemory', { region, offset: 8_192, data: new Uint8Array(0) });
  });

  it.each([
    ['one byte beyond', 4_096, 1],
    ['across the end', 4_090, 7],
    ['far beyond', 2 ** 31, 1],
    ['all of it and one more', 0, 4_097],
  ])('is not reached %s its end', async (_what, offset, length) => {
    const client = await inDomain();
    const { region } = await client.call('mapMemory', { bytes: 4_096 });
    const expected = { name: 'rangeOutsideRegion', field: 'offset', value: String(offset) };
    expect(await client.refusal('readMemory', { region, offset, length })).toEqual(expected);
    expect(await client.refusal('writeMemory', { region, offset, data: Buffer.alloc(length) })).toEqual(expected);
  });

  it('has limits: bytes of a region, number of regions, pinned bytes of the tenant over all domains', async () => {
    await world.end();
    world = await World.create({ tenants: { alice: { limits: { regions: 2, regionBytes: 65_536, pinBytes: 131_072 } }, bob: {} } });
    const client = await inDomain();
    for (const bytes of [65_537, MAX_REGION_BYTES]) {
      expect(await client.refusal('mapMemory', { bytes })).toEqual({ name: 'outOfRange', field: 'bytes', value: String(bytes) });
    }
    await client.call('mapMemory', { bytes: 65_536 });
    const { region } = await client.call('mapMemory', { bytes: 4_096 });
    expect(await client.refusal('mapMemory', { bytes: 4_096 })).toMatchObject({ name: 'regionLimit' });
    const other = await inDomain();
    expect(await other.refusal('mapMemory', { bytes: 65_536 })).toEqual({ name: 'pinLimit', field: 'bytes', value: '65536' });
    await client.call('unmapMemory', { region });
    await other.call('mapMemory', { bytes: 65_536 });
    expect(pinned()).toBe(131_072);
    expect(pinned('bob')).toBe(0);
    await (await inDomain(undefined, 'bob')).call('mapMemory', { bytes: 65_536 });
  });

  it('counts the copies of copied DMA, one for each device, and none of staging memory', async () => {
    await world.end();
    world = await World.create({ tenants: { alice: { dma: 'copied', limits: { pinBytes: 12_288, stagingBytes: 4_096 } }, bob: {} } });
    const client = await world.ready();
    const { region } = await client.call('mapMemory', { bytes: 4_096 });
    expect(pinned()).toBe(8_192);
    expect(await client.refusal('mapMemory', { bytes: 4_096 })).toEqual({ name: 'pinLimit', field: 'bytes', value: '4096' });
    expect(pinned()).toBe(8_192);
    await client.call('unmapMemory', { region });
    expect(pinned()).toBe(0);
    world.engine.failing.set('attachRegion', new HardwareError('exhausted', 'no address is left'));
    expect(await client.refusal('mapMemory', { bytes: 4_096 })).toMatchObject({ name: 'deviceMemoryLimit' });
    expect(pinned()).toBe(0);
  });

  it('takes no more slots of a device than leave the others their part', async () => {
    await world.end();
    world = await World.create({ tenants: { alice: { limits: { regions: 64 } }, bob: { limits: { regions: 64 } } } });
    // 24 for the server; of the other 40, 20 for whoever comes first, and 10 for each tenant.
    world.engine.facts = { ...world.engine.facts, memorySlots: 64, queuePairs: 8 };
    const greedy = await world.ready('alice');
    const mapped: unknown[] = [];
    for (let count = 0; count < 30; count++) mapped.push((await greedy.call('mapMemory', { bytes: 4_096 }))['region']);
    expect(await greedy.refusal('mapMemory', { bytes: 5_000 })).toEqual({ name: 'deviceMemoryLimit', field: 'bytes', value: '8192' });
    const other = await world.ready('bob');
    for (let count = 0; count < 10; count++) await other.call('mapMemory', { bytes: 4_096 });
    expect(await other.refusal('mapMemory', { bytes: 4_096 })).toMatchObject({ name: 'deviceMemoryLimit' });
    await greedy.call('unmapMemory', { region: mapped[0] });
    await other.call('mapMemory', { bytes: 4_096 });
    expect(await greedy.refusal('mapMemory', { bytes: 4_096 })).toMatchObject({ name: 'deviceMemoryLimit' });
    expect(pinned()).toBe(29 * 4_096);
  });

  it('that a device has no room for is refused as such', async () => {
    const client = await world.ready();
    world.engine.failing.set('attachRegion', new HardwareError('exhausted', 'no address is left'));
    expect(await client.refusal('mapMemory', { bytes: 4_096 })).toEqual({ name: 'deviceMemoryLimit', field: 'bytes', value: '4096' });
    expect(pinned()).toBe(0);
  });

  it('is gone after unmapMemory, and its handle names nothing', async () => {
    const client = await inDomain();
    const before = descriptors();
    const { region } = await client.call('mapMemory', { bytes: 4_096 });
    await client.call('unmapMemory', { region });
    const expected = { name: 'unknownRegion', field: 'region', value: String(region) };
    expect(await client.refusal('unmapMemory', { region })).toEqual(expected);
    expect(await client.refusal('readMemory', { region, offset: 0, length: 1 })).toEqual(expected);
    expect(await client.refusal('unmapMemory', { region: 0 })).toMatchObject({ name: 'unknownRegion' });
    expect((await client.call('mapMemory', { bytes: 4_096 }))['region']).not.toBe(region);
    expect(descriptors()).toBe(before + 1);
  });

  it('stays while requests use it', async () => {
    const client = await world.ready();
    const { region } = await client.call('mapMemory', { bytes: 4_096 });
    world.engine.holding = true;
    submit(client, entries(client, { flags: 0, region: region as number }));
    const channel = world.engine.leases.get(client.lease)?.channels.get(client.queue);
    await until(() => channel?.inFlight.length === 1);
    expect(await client.refusal('unmapMemory', { region })).toEqual({ name: 'regionBusy', field: 'region', value: String(region) });
    await client.call('readMemory', { region, offset: 0, length: 1 });
    world.engine.work();
    await client.completions(1);
    await client.call('unmapMemory', { region });
  });

  it('stays on every device when one of them is busy with it', async () => {
    await world.end();
    world = await World.create({ devices: ['nvme0', 'nvme1'] });
    const client = await world.ready();
    const second = world.engines.get('nvme1');
    await client.call('openDevice', { device: 'nvme1', mode: 'shared', queues: 'shared' });
    const { region } = await client.call('mapMemory', { bytes: 4_096 });
    const key = `${client.domain}/${region}`;
    expect([world.engine.regions.has(key), second?.regions.has(key)]).toEqual([true, true]);
    second?.failing.set('detachRegion', new Refusal('regionBusy', 'region', region as number));
    expect(await client.refusal('unmapMemory', { region })).toMatchObject({ name: 'regionBusy' });
    expect([world.engine.regions.has(key), second?.regions.has(key)]).toEqual([true, true]);
    second?.failing.clear();
    await client.call('unmapMemory', { region });
    expect([world.engine.regions.has(key), second?.regions.has(key)]).toEqual([false, false]);
  });

  it('is refused as a whole when a device cannot reach it', async () => {
    const client = await world.ready();
    world.engine.failing.set('attachRegion', new Refusal('pinLimit', 'bytes', 5));
    const before = descriptors();
    expect(await client.refusal('mapMemory', { bytes: 4_096 })).toMatchObject({ name: 'pinLimit' });
    expect(pinned()).toBe(0);
    expect(descriptors()).toBe(before);
  });
});

describe('a domain', () => {
  it('is joined by its number, within the tenant only', async () => {
    const one = await inDomain();
    const two = await inDomain(one.domain);
    expect(two.domain).toBe(one.domain);
    const { region } = await one.call('mapMemory', { bytes: 4_096 });
    await two.call('writeMemory', { region, offset: 0, data: Uint8Array.from([9]) });
    expect((await one.call('readMemory', { region, offset: 0, length: 1 }))['data']).toEqual(Buffer.of(9));

    const stranger = await world.session('bob');
    const unknown = { name: 'unknownDomain', field: 'domain', value: String(one.domain) };
    expect(await stranger.refusal('setDomain', { domain: one.domain })).toEqual(unknown);
    expect(await stranger.refusal('setDomain', { domain: 999 })).toMatchObject({ name: 'unknownDomain' });
    await stranger.call('setDomain');
    expect(await stranger.refusal('readMemory', { region, offset: 0, length: 1 })).toMatchObject({ name: 'unknownRegion' });
    expect(await stranger.refusal('unmapMemory', { region })).toMatchObject({ name: 'unknownRegion' });
  });

  it('lives until its last user is gone (R28)', async () => {
    const one = await inDomain();
    const before = descriptors();
    const { region } = await one.call('mapMemory', { bytes: 4_096 });
    const two = await inDomain(one.domain);
    one.socket.close();
    await until(() => world.sessions.count === 1);
    await two.call('readMemory', { region, offset: 0, length: 1 });
    await two.call('unsetDomain');
    expect(pinned()).toBe(0);
    expect(world.sessions.domains.count).toBe(0);
    expect(descriptors()).toBe(before);
    expect(await two.refusal('setDomain', { domain: one.domain })).toMatchObject({ name: 'unknownDomain' });
    expect((await two.call('setDomain'))['domain']).not.toBe(one.domain);
  });

  it('is reachable for the devices that it has a lease on, and for no other', async () => {
    await world.end();
    world = await World.create({ devices: ['nvme0', 'nvme1'] });
    const [first, second] = world.engines.values();
    const client = await inDomain();
    const open = async (device: string): Promise<unknown> => (await client.call('openDevice', { device, mode: 'shared', queues: 'own' }))['lease'];
    await client.call('mapMemory', { bytes: 4_096 });
    expect([first.regions.size, second.regions.size]).toEqual([0, 0]);
    const one = await open('nvme0');
    const two = await open('nvme0');
    expect([first.regions.size, second.regions.size]).toEqual([1, 0]);
    await open('nvme1');
    await client.call('mapMemory', { bytes: 4_096 });
    expect([first.regions.size, second.regions.size]).toEqual([2, 2]);
    await client.call('closeDevice', { lease: one });
    expect([first.regions.size, second.regions.size]).toEqual([2, 2]);
    await client.call('closeDevice', { lease: two });
    expect([first.regions.size, second.regions.size]).toEqual([0, 2]);
    await client.call('unsetDomain');
    expect([first.regions.size, second.regions.size]).toEqual([0, 0]);
    expect(second.leases.size).toBe(0);
  });

  it('ends all access when it is unset', async () => {
    const client: ReadyClient = await world.ready();
    const { region } = await client.call('mapMemory', { bytes: 4_096 });
    await client.call('unsetDomain');
    expect(world.engine.leases.size).toBe(0);
    for (const type of ['openQueue', 'closeDevice']) {
      expect(await client.refusal(type, { lease: client.lease, ...(type === 'openQueue' && { entries: 2 }) })).toMatchObject({ name: 'noDomain' });
    }
    await client.call('setDomain');
    expect(await client.refusal('unmapMemory', { region })).toMatchObject({ name: 'unknownRegion' });
    expect(await client.refusal('closeDevice', { lease: client.lease })).toMatchObject({ name: 'noLease' });
  });

  it('keeps memory that a lost device may still write to, until the device says otherwise', async () => {
    const client = await world.ready();
    await client.call('mapMemory', { bytes: 4_096 });
    const before = descriptors();
    world.engine.failing.set('detachRegion', new Error('the device is lost'));
    await client.call('unsetDomain');
    expect(world.sessions.domains.quarantineBytes).toBe(4_096);
    expect(pinned()).toBe(4_096);
    expect(descriptors()).toBe(before);
    world.engine.failing.clear();
    world.engine.emit('deviceRestored', []);
    await until(() => world.sessions.domains.quarantineBytes === 0);
    expect(pinned()).toBe(0);
    expect(descriptors()).toBe(before - 1);
  });

  it('attaches again what an earlier lease could not let go of, once the device lets go of it', async () => {
    const client = await world.ready();
    await client.call('mapMemory', { bytes: 4_096 });
    world.engine.failing.set('detachRegion', new Error('the device is lost'));
    await client.call('closeDevice', { lease: client.lease });
    expect(world.engine.regions.size).toBe(1);
    const open = { device: 'nvme0', mode: 'shared', queues: 'own' };
    expect(await client.refusal('openDevice', open)).toMatchObject({ name: 'deviceUnavailable', field: 'device' });
    expect(world.engine.leases.size).toBe(0);
    world.engine.failing.clear();
    await client.call('openDevice', open);
    expect(world.engine.calls.filter((call) => call.startsWith('attachRegion'))).toHaveLength(2);
  });
});
