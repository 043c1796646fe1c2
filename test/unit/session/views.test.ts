/** Hardware rings to read, as messages: who may ask, what comes, and what it counts. */
import { fstatSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { shm } from '../../../src/native/shm.js';
import { Refusal } from '../../../src/server/engine/api.js';
import { readMappings } from '../../../src/server/handover/index.js';
import { listenTcp } from '../../../src/server/listen/index.js';
import { silentLog } from '../../../src/server/log.js';
import { type Fetched, fetchDescriptors, release } from '../../support/handover.js';
import { descriptorCount } from '../native/support.js';
import { Client, LIMITS, type Message, type ReadyClient, World, type WorldOptions, until } from './world.js';

/** What a view of the double takes. */
const VIEW_BYTES = 8_192;

let world: World;
const kept: Fetched[] = [];
afterEach(async () => {
  for (const fetched of kept.splice(0)) release(fetched);
  await world.end();
});

async function viewer(options: WorldOptions = {}): Promise<ReadyClient> {
  world = await World.create(options);
  return world.ready('alice', 64, { ringViews: true });
}

async function fetch({ path, ticket }: Message, pass: readonly number[] = []): Promise<Fetched> {
  const fetched = await fetchDescriptors(path as string, ticket as Uint8Array, pass);
  kept.push(fetched);
  return fetched;
}

const ask = (client: ReadyClient): Promise<Message> => client.call('viewQueue', { lease: client.lease, queue: client.queue });
const pinned = (): number => world.sessions.domains.pins.pinned('alice');

describe('a view', () => {
  it('is two files to read, of the size that was told, as often as they are asked for', async () => {
    const client = await viewer();
    for (let round = 0; round < 2; round++) {
      const view = await ask(client);
      expect(view).toMatchObject({ generation: 7, submission: { entries: 64, entryBytes: 64, bytes: 4_096 }, completion: { entryBytes: 16 } });
      const { status, descriptors } = await fetch(view);
      expect(status).toBe(0);
      expect(descriptors.map((fd) => fstatSync(fd).size)).toEqual([4_096, 4_096]);
      for (const fd of descriptors) expect(() => shm().map(fd, 0, 4_096, true)).toThrow(expect.objectContaining({ code: 'EACCES' }));
    }
  });

  it('leaves no descriptor here, whether its ticket is used or not', async () => {
    const client = await viewer();
    const before = descriptorCount();
    await ask(client);
    release(await fetchDescriptors(`${world.path}.fds`, (await ask(client))['ticket'] as Uint8Array));
    await until(() => descriptorCount() === before);
  });

  it('is refused to a lease that did not ask for it, and for the queue pairs of the server', async () => {
    world = await World.create();
    const client = await world.ready();
    expect(await client.refusal('viewQueue', { lease: client.lease, queue: client.queue })).toMatchObject({ name: 'noRingView', field: 'queue' });
    const open = { device: 'nvme0', mode: 'shared', queues: 'shared', ringViews: true };
    expect(await client.refusal('openDevice', open)).toMatchObject({ name: 'viewsNeedOwn', field: 'ringViews', value: 'shared' });
    expect(await client.refusal('viewQueue', { lease: client.lease, queue: 9 })).toMatchObject({ name: 'unknownQueue' });
    // What was not asked for costs nothing, and what is false is not asked for.
    await client.call('openDevice', { ...open, ringViews: false });
    expect(pinned()).toBe(0);
  });

  it('is refused to the overflow user, and over TCP', async () => {
    world = await World.create({ overflowUid: process.getuid?.() ?? -1 });
    const open = { device: 'nvme0', mode: 'shared', queues: 'own', ringViews: true };
    const client = await world.ready();
    expect(await client.refusal('openDevice', open)).toMatchObject({ name: 'overflowUser' });
    const listener = await listenTcp({ host: '127.0.0.1', port: 0, tls: undefined, sessions: world.sessions, limits: LIMITS, log: silentLog });
    const remote = new Client(`ws://${listener.address}`);
    await remote.opened;
    await remote.call('hello', { version: 1, tenant: 'bob' });
    await remote.call('setDomain');
    expect(await remote.refusal('openDevice', open)).toMatchObject({ name: 'noHandover', value: 'tcp' });
    remote.socket.terminate();
    await listener.close();
  });

  it('is of the generation that was told, or not at all', async () => {
    const client = await viewer();
    const view = await ask(client);
    await client.call('resetLease', { lease: client.lease });
    expect(await fetch(view)).toMatchObject({ status: 2, descriptors: [] });
    expect(await ask(client)).toMatchObject({ generation: 8 });
  });

  it('is gone with its queue, its lease and its session', async () => {
    const client = await viewer();
    const view = await ask(client);
    await client.call('closeQueue', { lease: client.lease, queue: client.queue });
    expect(await fetch(view)).toMatchObject({ status: 2, descriptors: [] });
    const { queue } = await client.call('openQueue', { lease: client.lease, entries: 64 });
    const other = await client.call('viewQueue', { lease: client.lease, queue });
    await client.call('closeDevice', { lease: client.lease });
    expect(await fetch(other)).toMatchObject({ status: 2, descriptors: [] });
  });

  it('counts against the limit of the tenant as long as its queue is there', async () => {
    const client = await viewer({ tenants: { alice: { limits: { pinBytes: 2 * VIEW_BYTES } } } });
    const { lease } = client;
    expect(pinned()).toBe(VIEW_BYTES);
    await client.call('openQueue', { lease, entries: 64 });
    expect(await client.refusal('openQueue', { lease, entries: 64 })).toMatchObject({ name: 'pinLimit', field: 'bytes', value: String(VIEW_BYTES) });
    await client.call('closeQueue', { lease, queue: client.queue });
    expect(pinned()).toBe(VIEW_BYTES);
    world.engine.failing.set('openQueue', new Refusal('noFreeQueue'));
    expect(await client.refusal('openQueue', { lease, entries: 64 })).toMatchObject({ name: 'noFreeQueue' });
    expect(pinned()).toBe(VIEW_BYTES);
    client.socket.terminate();
    await until(() => world.sessions.list().length === 0);
    expect(pinned()).toBe(0);
  });
});

describe('what was handed over', () => {
  it('is known again by the mapping, whatever its name', async () => {
    const client = await viewer();
    const { region } = await client.call('mapMemory', { bytes: 4_096 });
    const files = {
      view: await fetch(await ask(client)),
      region: await fetch(await client.call('shareRegion', { region })),
      rings: await fetch(await client.call('shareQueue', { lease: client.lease, queue: client.queue })),
    };
    const forged = shm().memfdCreate('ringwarden:region', 4_096);
    const maps = [...Object.values(files).flatMap(({ descriptors }) => descriptors), forged].map((fd) => shm().map(fd, 0, 4_096, false));
    const found = async (): Promise<string[]> => {
      const reports = (await readMappings(process.pid)).map((mapping) => world.sessions.handedOver.report(mapping));
      // The server is this process, too, and has mappings of its own of the same files.
      return [...new Set(reports.map(({ what, state, tenant, leases, queue, region: handle, path }) =>
        state === 'unknown' ? `${state} ${path}` : `${state} ${what} ${tenant} ${leases?.map(({ device, lease }) => `${device}/${lease}`).join()} ${queue ?? handle}`,
      ))].toSorted(); // prettier-ignore
    };
    const [lease, queue] = [client.lease, client.queue];
    const expected = (state: string): string[] => [
      `${state} completion queue of the hardware alice nvme0/${lease} ${queue}`,
      `${state} completion ring alice nvme0/${lease} ${queue}`,
      `${state} region alice nvme0/${lease} ${String(region)}`,
      `${state} request ring alice nvme0/${lease} ${queue}`,
      `${state} submission queue, a mirror alice nvme0/${lease} ${queue}`,
    ];
    expect(await found()).toEqual([...expected('in use'), 'unknown /memfd:ringwarden:region']);
    await client.call('unmapMemory', { region });
    await client.call('closeQueue', { lease, queue });
    expect(await found()).toEqual([...expected('ended'), 'unknown /memfd:ringwarden:region']);
    for (const map of maps) shm().unmap(map);
    shm().close(forged);
  });

  it('of a process that is not there, or not to be looked into, is an error of the system', async () => {
    world = await World.create();
    await expect(readMappings(2 ** 22 + 1)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
