import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Code, EntryFlag, Field, Operation, RequestRing, Right } from '../../../src/protocol/index.js';
import { Refusal } from '../../../src/server/engine/api.js';
import { EngineWorld, REGION_BYTES } from '../../support/engine-world.js';

let world: EngineWorld;
beforeEach(async () => {
  world = await EngineWorld.create();
});
afterEach(() => world.end());

const codes = (completions: readonly { code: number }[]): number[] => completions.map(({ code }) => code);

describe('requests', () => {
  test('write and read blocks of the share, and nothing else', () => {
    const [a, b] = [world.tenant(1), world.tenant(2)];
    const data = randomBytes(4096);
    data.copy(a.memory, 8192);
    expect(codes(world.execute(a, world.request(a, { operation: Operation.write, lba: 5n, blocks: 8, offset: 8192n })))).toEqual([Code.ok]);
    const [read] = world.execute(a, world.request(a, { lba: 5n, blocks: 8, offset: 65_536n }));
    expect(read).toMatchObject({ code: Code.ok, bytes: 4096, generation: a.lease.generation });
    expect(a.memory.subarray(65_536, 65_536 + 4096).equals(data)).toBe(true);
    b.memory.fill(0xaa);
    world.execute(b, world.request(b, { lba: 5n, blocks: 8 }));
    expect(b.memory.subarray(0, 4096).every((byte) => byte === 0)).toBe(true);
    expect(b.memory.subarray(4096).every((byte) => byte === 0xaa)).toBe(true);
  });

  test('every operation does what it says', () => {
    const a = world.tenant(1);
    a.memory.fill(0x5a, 0, 1024);
    const done = world.execute(
      a,
      world.request(a, { operation: Operation.write, blocks: 2, flags: EntryFlag.forceUnitAccess }),
      world.bare(a, { operation: Operation.flush }),
    );
    expect(codes(done)).toEqual([Code.ok, Code.ok]);
    expect(codes(world.execute(a, world.request(a, { operation: Operation.compare, blocks: 2 })))).toEqual([Code.ok]);
    expect(codes(world.execute(a, world.bare(a, { operation: Operation.writeZeroes, lba: 1n, blocks: 1 })))).toEqual([Code.ok]);
    expect(codes(world.execute(a, world.request(a, { operation: Operation.compare, blocks: 2 })))).toEqual([Code.compareFailed]);
    a.memory.fill(0, 4096, 4112);
    a.memory.writeUInt32LE(2, 4096 + 8);
    expect(codes(world.execute(a, world.bare(a, { operation: Operation.deallocate, region: a.region, offset: 4096n, length: 16 })))).toEqual([
      Code.ok,
    ]);
    world.execute(a, world.request(a, { blocks: 2, offset: 8192n }));
    expect(a.memory.subarray(8192, 8192 + 1024).every((byte) => byte === 0)).toBe(true);
  });

  test('give back the tag of the client, all 64 bits of it', () => {
    const a = world.tenant(1);
    const tag = 0xfedc_ba98_7654_3210n;
    expect(world.execute(a, world.request(a, { tag }))[0].tag).toBe(tag);
  });

  test('a refusal tells code, field and value, and the queue goes on', () => {
    const a = world.tenant(1);
    const [refused, done] = world.execute(a, world.request(a, { lba: 1000n }), world.request(a));
    expect(refused).toMatchObject({ code: Code.lbaOutsideShare, field: Field.lba, value: 1000n, bytes: 0 });
    expect(done.code).toBe(Code.ok);
  });

  test('the region of another tenant is unknown', () => {
    const [a, b] = [world.tenant(1), world.tenant(2)];
    b.memory.fill(0xbb);
    expect(codes(world.execute(a, world.request(a, { region: b.region })))).toEqual([Code.unknownRegion]);
    expect(b.memory.every((byte) => byte === 0xbb)).toBe(true);
  });

  test('the lease of another is refused', () => {
    const [a, b] = [world.tenant(1), world.tenant(2)];
    expect(codes(world.execute(a, world.request(a, { lease: b.lease.lease })))).toEqual([Code.leaseMismatch]);
  });

  test('a tag in flight cannot be used again, one that completed can', () => {
    const a = world.tenant(1);
    expect(codes(world.execute(a, world.request(a, { tag: 7n }), world.request(a, { tag: 7n }))).sort()).toEqual([Code.ok, Code.tagInUse]);
    expect(codes(world.execute(a, world.request(a, { tag: 7n })))).toEqual([Code.ok]);
  });

  test('flushes that go out together are one command, and each gets its answer', () => {
    const a = world.tenant(1);
    const flushes = Array.from({ length: 10 }, () => world.bare(a, { operation: Operation.flush }));
    world.submit(a, ...flushes);
    world.engine.turn();
    const done = world.expect(a, 10);
    expect(new Set(done.map(({ tag }) => tag)).size).toBe(10);
    expect(codes(done).every((code) => code === Code.ok)).toBe(true);
    const pair = [...world.engine.path.tables.keys()].find(({ id }) => id === 1);
    expect(pair?.room).toBe(pair?.capacity);
  });

  test('a share without the right to write is not written', () => {
    const a = world.tenant(1, { shares: [world.share(0, 100, { access: Right.read })] });
    expect(codes(world.execute(a, world.request(a, { operation: Operation.write })))).toEqual([Code.noWriteRight]);
  });

  test('thousands of requests through a small ring all come back, once', () => {
    const a = world.tenant(1, { entries: 8 });
    const seen = new Set<bigint>();
    let sent = 0;
    world.until(() => {
      while (sent < 2000 && a.channel.room() > 0) {
        world.submit(a, world.request(a, { lba: BigInt(sent % 900), offset: BigInt((sent % 100) * 512) }));
        sent++;
      }
      for (const { tag, code } of world.take(a)) {
        expect(code).toBe(Code.ok);
        expect(seen.has(tag)).toBe(false);
        seen.add(tag);
      }
      return seen.size === 2000;
    });
  });
});

