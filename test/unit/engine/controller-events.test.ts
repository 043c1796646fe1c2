/** Asynchronous events of the controller: a tenant hears of its own namespaces, the administrator of everything. */
import { afterEach, expect, test } from 'vitest';
import { Code } from '../../../src/protocol/index.js';
import { EngineWorld } from '../../support/engine-world.js';

const MIB = 1_048_576;
let world: EngineWorld;
afterEach(() => world.end());

test('a changed namespace is told to the leases that have a share in it, again and again', async () => {
  world = await EngineWorld.create({
    namespaces: [
      { bytes: 8 * MIB, blockBytes: 512 },
      { bytes: 8 * MIB, blockBytes: 512 },
    ],
  });
  world.tenant(1, { shares: [world.share(0, 100)] });
  const b = world.tenant(2, { shares: [world.share(100, 100), world.share(0, 100, { namespace: 2 })] });
  for (let round = 0; round < 3; round++) {
    world.events();
    world.run(world.backing.changeNamespace(2));
    const told: unknown[] = [];
    world.until(() => {
      told.push(...world.events());
      return told.length > 0;
    });
    for (let turn = 0; turn < 100; turn++) world.engine.turn();
    expect([...told, ...world.events()]).toEqual([['namespaceChanged', b.lease.lease, 1]]);
  }
});

test('a critical warning goes to the log and to no tenant, and the SMART page tells it', async () => {
  world = await EngineWorld.create();
  const a = world.tenant(1);
  world.run(world.backing.setHealth({ criticalWarning: 0x01 }));
  for (let turn = 0; turn < 500; turn++) world.engine.turn();
  expect(world.events()).toEqual([]);
  const smart = world.run(world.methods.logPage('smart'));
  expect(smart[0]).toBe(0x01);
  expect(world.execute(a, world.request(a))[0].code).toBe(Code.ok);
});

test('fatal status is found out and mended by a reset, after which every lease goes on', async () => {
  world = await EngineWorld.create({ faults: [{ match: { queue: 'io', nth: 3 }, action: { kind: 'fatal' } }] });
  const [a, b] = [world.tenant(1), world.tenant(2)];
  expect(world.execute(a, world.request(a), world.request(a)).map(({ code }) => code)).toEqual([Code.ok, Code.ok]);
  world.submit(a, world.request(a));
  world.skew += 2_000;
  expect(world.expect(a, 1)[0].code).toBe(Code.reset);
  const told = new Map<number, number>();
  world.until(() => {
    for (const event of world.events()) if (event[0] === 'reset') told.set(event[1], event[2]);
    return told.size === 2;
  });
  for (const tenant of [a, b]) {
    const generation = told.get(tenant.lease.lease) ?? 0;
    expect(world.execute(tenant, world.request(tenant, { generation }))[0].code).toBe(Code.ok);
  }
});

test('a tenant whose commands do not end is put out of the shared queue, and the others go on', async () => {
  world = await EngineWorld.create({ faults: [{ match: { queue: 'io', opcode: 1 }, action: { kind: 'drop' } }] }, { commandTimeout: 30 });
  const bad = world.tenant(1, { queues: 'shared' });
  const good = world.tenant(2, { queues: 'shared' });
  for (let strike = 0; strike < 3; strike++) world.submit(bad, world.request(bad, { operation: 2 }));
  expect(world.expect(bad, 3).map(({ code }) => code)).toEqual([Code.timeout, Code.timeout, Code.timeout]);
  const told: unknown[] = [];
  world.until(() => {
    told.push(...world.events());
    return told.length > 0 && !world.engine.device.leases.has(bad.lease.lease);
  });
  expect(told).toContainEqual(['revoked', bad.lease.lease, 'commands of the tenant do not end']);
  expect(world.execute(good, world.request(good))[0].code).toBe(Code.ok);
});
