/** A sick controller against the engine: whatever it does, requests are answered once, memory is held until it is quiet, and one failure is one reset. */
import { afterEach, expect, test } from 'vitest';
import { violations, type Fault } from '../../../src/hw/emulated/index.js';
import type { Task } from '../../../src/hw/task.js';
import { Code, Operation, type CompletionFields } from '../../../src/protocol/index.js';
import { createChannelMemory } from '../../../src/server/engine/channel.js';
import { EngineWorld, REGION_BYTES, type Tenant } from '../../support/engine-world.js';

const Admin = { createSubmission: 0x01, getLogPage: 0x02, createCompletion: 0x05, abort: 0x08 } as const;
const drop = (match: Fault['match']): Fault => ({ match, action: { kind: 'drop' } });

let world: EngineWorld;
afterEach(() => world.end());

/** Starts a task among those of the engine, and tells how it ends. */
function start<T>(task: Task<T>): { ended: boolean; value?: T; error?: unknown } {
  const outcome: { ended: boolean; value?: T; error?: unknown } = { ended: false };
  world.engine.tasks.start(
    'test',
    task,
    (value) => Object.assign(outcome, { ended: true, value }),
    (error) => Object.assign(outcome, { ended: true, error }),
  );
  return outcome;
}

const setFaults = (...faults: Fault[]): void => world.run(world.backing.setFaults(faults));
const turn = (turns: number): void => {
  for (let count = 0; count < turns; count++) world.engine.turn();
};
const openQueue = (tenant: Tenant, channel: number) => world.methods.openQueue(tenant.lease.lease, channel, createChannelMemory(16), 1);
const current = (tenant: Tenant) => ({ generation: world.engine.device.lease(tenant.lease.lease).generation });
/** The tenant's queue works. */
const works = (tenant: Tenant): void => expect(world.execute(tenant, world.request(tenant, current(tenant)))[0].code).toBe(Code.ok);

test('one invented completion is one reset, even while another task keeps the device for itself', async () => {
  world = await EngineWorld.create();
  const a = world.tenant(1);
  setFaults(
    { match: { queue: 'io', nth: 1 }, action: { kind: 'corruptCommandId' } },
    { match: { queue: 'admin', opcode: Admin.createCompletion }, action: { kind: 'delay', milliseconds: 50 } },
  );
  const opening = start(openQueue(a, 40));
  turn(3);
  world.submit(a, world.request(a));
  let most = 0;
  world.until(() => {
    most = Math.max(most, world.engine.tasks.count);
    return opening.ended && world.engine.device.resets > 0 && world.engine.device.state === 'open';
  });
  setFaults();
  turn(50);
  expect(most).toBeLessThan(8);
  expect(opening.error).toBeUndefined();
  expect(world.engine.device.resets).toBe(1);
  expect(world.expect(a, 1)[0].code).toBe(Code.reset);
  works(a);
});

test('a controller reset in the middle of a wipe harms no queue, and what is told to be wiped is', async () => {
  world = await EngineWorld.create();
  const a = world.tenant(1);
  a.memory.fill(0xab);
  const all = { lba: 0n, blocks: 1000 };
  world.execute(a, world.request(a, { operation: Operation.write, ...all }));
  let resets = 0;
  const wiping = start(
    world.methods.wipe(1, 20_000, 80_000, () => {
      if (resets++ < 3) start(world.methods.resetController('test'));
    }),
  );
  world.until(() => {
    if (a.channel.room() > 32) world.submit(a, world.request(a, current(a)));
    for (const { code } of world.take(a)) expect([Code.ok, Code.reset, Code.staleGeneration, Code.leaseNotActive]).toContain(code);
    return wiping.ended && world.engine.device.state === 'open';
  });
  turn(50);
  expect(resets).toBeGreaterThan(3);
  expect(wiping.error).toBeUndefined();
  expect(world.engine.device.resets).toBe(3);
  expect(world.engine.driver.inspect()).toMatchObject({ pairs: [{ id: 0 }, { inFlight: 0 }] });
  world.until(() => {
    world.take(a);
    return a.channel.room() === 64;
  });
  a.memory.fill(0);
  world.execute(a, world.request(a, { ...all, ...current(a) }));
  expect(a.memory.subarray(0, 512_000).every((byte) => byte === 0xab)).toBe(true);
});

test('memory is held until a lost controller is quiet', async () => {
  world = await EngineWorld.create({ audit: true });
  const a = world.tenant(1);
  setFaults(
    { match: { queue: 'io' }, action: { kind: 'delay', milliseconds: 60 } },
    { match: { queue: 'admin', opcode: Admin.createCompletion }, action: { kind: 'delay', milliseconds: 150 } },
  );
  world.submit(a, world.request(a, { blocks: 64 }));
  world.until(() => world.engine.device.commandsInFlight() === 1);
  const opening = start(openQueue(a, 40));
  turn(3);
  const losing = start(world.engine.device.lose('it does not answer in time'));
  const detaching = start(world.methods.detachRegion(1, a.region, true));
  world.until(() => opening.ended && losing.ended && detaching.ended);
  expect(world.expect(a, 1)[0].code).toBe(Code.deviceLost);
  const records = world.run(world.backing.audit());
  expect(violations(records, ['server', 'tenant1'])).toEqual([]);
});

