/** Data that travel in the message, and the staging memory behind it. */
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Code, EntryFlag, Operation, PAGE_BYTES, RING_FLAGS } from '../../../src/protocol/index.js';
import { type ReadyClient, World, entries, submit, until } from './world.js';

let world: World;
beforeEach(async () => {
  world = await World.create();
});
afterEach(() => world.end());

const write = { operation: Operation.write } as const;
const staged = (client: ReadyClient): number => [...world.engine.regions.keys()].filter((key) => key.startsWith(`${client.domain}/`)).length;

describe('inline requests', () => {
  it('write, compare and read', async () => {
    const client = await world.ready();
    const data = randomBytes(3 * 512);
    submit(client, entries(client, { ...write, lba: 8n }, { ...write, lba: 9n, blocks: 2, length: 1_024 }), data);
    expect((await client.completions(2)).completions.map(({ code }) => code)).toEqual([Code.ok, Code.ok]);
    expect(world.engine.disk.subarray(8 * 512, 11 * 512).equals(data)).toBe(true);

    const compare = { operation: Operation.compare, lba: 8n } as const;
    submit(client, entries(client, compare, { ...compare, lba: 9n }), Buffer.concat([data.subarray(0, 512), Buffer.alloc(512)]));
    expect((await client.completions(2)).completions.map(({ code }) => code)).toEqual([Code.ok, Code.compareFailed]);

    submit(client, entries(client, { lba: 9n, tag: 7n }, { lba: 8n, blocks: 3, length: 1_536, tag: 8n }));
    const read = await client.completions(2);
    expect(read.completions).toMatchObject([
      { tag: 7n, code: Code.ok, bytes: 512 },
      { tag: 8n, code: Code.ok, bytes: 1_536 },
    ]);
    expect(read.data.equals(Buffer.concat([data.subarray(512, 1_024), data]))).toBe(true);
  });

  it('reach the ring with a place in the staging memory, and without the flag', async () => {
    const client = await world.ready();
    world.engine.holding = true;
    submit(client, entries(client, { lba: 3n, tag: 0x1122_3344_5566_7788n, flags: EntryFlag.inline | EntryFlag.forceUnitAccess, share: 5 }, {}));
    await client.call('ping');
    const channel = world.engine.leases.get(client.lease)?.channels.get(client.queue);
    await until(() => channel?.inFlight.length === 2);
    const [one, two] = channel?.inFlight ?? [];
    const handle = Number([...world.engine.regions.keys()][0].split('/')[1]);
    expect([...one.words]).toEqual([
      Operation.read | (RING_FLAGS << 8) | (5 << 16),
      ...[client.generation, 0x5566_7788, 0x1122_3344, 3, 0, 1, handle, 0, 0, 512, client.lease, client.queue, 0, 0, 0],
    ]);
    expect(two.words[8]).toBe(PAGE_BYTES);
  });

  it('mix with requests on mapped memory, which pass unchanged', async () => {
    const client = await world.ready();
    const { region } = await client.call('mapMemory', { bytes: 8_192 });
    await client.call('writeMemory', { region, offset: 4_096, data: Buffer.alloc(512, 0x5a) });
    submit(client, entries(client, { ...write, flags: 0, region: region as number, offset: 4_096n, lba: 1n }, { lba: 1n, tag: 1n }));
    const read = await client.completions(2);
    expect(read.completions.map(({ code }) => code)).toEqual([Code.ok, Code.ok]);
    expect(read.data.equals(Buffer.alloc(512, 0x5a))).toBe(true);
  });

  it('get memory that is zeroed for each read', async () => {
    const client = await world.ready();
    submit(client, entries(client, { ...write, lba: 1n }), Buffer.alloc(512, 0xee));
    await client.completions(1);
    world.engine.holding = true;
    submit(client, entries(client, {}));
    const channel = world.engine.leases.get(client.lease)?.channels.get(client.queue);
    await until(() => channel?.inFlight.length === 1);
    const [memory] = world.engine.regions.values();
    expect(memory.bytes.subarray(0, 512).every((byte) => byte === 0)).toBe(true);
  });

  it('get no staging memory before the first one', async () => {
    const client = await world.ready();
    submit(client, entries(client, { operation: Operation.flush, flags: 0, blocks: 0, length: 0 }));
    await client.completions(1);
    expect(staged(client)).toBe(0);
    submit(client, entries(client, {}));
    await client.completions(1);
    expect(staged(client)).toBe(1);
    expect(world.sessions.domains.pins.pinned('alice')).toBe(1_048_576);
  });

  it('keep the flag where an operation has no data: the validator refuses it', async () => {
    const client = await world.ready();
    world.engine.holding = true;
    submit(client, entries(client, { operation: Operation.flush, length: 0, blocks: 0 }, { operation: 200 }));
    const channel = world.engine.leases.get(client.lease)?.channels.get(client.queue);
    await until(() => channel?.inFlight.length === 2);
    for (const { words, cookie } of channel?.inFlight ?? []) {
      expect((words[0] >>> 8) & 0xff).toBe(EntryFlag.inline);
      expect(cookie).toBe(0);
    }
  });
});

