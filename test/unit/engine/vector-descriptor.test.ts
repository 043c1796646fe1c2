/** Vectors that are bound to event descriptors of clients: who is told, of what, and that nobody else is held up by what a client does to its own. */
import { openSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { shm } from '../../../src/native/shm.js';
import { Code } from '../../../src/protocol/index.js';
import type { Coalescing } from '../../../src/server/engine/api.js';
import { takeDescriptor } from '../../../src/server/engine/vector-descriptor.js';
import { EngineWorld, type Tenant } from '../../support/engine-world.js';
import { StuckFile } from '../../support/fuse.js';
import { FULL_COUNTER, counterOf, makeWritesBlock } from '../../support/hostile-eventfd.js';
import { descriptorCount } from '../native/support.js';

/** Whose descriptors these are; no user of this machine. */
const USER = 77_777;
const AT_ONCE: Coalescing = { microseconds: 0, events: 0 };

let world: EngineWorld;
const descriptors: number[] = [];
beforeEach(async () => {
  world = await EngineWorld.create();
});
afterEach(async () => {
  await world.end();
  for (const fd of descriptors.splice(0)) shm().close(fd);
});

/** A client's end of an eventfd, and the one that it passes. */
function passed(): { fd: number; toPass: number } {
  const fd = shm().eventfd();
  descriptors.push(fd);
  return { fd, toPass: shm().duplicate(fd) };
}

/** Binds as the host does, and returns the client's end and the signal. */
function bind({ lease, queue }: Tenant, coalescing = AT_ONCE, vector = queue): { fd: number; signal: number } {
  const { fd, toPass } = passed();
  const signal = takeDescriptor(toPass, coalescing, USER);
  try {
    world.run(world.methods.bindVectorSignal(lease.lease, vector, signal));
  } catch (error) {
    shm().signalEnd(signal);
    throw error;
  }
  return { fd, signal };
}

/** A request of the tenant, until the engine has told of its completion. */
function request(tenant: Tenant): void {
  expect(world.execute(tenant, world.request(tenant)).map(({ code }) => code)).toEqual([Code.ok]);
  world.engine.turn();
}

const woken = (fd: number): Promise<void> => expect.poll(() => shm().eventfdTake(fd)).toBeGreaterThan(0);

describe('a bound descriptor', () => {
  test('is told of its lease\u2019s vector, and of nothing else', async () => {
    const [a, b] = [world.tenant(1), world.tenant(2)];
    const [ofA, ofB] = [bind(a), bind(b)];
    request(b);
    await woken(ofB.fd);
    expect(shm().signalCounters(ofA.signal)).toEqual({ events: 0, signals: 0 });
    request(a);
    await woken(ofA.fd);
    expect(shm().signalCounters(ofB.signal)?.events).toBe(1);
    // The session did not ask to be told.
    expect(world.events().filter(([name]) => name === 'interrupt')).toEqual([]);
  });

  test('is told beside the session, and either can end alone', async () => {
    const a = world.tenant(1);
    const { fd, signal } = bind(a);
    const { lease } = a.lease;
    world.run(world.methods.bindVector(lease, a.queue, true));
    request(a);
    await woken(fd);
    expect(world.events()).toEqual([['interrupt', lease, a.queue, 1]]);
    world.run(world.methods.bindVector(lease, a.queue, false));
    request(a);
    await woken(fd);
    expect(world.events()).toEqual([]);
    world.run(world.methods.bindVector(lease, a.queue, true));
    world.run(world.methods.bindVectorSignal(lease, a.queue, 0));
    request(a);
    expect(world.events()).toEqual([['interrupt', lease, a.queue, 1]]);
    expect(shm().signalCounters(signal)).toBeUndefined();
  });

  test('on a shared queue pair is told of its own completions only', async () => {
    const [a, b] = [world.tenant(1, { queues: 'shared' }), world.tenant(2, { queues: 'shared' })];
    const [ofA, ofB] = [bind(a), bind(b)];
    request(a);
    await woken(ofA.fd);
    expect(shm().signalCounters(ofB.signal)?.events).toBe(0);
  });

  test('is shown to the administrator with its counters', () => {
    const a = world.tenant(1);
    bind(a, { microseconds: 1_000_000, events: 0 });
    request(a);
    request(a);
    expect(world.engine.inspect()).toMatchObject({
      vectors: [{ lease: a.lease.lease, vector: a.queue, session: false, descriptor: { events: 2 } }],
    });
  });

  test('is released by another one, by -1, by the end of the lease, and by its revocation', async () => {
    const [a, b, c] = [world.tenant(1), world.tenant(2), world.tenant(3)];
    const before = descriptorCount();
    const earlier = bind(a);
    const later = bind(a);
    expect([earlier, later].map(({ signal }) => shm().signalCounters(signal))).toEqual([undefined, { events: 0, signals: 0 }]);
    request(a);
    await woken(later.fd);
    expect(shm().eventfdTake(earlier.fd)).toBe(0);
    world.run(world.methods.bindVectorSignal(a.lease.lease, a.queue, 0));
    const [ofB, ofC, others] = [bind(b), bind(c), bind(c, AT_ONCE, 1)];
    world.run(world.methods.closeLease(b.lease.lease));
    world.run(world.methods.replaceGrant(c.lease.lease, []));
    expect([later, ofB, ofC, others].map(({ signal }) => shm().signalCounters(signal))).toEqual([undefined, undefined, undefined, undefined]);
    expect(world.engine.inspect()).toMatchObject({ vectors: [] });
    // The clients' ends are left.
    await expect.poll(() => descriptorCount()).toBe(before + 5);
  });

  test('is released with the engine', () => {
    const a = world.tenant(1);
    const { signal } = bind(a);
    world.engine.interrupts.releaseAll();
    expect(shm().signalCounters(signal)).toBeUndefined();
  });

  test('stays bound over a reset of the lease and of the controller', async () => {
    const a = world.tenant(1);
    const { fd } = bind(a);
    const generation = world.run(world.methods.resetLease(a.lease.lease));
    request({ ...a, lease: { ...a.lease, generation } });
    await woken(fd);
    world.run(world.methods.resetController('test'));
    const { generation: next } = world.engine.device.lease(a.lease.lease);
    shm().eventfdTake(fd);
    request({ ...a, lease: { ...a.lease, generation: next } });
    await woken(fd);
  });
});

describe('is refused', () => {
  test('at or above the vectors of the lease', () => {
    const a = world.tenant(1, { maxQueues: 2 });
    expect(a.lease.vectors).toBe(2);
    for (const vector of [2, 3, 2 ** 31, -1, 0.5, NaN]) expect(() => bind(a, AT_ONCE, vector), String(vector)).toThrow('unknownVector at vector');
    expect(() => bind({ ...a, lease: { ...a.lease, lease: 999 } })).toThrow('unknownLease');
    expect(world.engine.inspect()).toMatchObject({ vectors: [] });
  });

  test('with coalescing that cannot be, and the descriptor is closed', async () => {
    const before = descriptorCount();
    const wrong: [Coalescing, string][] = [
      [{ microseconds: -1, events: 0 }, 'microseconds: -1'],
      [{ microseconds: 1_000_001, events: 0 }, 'microseconds: 1000001'],
      [{ microseconds: NaN, events: 0 }, 'microseconds: NaN'],
      [{ microseconds: 10, events: 65_536 }, 'events: 65536'],
      [{ microseconds: 10, events: 1.5 }, 'events: 1.5'],
      [{ microseconds: 0, events: 8 }, 'events: 8'],
    ];
    for (const [coalescing, message] of wrong) expect(() => takeDescriptor(shm().eventfd(), coalescing, USER)).toThrow(`outOfRange at ${message}`);
    await expect.poll(() => descriptorCount()).toBe(before);
  });

  test('a descriptor that is no eventfd, and it is closed', async () => {
    const before = descriptorCount();
    const [left, right] = shm().socketpair();
    for (const fd of [left, right, shm().memfdCreate('test', 4096), shm().epollCreate(), openSync('/dev/null', 'r')]) {
      expect(() => takeDescriptor(fd, AT_ONCE, USER)).toThrow('notAnEventfd at fd');
    }
    await expect.poll(() => descriptorCount()).toBe(before);
  });
});

describe('the engine and the other tenants go on', () => {
  /** Requests of both; the other one hears of each of its own. */
  async function bothGoOn(hostile: Tenant, other: Tenant, fd: number): Promise<void> {
    for (let round = 0; round < 20; round++) {
      request(hostile);
      request(other);
      await woken(fd);
    }
  }

  test('when a client makes its descriptor block and fills its counter', async () => {
    const [hostile, other] = [world.tenant(1), world.tenant(2)];
    const [mine, theirs] = [bind(hostile), bind(other)];
    makeWritesBlock(mine.fd);
    await bothGoOn(hostile, other, theirs.fd);
    expect(shm().signalCounters(mine.signal)).toEqual({ events: 20, signals: expect.any(Number) as number });
    expect(counterOf(mine.fd)).toBe(FULL_COUNTER + 1n);
    world.run(world.methods.closeLease(hostile.lease.lease));
    request(other);
    await woken(theirs.fd);
  });

  test('when a client closes its descriptor', async () => {
    const [hostile, other] = [world.tenant(1), world.tenant(2)];
    const [mine, theirs] = [bind(hostile), bind(other)];
    descriptors.splice(descriptors.indexOf(mine.fd), 1);
    shm().close(mine.fd);
    await bothGoOn(hostile, other, theirs.fd);
  });

  test('when a client passes a file of its own file system, which never lets go (needs root and FUSE)', async ({ skip }) => {
    const file = await StuckFile.mount();
    if (file === undefined) return skip();
    try {
      const [hostile, other] = [world.tenant(1), world.tenant(2)];
      const { fd } = bind(other);
      const pass = await file.open();
      expect(() => takeDescriptor(pass, AT_ONCE, USER)).toThrow('notAnEventfd at fd');
      await expect.poll(() => file.stuck.length).toBe(1);
      await bothGoOn(hostile, other, fd);
      // Its close is still under way.
      expect(file.stuck.length).toBe(1);
    } finally {
      await file.end();
    }
  });
});
