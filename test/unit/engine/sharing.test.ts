/** Several tenants on one device: whose turn it is, and what may be given from one to the next. */
import { afterEach, expect, test } from 'vitest';
import { Code, Operation } from '../../../src/protocol/index.js';
import { EngineWorld, type Tenant } from '../../support/engine-world.js';

let world: EngineWorld;
afterEach(() => world.end());

/** Keeps the tenants' rings full for so many turns of the engine; returns how many requests of each were completed. */
function saturate(tenants: readonly Tenant[], turns: number, blocks = 1): number[] {
  const done = tenants.map(() => 0);
  for (let turn = 0; turn < turns; turn++) {
    tenants.forEach((tenant, index) => {
      while (tenant.channel.room() > 0) world.submit(tenant, world.request(tenant, { blocks, lba: 0n }));
      done[index] += world.take(tenant).length;
    });
    world.engine.turn();
  }
  return done;
}

test('tenants of equal weight get equal shares, one of them with four queues\u2019 worth of requests', async () => {
  world = await EngineWorld.create();
  const quiet = world.tenant(1, { entries: 128 });
  const flooding = world.tenant(2, { entries: 1024 });
  const [few, many] = saturate([quiet, flooding], 400);
  expect(many / few).toBeGreaterThan(0.9);
  expect(many / few).toBeLessThan(1.1);
});

test('weights are shares of requests and of bytes', async () => {
  world = await EngineWorld.create();
  const light = world.tenant(1, { weight: 100, entries: 512 });
  const heavy = world.tenant(2, { weight: 300, entries: 512 });
  const [one, three] = saturate([light, heavy], 400);
  expect(three / one).toBeGreaterThan(2.7);
  expect(three / one).toBeLessThan(3.3);
});

test('a weight that changes counts from then on, also for a tenant with work under way', async () => {
  world = await EngineWorld.create();
  const [one, two] = [world.tenant(1, { entries: 512 }), world.tenant(2, { entries: 512 })];
  saturate([one, two], 50);
  world.run(world.methods.setTenant(2, 300, { operations: 0, bytes: 0 }));
  const [before, after] = saturate([one, two], 400);
  expect(after / before).toBeGreaterThan(2.5);
  expect(after / before).toBeLessThan(3.5);
});

test('a tenant of large requests gets as many bytes as one of small ones, not as many requests', async () => {
  world = await EngineWorld.create();
  const small = world.tenant(1, { entries: 512 });
  const large = world.tenant(2, { entries: 512 });
  const done = [0, 0];
  for (let turn = 0; turn < 600; turn++) {
    while (small.channel.room() > 0) world.submit(small, world.request(small, { blocks: 8 }));
    while (large.channel.room() > 0) world.submit(large, world.request(large, { blocks: 256 }));
    done[0] += world.take(small).length * (8 * 512 + 4096);
    done[1] += world.take(large).length * (256 * 512 + 4096);
    world.engine.turn();
  }
  expect(done[1] / done[0]).toBeGreaterThan(0.8);
  expect(done[1] / done[0]).toBeLessThan(1.25);
});

test('a rate holds, and the others do not feel it', async () => {
  world = await EngineWorld.create();
  const limited = world.tenant(1, { rates: { operations: 1000, bytes: 0 } });
  const free = world.tenant(2);
  const start = world.engine.clock();
  let [slow, fast] = [0, 0];
  // The world's clock is moved by the test: two milliseconds a turn.
  for (let turn = 0; turn < 500; turn++) {
    world.skew += 2;
    const [a, b] = saturate([limited, free], 1);
    slow += a;
    fast += b;
  }
  const seconds = (world.engine.clock() - start) / 1000;
  expect(slow).toBeLessThanOrEqual(1000 * seconds + 101);
  expect(slow).toBeGreaterThan(800 * seconds);
  expect(fast).toBeGreaterThan(5 * slow);
});