describe('a submit is refused as a whole', () => {
  const nothingPushed = (client: ReadyClient): void => {
    expect(world.engine.leases.get(client.lease)?.channels.get(client.queue)?.room()).toBe(64);
  };

  it.each([
    ['an inline entry that names a region', [{}, { region: 1 }], undefined, 'outOfRange', 'entries[1].region', '1'],
    ['an inline entry that names an offset', [{ offset: 4_096n }], undefined, 'outOfRange', 'entries[0].offset', '4096'],
    ['an inline entry with a large offset', [{ offset: 2n ** 33n }], undefined, 'outOfRange', 'entries[0].offset', '8589934592'],
    ['an inline entry that is too long', [{ length: 2 ** 32 - 1 }], undefined, 'outOfRange', 'entries[0].length', '4294967295'],
    ['data that nobody asked for', [{}], Buffer.alloc(1), 'inlineLength', 'data', '1'],
    ['data that are missing', [write], undefined, 'inlineLength', 'data', '0'],
    ['data that are too short', [write, write], Buffer.alloc(1_023), 'inlineLength', 'data', '1023'],
    ['data that are too long', [write], Buffer.alloc(513), 'inlineLength', 'data', '513'],
    ['more than the staging memory', [{ length: 524_288 }, { length: 524_289 }], undefined, 'stagingFull', 'length', '1048577'],
    ['more pages than the staging memory', Array.from({ length: 65 }, () => ({})), undefined, 'ringFull', 'entries', '65'],
  ])('%s', async (_what, requests, data, name, field, value) => {
    const client = await world.ready();
    submit(client, entries(client, {}));
    await client.completions(1);
    submit(client, entries(client, ...requests), data);
    expect(await client.error()).toEqual({ name, field, value, id: 0, submit: 2 });
    nothingPushed(client);
    submit(client, entries(client, {}));
    await client.completions(1);
  });

  it('an entry that names staging memory, its own or that of a sibling', async () => {
    const sibling = await world.ready();
    submit(sibling, entries(sibling, {}));
    await sibling.completions(1);
    const client = await world.session();
    await client.call('setDomain', { domain: sibling.domain });
    const { lease, generation } = await client.call('openDevice', { device: 'nvme0', mode: 'shared', queues: 'own' });
    const { queue } = await client.call('openQueue', { lease, entries: 64 });
    const attacker = Object.assign(client, { lease, generation, queue, domain: sibling.domain }) as ReadyClient;
    const handle = Number([...world.engine.regions.keys()][0].split('/')[1]);
    submit(attacker, entries(attacker, {}, { flags: 0, region: handle }));
    expect(await attacker.error()).toMatchObject({ name: 'unknownRegion', field: 'entries[1].region', value: String(handle) });
    nothingPushed(attacker);
    for (const type of ['readMemory', 'writeMemory', 'unmapMemory']) {
      const rest = type === 'readMemory' ? { offset: 0, length: 1 } : type === 'writeMemory' ? { offset: 0, data: Buffer.alloc(1) } : {};
      expect(await attacker.refusal(type, { region: handle, ...rest })).toMatchObject({ name: 'unknownRegion', field: 'region' });
    }
  });

  it('when the ring has no room, and it does not matter to what is in flight', async () => {
    const client = await world.ready();
    world.engine.holding = true;
    submit(client, entries(client, ...Array.from({ length: 60 }, (_, tag) => ({ tag: BigInt(tag) }))));
    submit(client, entries(client, ...Array.from({ length: 5 }, () => ({}))));
    expect(await client.error()).toMatchObject({ name: 'ringFull', value: '5', submit: 2 });
    submit(client, entries(client, {}, {}, {}, {}));
    await client.call('ping');
    await until(() => world.engine.leases.get(client.lease)?.channels.get(client.queue)?.inFlight.length === 64);
    world.engine.work();
    expect((await client.completions(64)).completions).toHaveLength(64);
  });
});