describe('leases', () => {
  test('the first opens the device and the last closes it', () => {
    expect(world.engine.device.state).toBe('closed');
    const [a, b] = [world.tenant(1), world.tenant(2)];
    expect(world.engine.device.state).toBe('open');
    world.run(world.methods.closeLease(a.lease.lease));
    expect(world.engine.device.state).toBe('open');
    world.run(world.methods.closeLease(b.lease.lease));
    expect(world.engine.device.state).toBe('closed');
    expect(world.engine.driver.arena.usedBytes).toBe(0);
  });

  test('exclusive is refused beside others, and excludes others', () => {
    const a = world.tenant(1);
    expect(() => world.openLease(2, { mode: 'exclusive' })).toThrow(new Refusal('deviceBusy', 'mode', 'exclusive'));
    world.run(world.methods.detachRegion(1, a.region, true));
    world.run(world.methods.closeLease(a.lease.lease));
    world.openLease(2, { mode: 'exclusive' });
    expect(() => world.openLease(3)).toThrow('deviceBusy');
  });

  test('exclusive is refused while memory of an earlier holder is left, and an event tells when it is gone (R22, R23)', () => {
    const a = world.tenant(1);
    world.run(world.methods.closeLease(a.lease.lease));
    expect(() => world.openLease(2, { mode: 'exclusive' })).toThrow('notFree');
    expect(world.run(world.methods.report()).free).toBe(false);
    expect(world.events()).toEqual([]);
    world.run(world.methods.detachRegion(1, a.region, true));
    expect(world.events()).toEqual([['free']]);
    expect(world.run(world.methods.report())).toMatchObject({ free: true, heldBy: [], state: 'closed' });
    world.openLease(2, { mode: 'exclusive' });
  });

  test('own queue pairs are refused when none is free, and come back with their lease (R34)', async () => {
    await world.end();
    // One is kept for shared queues, and one for the server.
    world = await EngineWorld.create({ queuePairs: 4 });
    const [a, b] = [world.tenant(1), world.tenant(2)];
    expect(() => world.openLease(3)).toThrow('noFreeQueue');
    const c = world.tenant(3, { queues: 'shared' });
    expect(codes(world.execute(c, world.request(c)))).toEqual([Code.ok]);
    world.run(world.methods.closeLease(a.lease.lease));
    const d = world.tenant(4);
    expect(codes(world.execute(d, world.request(d)))).toEqual([Code.ok]);
    expect(codes(world.execute(b, world.request(b)))).toEqual([Code.ok]);
  });

  test('a lease has its own generation, and an old one is refused', () => {
    const a = world.tenant(1);
    const generation = world.run(world.methods.resetLease(a.lease.lease));
    expect(generation).not.toBe(a.lease.generation);
    expect(codes(world.execute(a, world.request(a)))).toEqual([Code.staleGeneration]);
    expect(codes(world.execute(a, world.request(a, { generation })))).toEqual([Code.ok]);
    expect(world.events()).toEqual([['reset', a.lease.lease, generation, 'asked for']]);
  });

  test('a grant is replaced as a whole; without shares the lease is revoked', () => {
    const a = world.tenant(1);
    world.run(world.methods.replaceGrant(a.lease.lease, [world.share(0, 10)]));
    expect(codes(world.execute(a, world.request(a, { lba: 10n })))).toEqual([Code.lbaOutsideShare]);
    world.run(world.methods.replaceGrant(a.lease.lease, []));
    expect(world.events()).toContainEqual(['revoked', a.lease.lease, 'the grant was taken away']);
    expect(world.engine.device.leases.size).toBe(0);
  });

  test('vectors fire for the lease whose queue completes, where it is bound, and for nobody else', () => {
    const [a, b] = [world.tenant(1), world.tenant(2)];
    world.run(world.methods.bindVector(a.lease.lease, a.queue, true));
    world.execute(b, world.request(b));
    world.execute(a, world.request(a));
    world.engine.turn();
    const events = world.events();
    expect(events.length).toBeGreaterThan(0);
    expect(events.every(([name, lease, vector]) => name === 'interrupt' && lease === a.lease.lease && vector === a.queue)).toBe(true);
    world.run(world.methods.bindVector(a.lease.lease, a.queue, false));
    world.execute(a, world.request(a));
    world.engine.turn();
    expect(world.events()).toEqual([]);
    expect(() => world.run(world.methods.bindVector(a.lease.lease, 4, true))).toThrow('unknownVector');
  });
});

