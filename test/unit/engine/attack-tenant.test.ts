/** One tenant against the others through the engine: starvation, growth, unbounded work. */
import { afterEach, expect, test } from 'vitest';
import { createStatisticsMemory } from '../../../src/server/engine/counters.js';
import { EngineWorld } from '../../support/engine-world.js';

let world: EngineWorld;
afterEach(() => world.end());

test('a tenant that fills the shared queue pair does not keep another from it', async () => {
  world = await EngineWorld.create({ faults: [{ match: { queue: 'io' }, action: { kind: 'delay', milliseconds: 100 } }] });
  const quiet = world.tenant(2, { queues: 'shared', entries: 16 });
  const flooding = world.tenant(1, { queues: 'shared', entries: 1024, weight: 1000 });
  // The quiet one has its place in the schedule already.
  world.submit(quiet, world.request(quiet));
  world.engine.turn();
  world.until(() => {
    while (flooding.channel.room() > 770) world.submit(flooding, world.request(flooding));
    return world.engine.device.commandsInFlight() === 255;
  });
  world.submit(quiet, world.request(quiet));
  let flooded = 0;
  let answered = 0;
  world.until(() => {
    while (flooding.channel.room() > 0) world.submit(flooding, world.request(flooding));
    flooded += world.take(flooding).length;
    answered += world.take(quiet).length;
    return answered === 2 || flooded > 3_000;
  });
  // What was in flight before it, and a few rounds.
  expect(flooded).toBeLessThan(2_000);
});

test('opening and closing leases leaves nothing behind', async () => {
  world = await EngineWorld.create();
  const stays = world.tenant(1);
  for (let domain = 100; domain < 150; domain++) {
    const lease = world.openLease(2, { session: domain, queues: 'own' });
    world.openQueue(lease.lease, 16);
    world.run(world.methods.closeLease(lease.lease));
    const request = {
      tenant: 3,
      tenantName: 'tenant3',
      weight: 100,
      rates: { operations: 0, bytes: 0 },
      session: 9,
      domain,
      mode: 'shared',
      queues: 'shared',
    } as const;
    const other = world.run(
      world.methods.openLease({ ...request, shares: [world.share(0, 10)], maxInFlight: 8, maxQueues: 1 }, createStatisticsMemory()),
    );
    world.run(world.methods.closeLease(other.lease));
  }
  expect([...world.engine.device.domains.keys()]).toEqual([stays.index]);
  expect(world.engine.channels.filter((queue) => queue !== undefined)).toHaveLength(1);
});

test('what is asked of a domain that is not there makes none', async () => {
  world = await EngineWorld.create();
  world.run(world.methods.detachRegion(77, 0x0001_0001, true));
  expect(world.engine.device.domains.size).toBe(0);
});
