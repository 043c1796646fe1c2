/** The engine behind rings that a client has mapped: what a good client sees, and what a bad one can do, which is to hurt itself. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { violations } from '../../../src/hw/emulated/index.js';
import { shm } from '../../../src/native/shm.js';
import { Code, EntryFlag, Field, Operation, type RequestFields } from '../../../src/protocol/index.js';
import { Refusal } from '../../../src/server/engine/api.js';
import { QueueFiles } from '../../../src/server/handover/index.js';
import { createMemoryFile } from '../../../src/hw/dma/index.js';
import { EngineWorld, type Tenant } from '../../support/engine-world.js';
import { Lingering } from '../../support/lingering.js';
import { RawRing } from '../../../src/cli/demo/mediated/raw-ring.js';
import { descriptorCount, mappingsOf, thread } from '../native/support.js';

const ENTRIES = 8;
let world: EngineWorld;
let tenant: Tenant;
let other: Tenant;
let files: QueueFiles;
let ring: RawRing;
let connection: number;
let connected: boolean;

beforeEach(async () => {
  world = await EngineWorld.create({ audit: true });
  tenant = world.tenant(1, { entries: ENTRIES });
  other = world.tenant(2);
  const [ours, theirs] = shm().socketpair();
  files = new QueueFiles(ENTRIES, false);
  world.run(
    world.methods.shareQueue(tenant.lease.lease, tenant.queue, { requests: files.requests, completions: files.completions, doorbell: theirs }),
  );
  connection = ours;
  connected = true;
  ring = RawRing.map(ENTRIES, files.requests, files.completions, ours);
});
afterEach(async () => {
  ring.end();
  await world.end();
  files.revoke(true);
  if (connected) shm().close(connection);
});

const read = (change: Partial<RequestFields> = {}): RequestFields => world.request(tenant, change);

function turn(times: number): void {
  for (let time = 0; time < times; time++) world.engine.turn();
}

/** What the tenant of the other queue does works, whatever this one does. */
function othersWork(): void {
  other.memory.fill(0x21, 0, 512);
  expect(world.execute(other, world.request(other, { operation: Operation.write }), world.request(other)).map(({ code }) => code)).toEqual([0, 0]);
}

function complete(...requests: readonly RequestFields[]) {
  ring.write(...requests);
  ring.commit();
  const done: ReturnType<RawRing['reap']> = [];
  world.until(() => {
    done.push(...ring.reap());
    return done.length === requests.length;
  });
  return done;
}

describe('a good client', () => {
  test('finds its completions where the layout says, byte for byte', () => {
    const golden = Buffer.from(ring.requests.buffer as ArrayBuffer);
    // operation 3 (flush), share 0; generation; tag; nothing; lease; queue.
    const { lease, generation } = tenant.lease;
    golden.writeUInt8(3, 4_096);
    golden.writeUInt32LE(generation, 4_100);
    golden.writeBigUInt64LE(0x1122_3344_5566_7788n, 4_104);
    golden.writeUInt32LE(lease, 4_140);
    golden.writeUInt16LE(tenant.queue, 4_144);
    golden.writeUInt32LE(1, 0);
    ring.ring();
    world.until(() => ring.completed === 1);
    const answers = Buffer.from(ring.completions.buffer as ArrayBuffer);
    const expected = Buffer.alloc(32);
    expected.writeBigUInt64LE(0x1122_3344_5566_7788n, 0);
    expected.writeUInt16LE(tenant.queue, 14);
    expected.writeUInt32LE(generation, 24);
    expect(answers.subarray(4_096, 4_128).toString('hex')).toBe(expected.toString('hex'));
    expect([answers.readUInt32LE(0), answers.readUInt32LE(64)]).toEqual([1, 1]);
  });

  test('moves data, many times around the ring', () => {
    for (let round = 0; round < 5 * ENTRIES; round++) {
      tenant.memory.fill(round, 0, 512);
      const write = read({ operation: Operation.write, lba: BigInt(round) });
      const back = read({ lba: BigInt(round), offset: 512n });
      expect(complete(write).map(({ tag, code, bytes }) => [tag, code, bytes])).toEqual([[write.tag, Code.ok, 512]]);
      expect(complete(back).map(({ tag, code }) => [tag, code])).toEqual([[back.tag, Code.ok]]);
      expect(tenant.memory.subarray(512, 1_024).every((byte) => byte === round)).toBe(true);
    }
  });

  test('that sleeps is rung once for what was published, and not when it is awake', () => {
    complete(read(), read());
    expect(ring.rung()).toBe(-1);
    ring.setSleeping(true);
    complete(read(), read(), read());
    const rung = ring.rung();
    expect(rung).toBeGreaterThan(0);
    expect(rung).toBeLessThanOrEqual(3);
  });

  test('wakes the engine with one byte, and the engine says when it wants that', () => {
    world.until(() => ring.needsWakeup);
    ring.write(read());
    ring.setTail(ring.tail);
    turn(200);
    expect(ring.taken).toBe(0);
    ring.ring();
    world.until(() => ring.completed === 1);
    expect(world.engine.scheduler.rest()).toBe(true);
    expect(ring.needsWakeup).toBe(true);
  });

  test('can ask for it once, before anything else', () => {
    const again = () =>
      world.run(
        world.methods.shareQueue(tenant.lease.lease, tenant.queue, { requests: files.requests, completions: files.completions, doorbell: -1 }),
      );
    expect(again).toThrow(new Refusal('notFresh', 'queue', 0));
    othersWork();
    const used = () =>
      world.run(world.methods.shareQueue(other.lease.lease, other.queue, { requests: files.requests, completions: files.completions, doorbell: -1 }));
    expect(used).toThrow(new Refusal('notFresh', 'queue', 0));
  });

  test('goes on after a reset, with the new generation', () => {
    const generation = world.run(world.methods.resetLease(tenant.lease.lease));
    expect(complete(read())[0].code).toBe(Code.staleGeneration);
    expect(complete(read({ generation }))[0].code).toBe(Code.ok);
  });
});

