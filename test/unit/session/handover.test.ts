/** Tickets, the descriptor socket, and what a client can do with the memory that it got there. */
import { afterEach, describe, expect, it } from 'vitest';
import { Seal, shm } from '../../../src/native/shm.js';
import { TICKET_BYTES, completionRingBytes, requestRingBytes } from '../../../src/protocol/index.js';
import { listenTcp } from '../../../src/server/listen/index.js';
import { silentLog } from '../../../src/server/log.js';
import { type Fetched, fetchDescriptors, release } from '../../support/handover.js';
import { descriptorCount, mappingsOf } from '../native/support.js';
import { Client, LIMITS, type Message, type ReadyClient, World, type WorldOptions, entries, submit, until } from './world.js';

let world: World;
const kept: Fetched[] = [];
afterEach(async () => {
  for (const fetched of kept.splice(0)) release(fetched);
  await world.end();
});

async function ready(options: WorldOptions = {}, tenant = 'alice'): Promise<ReadyClient> {
  world = await World.create(options);
  return world.ready(tenant);
}

const path = (): string => `${world.path}.fds`;
const ticketOf = (answer: Message): Uint8Array => answer['ticket'] as Uint8Array;
const shareQueue = async (client: ReadyClient): Promise<Uint8Array> =>
  ticketOf(await client.call('shareQueue', { lease: client.lease, queue: client.queue }));

async function fetch(ticket: Uint8Array): Promise<Fetched> {
  const fetched = await fetchDescriptors(path(), ticket);
  kept.push(fetched);
  return fetched;
}

describe('a ticket', () => {
  it('gets the rings of a queue, once', async () => {
    const client = await ready();
    const answer = await client.call('shareQueue', { lease: client.lease, queue: client.queue });
    expect(answer['path']).toBe(path());
    const ticket = ticketOf(answer);
    expect(ticket).toHaveLength(TICKET_BYTES);
    expect((await fetch(ticket)).descriptors).toHaveLength(2);
    const again = await fetch(ticket);
    expect([again.status, again.descriptors]).toEqual([1, []]);
    expect(await client.refusal('shareQueue', { lease: client.lease, queue: client.queue })).toMatchObject({ name: 'notFresh' });
  });

  it('is refused when it is wrong, short, or with something behind it, and the right one still serves', async () => {
    const client = await ready();
    const ticket = await shareQueue(client);
    for (let bit = 0; bit < TICKET_BYTES * 8; bit += 7) {
      const wrong = Uint8Array.from(ticket);
      wrong[bit >> 3] ^= 1 << (bit & 7);
      expect(await fetch(wrong)).toMatchObject({ status: 1, descriptors: [] });
    }
    expect(await fetch(Buffer.concat([ticket, Buffer.of(0)]))).toMatchObject({ status: -1, descriptors: [] });
    expect(await fetch(ticket.subarray(0, 15))).toMatchObject({ status: -1, descriptors: [] });
    expect(await fetch(ticket)).toMatchObject({ status: 0 });
  });

  it('is of no use when it is late', async () => {
    const client = await ready({ ticketMilliseconds: 1 });
    const ticket = await shareQueue(client);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await fetch(ticket)).toMatchObject({ status: 1, descriptors: [] });
  });

  it('dies with its session', async () => {
    const client = await ready();
    const ticket = await shareQueue(client);
    client.socket.terminate();
    await until(() => world.sessions.list().length === 0);
    expect(await fetch(ticket)).toMatchObject({ status: 1, descriptors: [] });
  });

  it('says so when its queue was closed meanwhile', async () => {
    const client = await ready();
    const ticket = await shareQueue(client);
    await client.call('closeQueue', { lease: client.lease, queue: client.queue });
    expect(await fetch(ticket)).toMatchObject({ status: 2, descriptors: [] });
  });

  it('is used up, but of no use, for somebody whom the configuration does not take for this tenant', async () => {
    const client = await ready();
    const ticket = await shareQueue(client);
    const { directory } = world;
    world.directory = { ...directory, authenticate: () => undefined };
    expect(await fetch(ticket)).toMatchObject({ status: 1, descriptors: [] });
    world.directory = directory;
    expect(await fetch(ticket)).toMatchObject({ status: 1, descriptors: [] });
  });

  it('is limited in number for each session', async () => {
    const client = await ready();
    const { region } = await client.call('mapMemory', { bytes: 4_096 });
    for (let count = 0; count < 16; count++) await client.call('shareRegion', { region });
    expect(await client.refusal('shareRegion', { region })).toMatchObject({ name: 'ticketLimit', value: '16' });
    const other = await world.ready('bob');
    await shareQueue(other);
  });

  it('is not given to the overflow user, nor over TCP', async () => {
    const client = await ready({ overflowUid: process.getuid?.() ?? -1 });
    const queue = { lease: client.lease, queue: client.queue };
    expect(await client.refusal('shareQueue', queue)).toMatchObject({ name: 'overflowUser' });
    const options = { sessions: world.sessions, limits: LIMITS, log: silentLog };
    const listener = await listenTcp({ host: '127.0.0.1', port: 0, tls: undefined, ...options });
    const remote = new Client(`ws://${listener.address}`);
    await remote.opened;
    await remote.call('hello', { version: 1, tenant: 'bob' });
    await remote.call('setDomain');
    const { region } = await remote.call('mapMemory', { bytes: 4_096 });
    expect(await remote.refusal('shareRegion', { region })).toMatchObject({ name: 'noHandover', value: 'tcp' });
    remote.socket.terminate();
    await listener.close();
  });
});

