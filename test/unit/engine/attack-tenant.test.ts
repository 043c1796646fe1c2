/** One tenant against the others through the engine: starvation, growth, unbounded work. */
import { afterEach, expect, test } from 'vitest';
import type { Fault } from '../../../src/hw/emulated/index.js';
import type { Task } from '../../../src/hw/task.js';
import { Operation } from '../../../src/protocol/index.js';
import { createStatisticsMemory } from '../../../src/server/engine/counters.js';
import { EngineWorld, type Tenant } from '../../support/engine-world.js';

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

const FIVE_MINUTES = 5 * 60_000;
/** Writes never end. */
const DROP_WRITES: Fault = { match: { queue: 'io', opcode: 1 }, action: { kind: 'drop' } };

const hang = (tenant: Tenant, commands: number): void => {
  const { generation } = world.engine.device.lease(tenant.lease.lease);
  for (let count = 0; count < commands; count++) world.submit(tenant, world.request(tenant, { operation: Operation.write, generation }));
};
const isGone = (tenant: Tenant): boolean => !world.engine.device.leases.has(tenant.lease.lease);
const revoked = (): number[] => world.events().flatMap((event) => (event[0] === 'revoked' ? [event[1]] : []));
const another = (tenant: Tenant): Tenant => {
  const lease = world.openLease(tenant.index, { queues: 'shared' });
  return { ...tenant, lease, ...world.openQueue(lease.lease, 64) };
};
/** Starts a task among those of the engine. */
const start = (task: Task<unknown>): { ended: boolean } => {
  const outcome = { ended: false };
  const end = (): void => void (outcome.ended = true);
  world.engine.tasks.start('test', task, end, end);
  return outcome;
};

test('a new lease is no clean sheet: strikes stay with the tenant, and three keep it out for five minutes', async () => {
  world = await EngineWorld.create({ faults: [DROP_WRITES] }, { commandTimeout: 30 });
  const good = world.tenant(2, { queues: 'shared' });
  const bad = world.tenant(1, { queues: 'shared' });
  hang(bad, 2);
  world.expect(bad, 2);
  world.run(world.methods.closeLease(bad.lease.lease));
  const again = another(bad);
  const idle = another(bad);
  hang(again, 1);
  world.until(() => isGone(again) && isGone(idle));
  expect(revoked().toSorted()).toEqual([again.lease.lease, idle.lease.lease]);
  expect(() => world.openLease(1, { queues: 'shared' })).toThrow('tooManyStrikes at device: 3');
  expect(world.execute(good, world.request(good))[0].code).toBe(0);
  world.skew += FIVE_MINUTES;
  expect(world.openLease(1, { queues: 'shared' }).lease).toBeGreaterThan(0);
});

test('commands that a tenant gives up itself, by resets and closed queues, count like those that it waits for', async () => {
  world = await EngineWorld.create({ faults: [DROP_WRITES] }, { commandTimeout: 2_000 });
  world.tenant(2, { queues: 'shared' });
  const bad = world.tenant(1, { queues: 'shared' });
  hang(bad, 2);
  world.until(() => world.engine.device.commandsInFlight() === 2);
  world.run(world.methods.resetLease(bad.lease.lease));
  hang(bad, 1);
  world.until(() => world.engine.device.commandsInFlight() === 3);
  world.run(world.methods.closeQueue(bad.lease.lease, bad.queue));
  expect(revoked()).toEqual([]);
  world.skew += 2_000;
  world.until(() => isGone(bad));
  expect(revoked()).toEqual([bad.lease.lease]);
});

test.each(['resetLease', 'closeQueue', 'closeLease'] as const)('nobody waits for a %s whose commands hang', async (method) => {
  world = await EngineWorld.create({ faults: [DROP_WRITES] }, { commandTimeout: 60_000 });
  const good = world.tenant(2, { queues: 'shared' });
  const bad = world.tenant(1, { queues: 'shared' });
  hang(bad, 2);
  world.until(() => world.engine.device.commandsInFlight() === 2);
  const outcome = start(method === 'closeQueue' ? world.methods.closeQueue(bad.lease.lease, bad.queue) : world.methods[method](bad.lease.lease));
  world.engine.turn();
  world.openQueue(good.lease.lease, 16);
  expect(outcome.ended).toBe(false);
  world.until(() => outcome.ended);
  expect(isGone(bad)).toBe(method === 'closeLease');
});

test('a tenant whose queue can only be deleted by a reset of the controller gets a strike for each', async () => {
  world = await EngineWorld.create();
  const good = world.tenant(2, { queues: 'shared' });
  const bad = world.tenant(1);
  const failing: Fault = { match: { queue: 'admin', opcode: 0, every: 1 }, action: { kind: 'status', type: 0, code: 6 } };
  for (let resets = 1; resets <= 3; resets++) {
    world.run(world.backing.setFaults([failing]));
    world.run(world.methods.resetLease(bad.lease.lease));
    world.run(world.backing.setFaults([]));
    expect(world.engine.device.resets).toBe(resets);
  }
  world.skew += 1_000;
  world.until(() => isGone(bad));
  expect(isGone(good)).toBe(false);
  expect(() => world.openLease(1)).toThrow('tooManyStrikes');
});