describe('memory', () => {
  test('an unmapped region is unknown at once', () => {
    const a = world.tenant(1);
    world.run(world.methods.detachRegion(1, a.region, false));
    expect(codes(world.execute(a, world.request(a)))).toEqual([Code.unknownRegion]);
  });

  test('a region with requests in flight is not unmapped without force; with force it stays in quarantine until they end', async () => {
    await world.end();
    world = await EngineWorld.create({ faults: [{ match: { queue: 'io', nth: 1 }, action: { kind: 'delay', milliseconds: 200 } }] });
    const a = world.tenant(1);
    world.submit(a, world.request(a));
    world.until(() => world.run(world.methods.regionInFlight(1, a.region)) === 1);
    expect(() => world.run(world.methods.detachRegion(1, a.region, false))).toThrow('regionBusy');
    const detaching = world.methods.detachRegion(1, a.region, true);
    detaching.next();
    expect(world.engine.device.report().quarantineBytes).toBe(REGION_BYTES);
    world.run(detaching);
    expect(codes(world.expect(a, 1))).toEqual([Code.ok]);
    expect(world.engine.device.report().quarantineBytes).toBe(0);
  });
});

describe('trouble', () => {
  /** A command that never ends: `nth` of the I/O queues. */
  const stuck = (nth: number) => ({ faults: [{ match: { queue: 'io' as const, nth }, action: { kind: 'drop' as const } }] });

  test('a dropped command on an own queue ends with timeout, and the lease goes on with a new generation', async () => {
    await world.end();
    world = await EngineWorld.create(stuck(1), { commandTimeout: 50 });
    const [a, b] = [world.tenant(1), world.tenant(2)];
    world.submit(a, world.request(a));
    const [late] = world.expect(a, 1);
    expect(late.code).toBe(Code.timeout);
    expect(codes(world.execute(b, world.request(b)))).toEqual([Code.ok]);
  });

  test('a lease that is closed with a stuck command ends all the same, and the device is free', async () => {
    await world.end();
    world = await EngineWorld.create(stuck(1), { commandTimeout: 60_000 });
    const [a, b] = [world.tenant(1), world.tenant(2)];
    world.submit(a, world.request(a));
    world.until(() => world.engine.device.commandsInFlight() === 1);
    world.run(world.methods.closeLease(a.lease.lease));
    expect(world.run(world.methods.regionInFlight(1, a.region))).toBe(0);
    expect(codes(world.execute(b, world.request(b)))).toEqual([Code.ok]);
  });

  test('on the shared queue one tenant\u2019s stuck command ends nobody else\u2019s work', async () => {
    await world.end();
    world = await EngineWorld.create(stuck(1), { commandTimeout: 50 });
    const [a, b] = [world.tenant(1, { queues: 'shared' }), world.tenant(2, { queues: 'shared' })];
    world.submit(a, world.request(a));
    world.until(() => world.engine.device.commandsInFlight() === 1);
    for (let round = 0; round < 50; round++) expect(codes(world.execute(b, world.request(b)))).toEqual([Code.ok]);
    expect(codes(world.expect(a, 1))).toEqual([Code.timeout]);
    expect(codes(world.execute(b, world.request(b)))).toEqual([Code.ok]);
    expect(world.events().filter(([name]) => name === 'reset')).toEqual([]);
  });

  test('a completion that names no command resets the controller, not the process', async () => {
    await world.end();
    world = await EngineWorld.create({ faults: [{ match: { queue: 'io', nth: 1 }, action: { kind: 'corruptCommandId' } }] });
    const [a, b] = [world.tenant(1), world.tenant(2)];
    world.submit(a, world.request(a));
    expect(codes(world.expect(a, 1))).toEqual([Code.reset]);
    const reset = new Set<number>();
    world.until(() => {
      for (const event of world.events()) if (event[0] === 'reset') reset.add(event[1]);
      return reset.has(a.lease.lease) && reset.has(b.lease.lease);
    });
    const generation = world.engine.device.lease(b.lease.lease).generation;
    expect(codes(world.execute(b, world.request(b, { generation })))).toEqual([Code.ok]);
  });

  test('a device that goes away ends every request with deviceLost and refuses new leases', () => {
    const a = world.tenant(1);
    world.run(world.backing.removeDevice());
    world.until(() => world.engine.device.state === 'lost');
    expect(world.events().some(([name]) => name === 'deviceLost')).toBe(true);
    expect(codes(world.execute(a, world.request(a)))).toEqual([Code.leaseNotActive]);
    expect(() => world.openLease(2)).toThrow('deviceLost');
    world.run(world.methods.closeLease(a.lease.lease));
  });

  test('an error of the device is told with its status', async () => {
    await world.end();
    world = await EngineWorld.create({ faults: [{ match: { queue: 'io', nth: 1 }, action: { kind: 'status', type: 2, code: 0x81 } }] });
    const a = world.tenant(1);
    expect(world.execute(a, world.request(a))[0]).toMatchObject({ code: Code.deviceError, status: 0x281, field: Field.status });
  });

  test('a client that lies about its indices faults, and only it', () => {
    const [a, b] = [world.tenant(1), world.tenant(2)];
    world.submit(a, world.request(a));
    Atomics.store(new Int32Array(a.rings.requests), RequestRing.requestTail, 1000);
    world.engine.turn();
    expect(world.events()).toEqual([['fault', a.lease.lease, Code.ringContract]]);
    expect(world.take(a)).toEqual([]);
    expect(codes(world.execute(b, world.request(b)))).toEqual([Code.ok]);
  });
});