describe('the descriptor socket', () => {
  it('lets one user have half of its places, and frees those that say nothing', async () => {
    const client = await ready();
    const silent = Array.from({ length: 32 }, () => shm().connect(path()));
    const ticket = await shareQueue(client);
    expect(await fetch(ticket)).toMatchObject({ status: -1 });
    const into = new Uint8Array(1);
    await until(() => silent.every((fd) => shm().receive(fd, into, 0, 1) === 0));
    // Their ends are seen here a moment before the server has counted them all.
    await expect.poll(() => fetch(ticket)).toMatchObject({ status: 0 });
    for (const fd of silent) shm().close(fd);
  });

  it('drops descriptors that are sent to it', async () => {
    const client = await ready();
    const ticket = await shareQueue(client);
    const before = descriptorCount();
    const connection = shm().connect(path());
    for (let count = 0; count < 8; count++) {
      shm().sendDescriptors(connection, ticket.subarray(count, count + 1), Array<number>(16).fill(connection));
    }
    shm().send(connection, ticket, 8, 8);
    const into = new Uint8Array(1);
    let got = shm().receiveDescriptors(connection, into, 2);
    await until(() => {
      if (got.bytes < 0) got = shm().receiveDescriptors(connection, into, 2);
      return got.bytes >= 0;
    });
    expect([into[0], got.descriptors.length]).toEqual([0, 2]);
    kept.push({ status: 0, descriptors: got.descriptors, connection });
    // The connection, two descriptors here, and the two files of the queue.
    await until(() => descriptorCount() <= before + 5);
  });
});

describe('a queue whose rings were asked for', () => {
  it('takes no submit', async () => {
    const client = await ready();
    await shareQueue(client);
    submit(client, entries(client, {}));
    expect(await client.error()).toMatchObject({ name: 'queueShared', submit: 1 });
  });

  it('must not have been used', async () => {
    const client = await ready();
    submit(client, entries(client, {}));
    await client.completions(1);
    expect(await client.refusal('shareQueue', { lease: client.lease, queue: client.queue })).toMatchObject({ name: 'notFresh', field: 'queue' });
  });

  it('has rings of the size that was told, and leaves nothing when it ends', async () => {
    const before = descriptorCount();
    const client = await ready();
    const { descriptors } = await fetch(await shareQueue(client));
    const [requests, completions] = descriptors;
    for (const [fd, bytes] of [
      [requests, requestRingBytes(64)],
      [completions, completionRingBytes(64)],
    ]) {
      shm().unmap(shm().map(fd, 0, bytes, false));
      expect(() => shm().map(fd, 0, bytes + 4_096, false)).toThrow(RangeError);
    }
    shm().unmap(shm().map(requests, 0, 4_096, true));
    await client.call('closeQueue', { lease: client.lease, queue: client.queue });
    for (const fetched of kept.splice(0)) release(fetched);
    for (const name of ['ringwarden:requests', 'ringwarden:completions']) expect(mappingsOf(name)).toEqual([]);
    await world.end();
    await until(() => descriptorCount() <= before);
  });

  it('has a completion ring that nobody else can write, seal or resize', async () => {
    const client = await ready();
    const { descriptors } = await fetch(await shareQueue(client));
    const [requests, completions] = descriptors;
    expect(() => shm().map(completions, 0, 4_096, true)).toThrow(expect.objectContaining({ code: 'EACCES' }));
    // The user of this test is that of the server: every seal is set.
    const all = Seal.shrink | Seal.grow | Seal.seal;
    expect(shm().getSeals(requests)).toBe(all);
    expect(shm().getSeals(completions)).toBe(all | Seal.futureWrite);
    for (const fd of [requests, completions]) expect(() => shm().addSeals(fd, Seal.write)).toThrow(expect.objectContaining({ code: 'EPERM' }));
  });
});

