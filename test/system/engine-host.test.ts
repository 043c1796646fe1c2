/** An engine on a thread of its own, as the server starts it: what the main thread is given of its rings and its interrupts. */
import { closeSync, fstatSync, readSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import type { BackingOptions } from '../../src/hw/backings.js';
import { createMemoryFile } from '../../src/hw/dma/index.js';
import { shm } from '../../src/native/shm.js';
import { ALL_OPERATIONS, COMPLETION_WORDS, Code, ENTRY_WORDS, Operation, Right, packEntry, unpackCompletion } from '../../src/protocol/index.js';
import type { EngineHost, OpenedQueue, ShownRing } from '../../src/server/engine/index.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { descriptorCount } from '../unit/native/support.js';

const MIB = 1_048_576;
const REGION = 0x0101_0001;
const { startEngine } = (await import(
  new URL('../../dist/server/engine/index.js', import.meta.url).href
)) as typeof import('../../src/server/engine/index.js');

let engine: EngineHost | undefined;
afterEach(async () => {
  await engine?.close(0);
  engine = undefined;
});

interface Client {
  readonly lease: number;
  readonly generation: number;
  readonly queue: OpenedQueue;
}

async function client(on: EngineHost, tenant: number): Promise<Client> {
  const share = { name: 'data', namespace: 1, firstBlock: tenant * 100, blocks: 100, access: Right.read, operations: ALL_OPERATIONS };
  const { lease, generation } = await on.openLease({
    tenant,
    tenantName: `tenant${tenant}`,
    weight: 100,
    rates: { operations: 0, bytes: 0 },
    session: tenant,
    domain: tenant,
    mode: 'shared',
    queues: 'own',
    ringViews: 'truncated',
    shares: [share],
    maxInFlight: 64,
    maxQueues: 2,
  });
  const fd = createMemoryFile('test', MIB);
  await on.attachRegion(tenant, REGION, fd, MIB, `tenant${tenant}`, 'client', 'direct');
  closeSync(fd);
  return { lease, generation, queue: await on.openQueue(lease, 16) };
}

/** One read, until it is answered. */
async function read({ lease, generation, queue }: Client): Promise<void> {
  const words = new Uint32Array(ENTRY_WORDS);
  const fields = {
    operation: Operation.read,
    flags: 0,
    share: 0,
    generation,
    tag: 1n,
    lba: 3n,
    blocks: 1,
    region: REGION,
    offset: 512n,
    length: 512,
  };
  packEntry(words, 0, { ...fields, lease, queue: queue.queue });
  const answer = new Uint32Array(COMPLETION_WORDS);
  const answered = new Promise<void>((resolve) => {
    queue.channel.onCompletions = () => {
      if (queue.channel.take(new BigUint64Array(answer.buffer), 0) >= 0) resolve();
    };
  });
  queue.channel.push(new BigUint64Array(words.buffer), 0, 1);
  queue.channel.commit();
  await answered;
  expect(unpackCompletion(answer, 0).code).toBe(Code.ok);
}

const words = ({ fd, entryBytes }: ShownRing): Uint32Array => {
  const entry = Buffer.alloc(entryBytes);
  readSync(fd, entry, 0, entryBytes, 0);
  return new Uint32Array(entry.buffer, entry.byteOffset, entryBytes / 4);
};

const drive = { bytes: 8 * MIB, blockBytes: 512 } as const;
const BACKINGS: readonly [name: string, isThere: boolean, options: BackingOptions][] = [
  ['the embedded model on a thread', true, { kind: 'emulated', mode: 'thread', namespaces: [drive] }],
  [qemuName, hasQemu, { kind: 'qemu', drives: [drive], mdts: 7, queuePairs: 8, vectors: 9, serial: 'test' }],
];

for (const [name, isThere, backing] of BACKINGS) {
  describe.skipIf(!isThere)(`an engine on ${name}`, () => {
    test('shows a client its rings until they end', async () => {
      engine = await startEngine({ name: 'nvme0', backing });
      const a = await client(engine, 1);
      const { submission, completion } = await engine.hardwareView(a.lease, a.queue.queue);
      await read(a);
      const command = words(submission);
      expect([command[0] & 0xff, command[6], command[8], command[10]]).toEqual([2, REGION, 512, 3]);
      expect(words(completion)[3]).toBe((command[0] >>> 16) | 0x1_0000);
      await engine.closeLease(a.lease, 'test');
      expect([submission, completion].map(({ fd }) => fstatSync(fd).size)).toEqual([0, 0]);
      // The descriptors are this thread's, whatever becomes of the one that opened them.
      await engine.close(0);
      expect([submission, completion].map(({ fd }) => fstatSync(fd).ino > 0)).toEqual([true, true]);
      for (const { fd } of [submission, completion]) closeSync(fd);
    });

    test('raises the event descriptors that clients pass, each for its own vector', async () => {
      engine = await startEngine({ name: 'nvme0', backing });
      const [a, b] = [await client(engine, 1), await client(engine, 2)];
      const [ofA, ofB] = [shm().eventfd(), shm().eventfd()];
      await engine.bindVectorDescriptor(a.lease, a.queue.vector, shm().duplicate(ofA));
      await engine.bindVectorDescriptor(b.lease, b.queue.vector, shm().duplicate(ofB), { microseconds: 100, events: 4 });
      for (let round = 0; round < 10; round++) {
        await read(a);
        await expect.poll(() => shm().eventfdTake(ofA)).toBeGreaterThan(0);
        expect(shm().eventfdTake(ofB)).toBe(0);
      }
      await read(b);
      await expect.poll(() => shm().eventfdTake(ofB)).toBe(1);
      await engine.bindVectorDescriptor(a.lease, a.queue.vector, -1);
      await read(a);
      await read(b);
      await expect.poll(() => shm().eventfdTake(ofB)).toBe(1);
      expect(shm().eventfdTake(ofA)).toBe(0);
      for (const fd of [ofA, ofB]) shm().close(fd);
    });

    test('keeps no descriptor that it was passed, whether it is refused or its lease ends', async () => {
      engine = await startEngine({ name: 'nvme0', backing });
      const a = await client(engine, 1);
      await read(a);
      const before = descriptorCount();
      await expect(engine.bindVectorDescriptor(a.lease, 2, shm().eventfd())).rejects.toMatchObject({ code: 'unknownVector', field: 'vector' });
      await expect(engine.bindVectorDescriptor(a.lease, -1, shm().eventfd())).rejects.toMatchObject({ code: 'unknownVector' });
      await expect(engine.bindVectorDescriptor(a.lease, 0, shm().epollCreate())).rejects.toMatchObject({ code: 'notAnEventfd' });
      await expect(engine.bindVectorDescriptor(a.lease + 1, 0, shm().eventfd())).rejects.toMatchObject({ code: 'unknownLease' });
      await expect(engine.bindVectorDescriptor(a.lease, 0, shm().eventfd(), { microseconds: 0, events: 2 })).rejects.toMatchObject({
        code: 'outOfRange',
      });
      await expect.poll(() => descriptorCount()).toBe(before);
      for (let vector = 0; vector < 2; vector++)
        for (let again = 0; again < 3; again++) await engine.bindVectorDescriptor(a.lease, vector, shm().eventfd());
      await expect.poll(() => descriptorCount()).toBe(before + 2);
      await engine.closeLease(a.lease, 'test');
      await expect.poll(() => descriptorCount()).toBeLessThan(before);
      await expect(engine.bindVectorDescriptor(a.lease, 0, shm().eventfd())).rejects.toMatchObject({ code: 'unknownLease' });
    });

    test('closes them all when it ends', async () => {
      engine = await startEngine({ name: 'nvme0', backing });
      const before = descriptorCount();
      const a = await client(engine, 1);
      await engine.bindVectorDescriptor(a.lease, 0, shm().eventfd());
      await engine.close(0);
      await expect(engine.bindVectorDescriptor(a.lease, 0, shm().eventfd())).rejects.toThrow('ended');
      await expect.poll(() => descriptorCount()).toBeLessThan(before);
    });
  });
}