describe('a client that never reaps', () => {
  test('is served until its completion ring is full; the engine rests, and goes on when there is room', () => {
    for (let sent = 0; sent < 2 * ENTRIES; sent++) {
      world.until(() => ring.tail - ring.taken < ENTRIES || ring.completed === ENTRIES);
      if (ring.tail - ring.taken === ENTRIES) break;
      ring.write(read());
      ring.commit();
    }
    world.until(() => ring.completed === ENTRIES);
    turn(100);
    expect(ring.completed).toBe(ENTRIES);
    expect(ring.taken).toBe(ENTRIES);
    // It waits with requests on its ring, and costs nothing.
    expect(world.engine.scheduler.rest()).toBe(true);
    expect(ring.needsWakeup).toBe(true);
    othersWork();
    ring.setHead(3);
    ring.ring();
    world.until(() => ring.completed === ENTRIES + 3);
  });
});

describe('a client that lies about its indices', () => {
  const lies: [string, () => void][] = [
    ['a tail further than the ring is long', () => ring.setTail(ENTRIES + 1)],
    ['a tail that goes back', () => ring.setTail(-1)],
    ['a tail half way around the numbers', () => ring.setTail(-(2 ** 31))],
    ['a head of completions that are not there', () => ring.setHead(1)],
    ['a head that goes back', () => ring.setHead(-1)],
  ];

  test.each(lies)('%s ends its lease', (_name, lie) => {
    lie();
    ring.ring();
    turn(50);
    expect(world.events()).toContainEqual(['fault', tenant.lease.lease, Code.ringContract]);
    othersWork();
    ring.setTail(1);
    ring.setHead(0);
    ring.ring();
    turn(50);
    expect(ring.taken).toBe(0);
  });

  test('after honest work ends it too', () => {
    complete(read(), read(), read());
    ring.setTail(2);
    ring.ring();
    turn(50);
    expect(world.events()).toContainEqual(['fault', tenant.lease.lease, Code.ringContract]);
    othersWork();
  });
});

