/** Vectors on event descriptors, as messages: bound, bound again, released; what a client can send in place of an eventfd. */
import { openSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { shm } from '../../../src/native/shm.js';
import { Code } from '../../../src/protocol/index.js';
import { StuckFile } from '../../support/fuse.js';
import { type Fetched, fetchDescriptors, release } from '../../support/handover.js';
import { Lingering } from '../../support/lingering.js';
import { descriptorCount } from '../native/support.js';
import { type Message, type ReadyClient, World, until } from './world.js';

let world: World;
const kept: Fetched[] = [];
const own: number[] = [];
afterEach(async () => {
  for (const fetched of kept.splice(0)) release(fetched);
  for (const fd of own.splice(0)) shm().close(fd);
  await world.end();
});

async function ready(): Promise<ReadyClient> {
  world = await World.create();
  return world.ready();
}

const bind = (client: ReadyClient, source: 'client' | 'server', fields: Readonly<Record<string, unknown>> = {}): Promise<Message> =>
  client.call('bindEventfd', { lease: client.lease, vector: 0, source, ...fields });

async function redeem({ path, ticket }: Message, pass: readonly number[] = []): Promise<Fetched> {
  const fetched = await fetchDescriptors(path as string, ticket as Uint8Array, pass);
  kept.push(fetched);
  return fetched;
}

function eventfd(): number {
  const fd = shm().eventfd();
  own.push(fd);
  return fd;
}

const signalOf = (client: ReadyClient, vector = 0): number => world.engine.signals.get(`${client.lease}/${vector}`) ?? 0;

async function raised(client: ReadyClient, fd: number): Promise<void> {
  expect(shm().signalRaise(signalOf(client), 1)).toBe(true);
  await expect.poll(() => shm().eventfdTake(fd)).toBe(1);
}

describe('an event descriptor', () => {
  it('that the client sends is bound when its ticket is used', async () => {
    const client = await ready();
    const fd = eventfd();
    const answer = await bind(client, 'client', { microseconds: 100, events: 8 });
    expect(world.engine.signals.size).toBe(0);
    expect(await redeem(answer, [fd])).toMatchObject({ status: 0, descriptors: [] });
    expect(world.engine.calls).toContain(`bindVectorDescriptor ${client.lease} 0 {"microseconds":100,"events":8}`);
    await raised(client, fd);
    expect(await client.call('vectorState', { lease: client.lease, vector: 0 })).toMatchObject({ eventfd: true, interrupts: 3, signals: 2 });
  });

  it('that the server makes goes to the client', async () => {
    const client = await ready();
    const { status, descriptors } = await redeem(await bind(client, 'server'));
    expect([status, descriptors.length]).toEqual([0, 1]);
    await raised(client, descriptors[0]);
  });

  it('is released by another, by unbindEventfd, and by the end of the lease', async () => {
    const client = await ready();
    // The thread that raises them keeps two of its own from the first one on.
    shm().signalEnd(shm().signalBind(shm().eventfd(), 0, 0));
    const before = descriptorCount();
    await redeem(await bind(client, 'server'));
    const first = signalOf(client);
    await redeem(await bind(client, 'server'));
    const second = signalOf(client);
    expect([shm().signalCounters(first), shm().signalCounters(second)]).toEqual([undefined, { events: 0, signals: 0 }]);
    await client.call('unbindEventfd', { lease: client.lease, vector: 0 });
    await client.call('unbindEventfd', { lease: client.lease, vector: 0 });
    expect(shm().signalCounters(second)).toBeUndefined();
    await redeem(await bind(client, 'server'));
    await client.call('closeDevice', { lease: client.lease });
    for (const fetched of kept.splice(0)) release(fetched);
    await until(() => descriptorCount() <= before);
  });

  it('is for the vectors of the lease', async () => {
    const client = await ready();
    const { lease } = client;
    for (const vector of [4, 5, 0xffff]) {
      for (const type of ['unbindEventfd', 'vectorState']) {
        expect(await client.refusal(type, { lease, vector })).toMatchObject({ name: 'unknownVector', field: 'vector', value: String(vector) });
      }
      expect(await client.refusal('bindEventfd', { lease, vector, source: 'server' })).toMatchObject({
        name: 'unknownVector',
        value: String(vector),
      });
    }
    expect(await client.refusal('bindEventfd', { lease, vector: 0x1_0000, source: 'server' })).toMatchObject({ name: 'outOfRange' });
    expect(await client.refusal('bindEventfd', { lease: lease + 1, vector: 0, source: 'server' })).toMatchObject({ name: 'unknownLease' });
    expect(world.engine.calls.filter((call) => call.startsWith('bindVectorDescriptor'))).toEqual([]);
  });

  it('has coalescing that can be', async () => {
    const client = await ready();
    const fields = { lease: client.lease, vector: 0, source: 'server' };
    expect(await client.refusal('bindEventfd', { ...fields, events: 1 })).toMatchObject({ name: 'outOfRange', field: 'events', value: '1' });
    expect(await client.refusal('bindEventfd', { ...fields, microseconds: 1_000_001 })).toMatchObject({ name: 'outOfRange', field: 'microseconds' });
    expect(await client.refusal('bindEventfd', { ...fields, microseconds: 1, events: 65_536 })).toMatchObject({
      name: 'outOfRange',
      field: 'events',
    });
  });

  it('is not bound to a lease that was closed meanwhile', async () => {
    const client = await ready();
    const [asked, made] = [await bind(client, 'client'), await bind(client, 'server')];
    await client.call('closeDevice', { lease: client.lease });
    expect(await redeem(asked, [eventfd()])).toMatchObject({ status: 2 });
    expect(await redeem(made)).toMatchObject({ status: 2, descriptors: [] });
  });
});

describe('in place of an eventfd', () => {
  it('nothing, several, and files of other kinds are refused with their codes, and closed', async () => {
    const client = await ready();
    const before = descriptorCount();
    const [left, right] = shm().socketpair();
    const others = [left, right, shm().memfdCreate('test', 4_096), shm().epollCreate(), openSync('/dev/null', 'r')];
    for (const fd of others) expect(await redeem(await bind(client, 'client'), [fd])).toMatchObject({ status: Code.notAnEventfd });
    const good = eventfd();
    expect(await redeem(await bind(client, 'client'))).toMatchObject({ status: Code.noDescriptor });
    expect(await redeem(await bind(client, 'client'), [good, good])).toMatchObject({ status: Code.noDescriptor });
    expect(await redeem(await bind(client, 'client'), Array<number>(16).fill(good))).toMatchObject({ status: Code.noDescriptor });
    expect(world.engine.signals.size).toBe(0);
    for (const fetched of kept.splice(0)) release(fetched);
    for (const fd of [...others, ...own.splice(0)]) shm().close(fd);
    await until(() => descriptorCount() === before);
  });

  it('a descriptor that comes in pieces with the ticket is bound, and one where none is due is closed', async () => {
    const client = await ready();
    const fd = eventfd();
    const { path, ticket } = await bind(client, 'client');
    const connection = shm().connect(path as string);
    for (let at = 0; at < 15; at++) shm().send(connection, ticket as Uint8Array, at, 1);
    shm().sendDescriptors(connection, (ticket as Uint8Array).subarray(15), [fd]);
    const into = new Uint8Array(1);
    await until(() => shm().receive(connection, into, 0, 1) === 1);
    expect(into[0]).toBe(0);
    shm().close(connection);
    await raised(client, fd);
    expect(await redeem(await bind(client, 'server'), [fd])).toMatchObject({ status: 0 });
  });

  it('files that take for ever to close stop nobody, and only who sent them gets no more of them in', async () => {
    const client = await ready();
    const files = await Promise.all(Array.from({ length: 17 }, () => Lingering.make()));
    for (const { fd } of files.slice(0, 16)) {
      const answered = redeem(await bind(client, 'client'), [fd]);
      // While it is on its way: who closes it last is who waits.
      shm().close(fd);
      expect(await answered).toMatchObject({ status: Code.notAnEventfd });
    }
    // The server answered all of them, though none can be closed.
    for (const fetched of kept.splice(0)) release(fetched);
    await until(() => !shm().canCloseElsewhere(process.getuid?.() ?? 0));
    expect(await redeem(await bind(client, 'client'), [files[16].fd])).toMatchObject({ status: Code.descriptorsHang });
    await client.call('ping');
    for (const file of files) file.end();
    shm().close(files[16].fd);
    await expect.poll(async () => (await redeem(await bind(client, 'server'))).status).toBe(0);
  });

  it('a file of a file system that never lets go (needs root and FUSE)', async ({ skip }) => {
    const client = await ready();
    const file = await StuckFile.mount();
    if (file === undefined) return skip();
    try {
      const fd = await file.open();
      expect(await redeem(await bind(client, 'client'), [fd])).toMatchObject({ status: Code.notAnEventfd });
      await expect.poll(() => file.stuck.length).toBe(1);
      await client.call('ping');
      shm().closeElsewhere(fd, 77_777);
    } finally {
      await file.end();
    }
  });
});