test('a device lost while a queue is being made comes back with working queues', async () => {
  world = await EngineWorld.create();
  const a = world.tenant(1);
  setFaults({ match: { queue: 'admin', opcode: Admin.createCompletion }, action: { kind: 'delay', milliseconds: 50 } });
  const opening = start(openQueue(a, 40));
  turn(3);
  const losing = start(world.engine.device.lose('it does not answer in time'));
  world.until(() => opening.ended && losing.ended);
  setFaults();
  expect(opening.error).toBeDefined();
  expect(world.engine.path.tables.size).toBe(0);
  expect(world.run(world.engine.device.revive())).toBe(true);
  works(a);
  const [queue] = [world.openQueue(a.lease.lease, 16)];
  works({ ...a, ...queue });
});

test('a device lost while its controller is being reset is lost, and comes back', async () => {
  world = await EngineWorld.create();
  const a = world.tenant(1);
  world.run(world.backing.setReadyDelay(20));
  const reset = start(world.methods.resetController('a test'));
  world.until(() => world.engine.device.state === 'resetting');
  turn(3);
  const lost = start(world.engine.device.lose('a test'));
  world.until(() => reset.ended && lost.ended);
  // Not open: its driver has let go of it.
  expect(world.engine.device.state).toBe('lost');
  world.run(world.backing.setReadyDelay(0));
  world.until(() => world.engine.device.lease(a.lease.lease).active);
  works(a);
  expect(world.events().filter(([name]) => name === 'deviceLost')).toHaveLength(1);
});

test('every flush that waits for a hanging one is answered', async () => {
  world = await EngineWorld.create({}, { commandTimeout: 30 });
  const a = world.tenant(1, { queues: 'shared' });
  setFaults(drop({ queue: 'io', opcode: 0 }), drop({ queue: 'admin', opcode: Admin.abort, every: 1_000_000 }));
  const flush = () => world.bare(a, { operation: Operation.flush });
  const codes = world.execute(a, flush(), flush(), flush()).map(({ code }) => code);
  expect(codes).toEqual([Code.timeout, Code.timeout, Code.timeout]);
});

test('commands that nobody waits for any more do not fill the shared queue pair for good', async () => {
  world = await EngineWorld.create({}, { commandTimeout: 2_000 });
  const stays = world.tenant(2, { queues: 'shared' });
  setFaults(drop({ queue: 'io', opcode: 8 }));
  const a = world.tenant(1, { queues: 'shared', entries: 128 });
  world.submit(a, ...Array.from({ length: 100 }, () => world.bare(a, { operation: Operation.writeZeroes, blocks: 1 })));
  world.until(() => world.engine.device.commandsInFlight() === 100);
  world.run(world.methods.closeLease(a.lease.lease));
  expect(world.engine.device.commandsInFlight()).toBe(100);
  world.skew += 2_000;
  world.until(() => world.engine.device.commandsInFlight() === 0);
  world.until(() => world.engine.device.state === 'open' && world.engine.device.lease(stays.lease.lease).active);
  expect(world.engine.device.resets).toBe(1);
  works(stays);
});

test('a lease is closed although the abort of its commands gets no answer', async () => {
  world = await EngineWorld.create({}, { commandTimeout: 60_000 });
  const [a, b] = [world.tenant(1, { queues: 'shared' }), world.tenant(2, { queues: 'shared' })];
  setFaults(drop({ queue: 'io', nth: 1 }), drop({ queue: 'admin', opcode: Admin.abort }));
  world.submit(a, world.request(a));
  world.until(() => world.engine.device.commandsInFlight() === 1);
  const closing = start(world.methods.closeLease(a.lease.lease));
  turn(3);
  world.skew += 6_000;
  world.until(() => closing.ended);
  expect(closing.error).toBeUndefined();
  expect([...world.engine.device.leases.keys()]).toEqual([b.lease.lease]);
  setFaults();
  works(b);
});

test('a grant is replaced although a command on the shared queue never ends', async () => {
  world = await EngineWorld.create({}, { commandTimeout: 30 });
  const a = world.tenant(1, { queues: 'shared' });
  setFaults(drop({ queue: 'io', nth: 1 }));
  expect(world.execute(a, world.request(a))[0].code).toBe(Code.timeout);
  expect(world.engine.device.commandsInFlight()).toBe(1);
  world.run(world.methods.replaceGrant(a.lease.lease, [world.share(0, 10)]));
  expect(world.engine.device.commandsInFlight()).toBe(0);
  works(a);
});

test('a request of an own queue is answered only after its queue was deleted: its write cannot land after one of another queue', async () => {
  world = await EngineWorld.create();
  const a = world.tenant(1);
  setFaults(drop({ queue: 'io', nth: 1 }));
  world.submit(a, world.request(a));
  world.until(() => world.engine.device.commandsInFlight() === 1);
  const closing = start(world.methods.closeQueue(a.lease.lease, a.queue));
  const answers: CompletionFields[] = [];
  while (!closing.ended) {
    expect(answers).toEqual([]);
    turn(1);
    if (!closing.ended) answers.push(...world.take(a));
  }
  answers.push(...world.take(a));
  expect(answers.map(({ code }) => code)).toEqual([Code.aborted]);
});