describe('an entry on a shared ring', () => {
  test('takes no inline flag', () => {
    const [{ code, field }] = complete(read({ flags: EntryFlag.inline }));
    expect([code, field]).toEqual([Code.unknownFlag, Field.flags]);
  });

  test('names no staging memory, no region that is held, none of another tenant', () => {
    const staging = 0x0100_0007;
    const fd = createMemoryFile('staging', 4_096);
    world.run(world.methods.attachRegion(1, staging, fd, 4_096, 'tenant1', 'staging', 'direct'));
    const codeWith = (region: number): number => complete(read({ region }))[0].code;
    expect([codeWith(staging), codeWith(other.region), codeWith(tenant.region)]).toEqual([Code.unknownRegion, Code.unknownRegion, Code.ok]);
    world.run(world.methods.holdRegion(1, tenant.region, true));
    expect(codeWith(tenant.region)).toBe(Code.unknownRegion);
    world.run(world.methods.holdRegion(1, tenant.region, false));
    expect(codeWith(tenant.region)).toBe(Code.ok);
    world.run(world.methods.detachRegion(1, staging, true));
    shm().close(fd);
  });

  test('that is rewritten while it is taken is judged as it was taken', async () => {
    // Foreign blocks, foreign memory, an operation that writes: each word flips between good and bad while the engine copies.
    const scribbler = thread(
      `const words = new Uint32Array(shm.map(data.fd, 0, 4096 + data.entries * 64, true));
       let stop = false;
       parentPort.once('message', () => { stop = true; });
       const flip = () => {
         for (let n = 0; n < 2000; n++) {
           for (let slot = 0; slot < data.entries; slot++) {
             const at = 1024 + slot * 16;
             words[at] ^= 3; words[at + 4] ^= 0x1000; words[at + 7] ^= data.region; words[at + 8] ^= 0x80000000; words[at + 10] ^= 0x40000000;
           }
         }
         if (stop) process.exit(); else setImmediate(flip);
       };
       flip();`,
      { fd: files.requests, entries: ENTRIES, region: tenant.region ^ other.region },
    );
    const seen = new Set<number>();
    let looked = 0;
    other.memory.fill(0x77);
    world.run(world.backing.clearAudit());
    const owner = world.engine.device.lease(tenant.lease.lease).queues[tenant.queue]?.pair?.id;
    for (let round = 0; round < 2_000; round++) {
      for (const { code } of complete(read(), read(), read(), read())) seen.add(code);
      if (round % 100 !== 0) continue;
      await new Promise((resolve) => setImmediate(resolve));
      for (const record of world.run(world.backing.audit())) {
        if (record.queue !== owner) continue;
        looked++;
        expect(violations([record], ['server', 'tenant1'])).toEqual([]);
      }
      world.run(world.backing.clearAudit());
    }
    scribbler.postMessage('stop');
    await new Promise((resolve) => scribbler.once('exit', resolve));
    expect(looked).toBeGreaterThan(0);
    expect(seen.has(Code.ok)).toBe(true);
    expect(seen.size).toBeGreaterThan(1);
    expect(other.memory.every((byte) => byte === 0x77)).toBe(true);
  });
});

describe('the doorbell', () => {
  test('that is flooded costs the others nothing', () => {
    const flood = new Uint8Array(65_536);
    for (let round = 0; round < 50; round++) {
      shm().send(connection, flood, 0, flood.length);
      turn(3);
      othersWork();
    }
    expect(complete(read())[0].code).toBe(Code.ok);
  });

  test('that ends takes the wake-ups with it, and nothing else', () => {
    world.until(() => ring.needsWakeup);
    shm().close(connection);
    connected = false;
    turn(200);
    expect(world.events()).toEqual([]);
    expect(world.engine.device.lease(tenant.lease.lease).active).toBe(true);
    othersWork();
  });

  test('that ends while the client says it sleeps stops nothing', () => {
    ring.setSleeping(true);
    ring.write(read());
    ring.setTail(1);
    ring.ring();
    shm().close(connection);
    connected = false;
    world.until(() => ring.completed === 1);
    othersWork();
  });
});

describe('a client that sends descriptors over the doorbell', () => {
  test('which take for ever to close, keeps the engine waiting neither while the queue is there nor at its end', async () => {
    const files = [await Lingering.make(), await Lingering.make()];
    const [taken, left] = files;
    const send = (fd: number): void => {
      shm().sendDescriptors(ring.doorbell, new Uint8Array(1), [fd]);
      shm().close(fd);
    };
    send(taken.fd);
    expect(complete(read()).map(({ code }) => code)).toEqual([Code.ok]);
    // This one the engine never receives: it goes with the connection.
    send(left.fd);
    world.run(world.methods.closeQueue(tenant.lease.lease, tenant.queue));
    othersWork();
    for (const file of files) file.end();
  });
});

describe('the end of the queue', () => {
  test('leaves the engine no mapping and no descriptor, and the client zeroes', async () => {
    expect(complete(read()).map(({ code }) => code)).toEqual([Code.ok]);
    ring.write(read());
    ring.commit();
    const before = descriptorCount();
    world.run(world.methods.closeQueue(tenant.lease.lease, tenant.queue));
    await expect.poll(() => descriptorCount()).toBe(before - 1);
    files.revoke(true);
    expect(descriptorCount()).toBe(before - 3);
    // What is left is the client's own.
    expect([mappingsOf('ringwarden:requests').length, mappingsOf('ringwarden:completions').length]).toEqual([1, 1]);
    expect([ring.taken, ring.completed, ring.needsWakeup]).toEqual([0, 0, false]);
    othersWork();
  });

  test('of a client that could undo it keeps its pages, with every seal', () => {
    const kept = new QueueFiles(ENTRIES, true);
    const fd = kept.seal();
    const view = new Uint8Array(shm().map(fd, 0, 4_096, false));
    kept.revoke(true);
    expect(view[0]).toBe(0);
    expect(shm().getSeals(fd)).toBe(0x17);
    shm().unmap(view.buffer);
    shm().close(fd);
  });
});