describe('staging memory', () => {
  it('is used again, whatever the order in which requests end', async () => {
    const client = await world.ready('alice', 1_024);
    let seed = 1;
    const random = (limit: number): number => (seed = (seed * 48_271) % 2_147_483_647) % limit;
    for (let round = 0; round < 200; round++) {
      const count = 1 + random(20);
      const requests = Array.from({ length: count }, (_, tag) => {
        const blocks = 1 + random(90);
        return {
          blocks,
          length: blocks * 512,
          tag: BigInt(tag),
          lba: BigInt(random(100)),
          operation: random(2) === 0 ? Operation.read : Operation.write,
        };
      });
      const bytes = requests.reduce((sum, { operation, length }) => sum + (operation === Operation.write ? length : 0), 0);
      submit(client, entries(client, ...requests), bytes === 0 ? undefined : randomBytes(bytes));
      const { completions, data } = await client.completions(count);
      expect(completions.every(({ code }) => code === Code.ok)).toBe(true);
      expect(data.length).toBe(requests.reduce((sum, { operation, length }) => sum + (operation === Operation.read ? length : 0), 0));
    }
    expect(staged(client)).toBe(1);
  });

  it('makes a submit wait that does not fit in one piece, and what comes behind it', async () => {
    const client = await world.ready();
    world.engine.holding = true;
    for (let tag = 0; tag < 8; tag++) submit(client, entries(client, { length: 131_072, blocks: 256, tag: BigInt(tag) }));
    const channel = world.engine.leases.get(client.lease)?.channels.get(client.queue);
    await until(() => channel?.inFlight.length === 8);
    const all = channel?.inFlight.splice(0) ?? [];
    for (const [index, request] of all.entries()) {
      if (index % 2 === 0) channel?.complete(request, Code.compareFailed, 0);
      else channel?.inFlight.push(request);
    }
    channel?.onCompletions();
    await client.completions(4);
    submit(client, entries(client, { length: 262_144, blocks: 512, tag: 100n }));
    submit(client, entries(client, { tag: 101n }));
    const ping = client.ask('ping', {});
    // Reading has stopped: neither of them is in flight, and the ping is not answered before they are.
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(channel?.inFlight.length).toBe(4);
    world.engine.work();
    await until(() => channel?.inFlight.length === 2);
    await client.answer(ping);
    world.engine.work();
    const { completions } = await client.completions(6);
    expect(completions.map(({ tag }) => tag).toSorted((a, b) => Number(a - b))).toEqual([1n, 3n, 5n, 7n, 100n, 101n]);
  });

  it('is retired when a request was given up, and freed when the device let go of it', async () => {
    const client = await world.ready();
    world.engine.holding = true;
    submit(client, entries(client, {}, { tag: 1n }));
    const channel = world.engine.leases.get(client.lease)?.channels.get(client.queue);
    await until(() => channel?.inFlight.length === 2);
    const [first] = world.engine.regions.keys();
    const [given] = channel?.inFlight.splice(0, 1) ?? [];
    channel?.complete(given, Code.timeout, 0);
    channel?.onCompletions();
    await client.completions(1);
    // The other request is still in it.
    expect(world.engine.regions.has(first)).toBe(true);
    submit(client, entries(client, { tag: 2n }));
    await until(() => world.engine.regions.size === 2);
    await until(() => channel?.inFlight.length === 2);
    const [, second] = world.engine.regions.keys();
    expect(channel?.inFlight[1].words[7]).toBe(Number(second.split('/')[1]));
    world.engine.work();
    await client.completions(2);
    await until(() => !world.engine.regions.has(first));
    expect([...world.engine.regions.keys()]).toEqual([second]);
    expect(world.sessions.domains.pins.pinned('alice')).toBe(1_048_576);
  });

  it('counts against the pin limit', async () => {
    await world.end();
    world = await World.create({ tenants: { alice: { limits: { pinBytes: 1_048_576 + 4_096, stagingBytes: 1_048_576 } } } });
    const client = await world.ready();
    const { region } = await client.call('mapMemory', { bytes: 8_192 });
    submit(client, entries(client, {}));
    expect(await client.error()).toMatchObject({ name: 'pinLimit', field: 'bytes', value: '1048576', submit: 1 });
    await client.call('unmapMemory', { region });
    submit(client, entries(client, {}));
    await client.completions(1);
    expect(await client.refusal('mapMemory', { bytes: 4_097 })).toMatchObject({ name: 'pinLimit' });
    await client.call('mapMemory', { bytes: 4_096 });
  });
});