test('many commands of an own queue that hang are one reset of the lease', async () => {
  world = await EngineWorld.create({}, { commandTimeout: 30 });
  const [a, b] = [world.tenant(1), world.tenant(2)];
  setFaults(drop({ queue: 'io' }));
  const answers = world.execute(a, ...Array.from({ length: 40 }, () => world.request(a)));
  expect(new Set(answers.map(({ code }) => code))).toEqual(new Set([Code.timeout]));
  // The watchdog looks while the queue is being deleted.
  expect(world.engine.device.lease(a.lease.lease).active).toBe(false);
  world.skew += 100;
  setFaults();
  world.until(() => world.engine.device.lease(a.lease.lease).active);
  world.skew += 3_000;
  turn(200);
  expect(world.events().filter(([name]) => name === 'reset')).toHaveLength(1);
  expect(world.engine.device.resets).toBe(0);
  works(a);
  works(b);
});

test('aborts that get no answer are one reset of the controller', async () => {
  world = await EngineWorld.create({}, { commandTimeout: 30 });
  const a = world.tenant(1);
  setFaults(drop({ queue: 'io' }), drop({ queue: 'admin', opcode: Admin.abort }));
  world.submit(a, ...Array.from({ length: 20 }, () => world.request(a)));
  world.until(() => world.engine.tasks.count >= 20);
  world.skew += 6_000;
  world.until(() => world.engine.device.resets > 0 && world.engine.device.state === 'open');
  setFaults();
  turn(200);
  expect(world.engine.device.resets).toBe(1);
  expect(world.expect(a, 20).every(({ code }) => code === Code.reset)).toBe(true);
  works(a);
});

test('a lease whose queue cannot be made again after a timeout is not left dead', async () => {
  world = await EngineWorld.create({}, { commandTimeout: 30 });
  const a = world.tenant(1);
  setFaults(drop({ queue: 'io', nth: 1 }), {
    match: { queue: 'admin', opcode: Admin.createSubmission, nth: 1 },
    action: { kind: 'status', type: 0, code: 6 },
  });
  expect(world.execute(a, world.request(a))[0].code).toBe(Code.timeout);
  world.until(() => world.engine.device.lease(a.lease.lease).active);
  works(a);
  expect(world.events().map(([name]) => name)).toContain('reset');
});

test('log pages that fail or are never answered cost no memory, and no reset but their own', async () => {
  world = await EngineWorld.create();
  const a = world.tenant(1);
  const used = world.engine.driver.arena.usedBytes;
  setFaults({ match: { queue: 'admin', opcode: Admin.getLogPage }, action: { kind: 'status', type: 0, code: 6 } });
  for (let count = 0; count < 5; count++) expect(() => world.run(world.methods.logPage('smart'))).toThrow();
  expect(world.engine.driver.arena.usedBytes).toBe(used);
  setFaults(drop({ queue: 'admin', opcode: Admin.getLogPage }));
  const reading = start(world.methods.logPage('smart'));
  turn(3);
  world.run(world.methods.resetController('test'));
  turn(3);
  expect(reading.ended).toBe(true);
  expect(reading.error).toMatchObject({ name: 'HardwareError', code: 'lost' });
  world.skew += 6_000;
  turn(50);
  expect(world.engine.device.resets).toBe(1);
  expect(world.engine.driver.arena.usedBytes).toBe(used);
  works(a);
});

test('memory that is asked for twice to be taken away goes once, and the device notices nothing', async () => {
  world = await EngineWorld.create();
  const [a, b] = [world.tenant(1), world.tenant(2)];
  setFaults({ match: { queue: 'io', nth: 1 }, action: { kind: 'delay', milliseconds: 30 } });
  world.submit(a, world.request(a));
  world.until(() => world.engine.device.commandsInFlight() === 1);
  const once = start(world.methods.detachRegion(1, a.region, true));
  const twice = start(world.methods.detachRegion(1, a.region, true));
  world.until(() => once.ended && twice.ended);
  expect([once.error, twice.error]).toEqual([undefined, undefined]);
  // A stale handle of the slot names nothing.
  const next = (a.region + 0x1000_0000) >>> 0;
  world.attach(1, next, REGION_BYTES);
  world.run(world.methods.detachRegion(1, a.region, true));
  expect(world.execute(a, world.request(a, { region: next }))[0].code).toBe(Code.ok);
  works(b);
});

test('a queue pair for which there is no room leaves nothing behind', async () => {
  world = await EngineWorld.create({ busBytes: 6 * 1_048_576, queuePairs: 8 });
  const a = world.tenant(1);
  const used = world.engine.driver.arena.usedBytes;
  for (let count = 0; count < 4; count++) expect(() => world.openQueue(a.lease.lease, 512)).toThrow('noFreeQueue');
  expect(world.engine.driver.arena.usedBytes).toBe(used);
});