test('a grant is only given away when nothing that was admitted under it is in flight', async () => {
  world = await EngineWorld.create({ faults: [{ match: { queue: 'io', nth: 1 }, action: { kind: 'delay', milliseconds: 150 } }] });
  const a = world.tenant(1);
  world.submit(a, world.request(a, { operation: Operation.write }));
  world.until(() => world.engine.device.commandsInFlight() === 1);
  const replacing = world.methods.replaceGrant(a.lease.lease, [world.share(0, 10)]);
  replacing.next();
  expect(world.take(a)).toEqual([]);
  world.run(replacing);
  expect(world.take(a).map(({ code }) => code)).toEqual([Code.ok]);
});

test('a window is wiped only after the last command of an ended lease has ended', async () => {
  world = await EngineWorld.create({ faults: [{ match: { queue: 'io', opcode: 1, nth: 1 }, action: { kind: 'drop' } }] }, { commandTimeout: 60_000 });
  const stays = world.tenant(2, { queues: 'shared' });
  const ends = world.tenant(1, { queues: 'shared' });
  world.submit(ends, world.request(ends, { operation: Operation.write }));
  world.until(() => world.engine.device.commandsInFlight() === 1);
  world.run(world.methods.closeLease(ends.lease.lease));
  expect(world.engine.device.commandsInFlight()).toBe(1);
  let progress = 0;
  world.run(world.methods.wipe(1, 1000, 1000, (done) => (progress = done)));
  expect(progress).toBe(1000);
  expect(world.engine.device.commandsInFlight()).toBe(0);
  expect(world.engine.device.resets).toBe(1);
  const generation = world.engine.device.lease(stays.lease.lease).generation;
  expect(world.execute(stays, world.request(stays, { generation }))[0].code).toBe(Code.ok);
});

test('after an exclusive holder nobody else gets in while its memory is left', async () => {
  world = await EngineWorld.create();
  const a = world.tenant(1, { mode: 'exclusive' });
  world.run(world.methods.closeLease(a.lease.lease));
  expect(() => world.openLease(2)).toThrow('notFree');
  world.run(world.methods.detachRegion(1, a.region, true));
  expect(world.openLease(2).lease).toBeGreaterThan(a.lease.lease);
});

test('a wiped window reads as zeros, and its neighbours are untouched', async () => {
  world = await EngineWorld.create();
  const [a, b] = [world.tenant(0), world.tenant(1)];
  for (const tenant of [a, b]) {
    tenant.memory.fill(0xee);
    world.execute(
      tenant,
      world.request(tenant, { operation: Operation.write, lba: 900n, blocks: 100 }),
      world.request(tenant, { operation: Operation.write, blocks: 100 }),
    );
  }
  world.run(world.methods.closeLease(b.lease.lease));
  world.run(world.methods.wipe(1, 1000, 1000));
  a.memory.fill(0);
  world.execute(a, world.request(a, { lba: 900n, blocks: 100 }));
  expect(a.memory.subarray(0, 51_200).every((byte) => byte === 0xee)).toBe(true);
  const again = world.openLease(1);
  const { queue, channel } = world.openQueue(again.lease, 16);
  const b2 = { ...b, lease: again, queue, channel };
  for (const lba of [0n, 900n]) {
    world.execute(b2, world.request(b2, { lba, blocks: 100 }));
    expect(b.memory.subarray(0, 51_200).every((byte) => byte === 0)).toBe(true);
    b.memory.fill(0xee);
  }
});

test('a window is wiped although leases have every queue pair that they can have, and wipes take turns', async () => {
  world = await EngineWorld.create({ queuePairs: 4 });
  const holder = world.tenant(1);
  world.tenant(2, { queues: 'shared' });
  const full = (): void => expect(() => world.openQueue(holder.lease.lease, 16)).toThrow('noFreeQueue');
  world.openQueue(holder.lease.lease, 16);
  full();
  const wiped: number[] = [];
  let steps = 0;
  for (const first of [10_000, 50_000]) {
    world.engine.tasks.start(
      'wipe',
      world.methods.wipe(1, first, 20_000, () => steps++),
      () => wiped.push(first),
      () => wiped.push(-1),
    );
  }
  world.until(() => steps > 0);
  full();
  world.until(() => wiped.length === 2);
  expect(wiped).toEqual([10_000, 50_000]);
  full();
  world.execute(holder, world.request(holder));
});