describe('a region', () => {
  async function mapped(client: ReadyClient): Promise<number> {
    const { region } = await client.call('mapMemory', { bytes: 8_192 });
    return region as number;
  }

  it('is out of use from the question until it is sealed, and is handed over once', async () => {
    const client = await ready();
    const region = await mapped(client);
    const key = `${client.domain}/${region}`;
    const ticket = ticketOf(await client.call('shareRegion', { region }));
    expect([...world.engine.held]).toEqual([key]);
    expect(await client.refusal('sealRegion', { region })).toMatchObject({ name: 'notShared' });
    const { descriptors } = await fetch(ticket);
    const bytes = new Uint8Array(shm().map(descriptors[0], 0, 8_192, true));
    bytes[5] = 0x5a;
    expect(await client.call('readMemory', { region, offset: 4, length: 2 })).toMatchObject({ data: Buffer.of(0, 0x5a) });
    expect(await client.refusal('shareRegion', { region })).toMatchObject({ name: 'notFresh' });
    await client.call('sealRegion', { region });
    expect([...world.engine.held]).toEqual([]);
    expect(() => shm().map(descriptors[0], 0, 8_192, true)).toThrow(expect.objectContaining({ code: 'EPERM' }));
    expect(() => shm().addSeals(descriptors[0], Seal.write)).toThrow(expect.objectContaining({ code: 'EPERM' }));
    await client.call('writeMemory', { region, offset: 6, data: Buffer.of(7) });
    expect([bytes[5], bytes[6]]).toEqual([0x5a, 7]);
    expect(await client.refusal('sealRegion', { region })).toMatchObject({ name: 'notShared' });
    expect(await client.refusal('shareRegion', { region })).toMatchObject({ name: 'notFresh' });
    await client.call('unmapMemory', { region });
    // The client's mapping is its own: nobody ever gets these pages.
    expect(bytes[5]).toBe(0x5a);
    shm().unmap(bytes.buffer);
  });

  it('can be asked for again when its ticket was not used', async () => {
    const client = await ready();
    const region = await mapped(client);
    const first = ticketOf(await client.call('shareRegion', { region }));
    const second = ticketOf(await client.call('shareRegion', { region }));
    expect(await fetch(second)).toMatchObject({ status: 0 });
    expect(await fetch(first)).toMatchObject({ status: 2, descriptors: [] });
  });

  it('is not handed over while requests use it', async () => {
    const client = await ready();
    const region = await mapped(client);
    world.engine.holding = true;
    submit(client, entries(client, { flags: 0, region }));
    await until(() => [...world.engine.leases.values()].some(({ channels }) => [...channels.values()].some(({ inFlight }) => inFlight.length > 0)));
    expect(await client.refusal('shareRegion', { region })).toMatchObject({ name: 'regionBusy' });
    expect([...world.engine.held]).toEqual([]);
    world.engine.work();
    await client.completions(1);
  });

  it('whose seals the client set itself is not used any more, unless they are the right ones', async () => {
    const client = await ready();
    for (const [seals, name] of [
      [Seal.seal, 'sealFailed'],
      [Seal.futureWrite | Seal.seal, undefined],
    ] as const) {
      const region = await mapped(client);
      const { descriptors } = await fetch(ticketOf(await client.call('shareRegion', { region })));
      shm().addSeals(descriptors[0], seals);
      if (name === undefined) await client.call('sealRegion', { region });
      else expect(await client.refusal('sealRegion', { region })).toMatchObject({ name });
      expect(world.engine.held.has(`${client.domain}/${region}`)).toBe(name !== undefined);
      await client.call('unmapMemory', { region });
    }
  });

  it('that was sealed stays out of reach for a device that is opened later', async () => {
    world = await World.create({ devices: ['nvme0', 'nvme1'] });
    const client = await world.ready();
    const region = await mapped(client);
    await fetch(ticketOf(await client.call('shareRegion', { region })));
    await client.call('sealRegion', { region });
    await client.call('openDevice', { device: 'nvme1', mode: 'shared', queues: 'own' });
    const reached = [...world.engines.values()].map(({ regions }) => regions.has(`${client.domain}/${region}`));
    expect(reached).toEqual([true, false]);
  });
});
