/** What the NVMe driver must do on every world that has a controller in it, and with controllers of several shapes. */
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Backing, DmaMemory } from '../../src/hw/backing.js';
import { PageTable, createMemoryFile } from '../../src/hw/dma/index.js';
import { HardwareError, type Task } from '../../src/hw/task.js';
import { shm } from '../../src/native/shm.js';
import {
  NvmOpcode,
  NvmeDriver,
  Status,
  submitDeallocate,
  submitFlush,
  submitTransfer,
  submitWriteZeroes,
  type CompletionSink,
  type QueuePair,
} from '../../src/hw/nvme/index.js';
import { runTaskAsync } from '../support/run.js';

/** A controller as a test wants it. */
export interface Shape {
  readonly name: string;
  readonly namespaces: readonly { bytes: number; blockBytes: 512 | 4096 }[];
  /** MDTS; undefined: the backing's own. */
  readonly mdts?: number;
  readonly queuePairs?: number;
  readonly doorbellStride?: number;
}

const MIB = 1_048_576;
export const SHAPES: readonly Shape[] = [
  { name: '512-byte blocks', namespaces: [{ bytes: 64 * MIB, blockBytes: 512 }] },
  { name: '4096-byte blocks', namespaces: [{ bytes: 64 * MIB, blockBytes: 4096 }] },
  {
    name: 'several namespaces',
    namespaces: [
      { bytes: 16 * MIB, blockBytes: 512 },
      { bytes: 32 * MIB, blockBytes: 4096 },
      { bytes: 8 * MIB, blockBytes: 512 },
    ],
  },
  { name: 'MDTS of 8 KiB', namespaces: [{ bytes: 16 * MIB, blockBytes: 512 }], mdts: 1 },
  { name: 'two I/O queue pairs', namespaces: [{ bytes: 16 * MIB, blockBytes: 512 }], queuePairs: 2 },
];

export interface World {
  readonly backing: Backing;
  readonly end: () => Promise<void>;
}

const REGION_BYTES = 4 * MIB;

export function nvmeDriverContract(name: string, makeWorld: (shape: Shape) => Promise<World>, shapes: readonly Shape[] = SHAPES): void {
  describe.each(shapes)(`the NVMe driver on ${name}, $name`, (shape) => {
    let world: World;
    let driver: NvmeDriver;
    let fd: number;
    let memory: DmaMemory;
    let bytes: Buffer;
    const run = <T>(task: Task<T>): Promise<T> => runTaskAsync(world.backing, task, () => driver.poll());

    beforeEach(async () => {
      world = await makeWorld(shape);
      driver = new NvmeDriver(world.backing, { vectorsCeiling: 64, queuePairsCeiling: 128 });
      await run(driver.open());
      fd = createMemoryFile('test', REGION_BYTES);
      memory = await run(world.backing.attach(fd, REGION_BYTES, { owner: 'test' }));
      bytes = Buffer.from(memory.buffer);
    });

    afterEach(async () => {
      await run(driver.close());
      await run(world.backing.detach(memory));
      shm().close(fd);
      world.backing.dispose();
      await world.end();
    });

    /** Submits with `submit`, and returns the status of what completes. */
    async function execute(pair: QueuePair, submit: () => number): Promise<number> {
      let status = -1;
      const slot = submit();
      const sink: CompletionSink = {
        completed: (_pair, done, answered) => {
          expect(done).toBe(slot);
          status = answered;
        },
      };
      pair.ring();
      const deadline = performance.now() + 10_000;
      while (status < 0) {
        world.backing.poll();
        pair.reap(sink);
        await new Promise((resolve) => setImmediate(resolve));
        if (performance.now() > deadline) throw new Error('no completion');
      }
      return status;
    }

    const transfer = (pair: QueuePair, opcode: number, id: number, lba: number, blocks: number, offset: number, size: number): Promise<number> =>
      execute(pair, () => submitTransfer(pair, opcode, id, lba, blocks, false, PageTable.of(memory), 0, offset, size, 0));

    test('finds out what the controller is', async () => {
      const { facts } = driver;
      expect(facts.namespaces.map(({ blocks, blockBytes }) => ({ bytes: blocks * blockBytes, blockBytes }))).toEqual(
        shape.namespaces.map(({ bytes: size, blockBytes }) => ({ bytes: size, blockBytes })),
      );
      if (shape.mdts !== undefined) expect(facts.maxTransferBytes).toBe(4096 * 2 ** shape.mdts);
      if (shape.queuePairs !== undefined) expect(facts.queuePairs).toBe(shape.queuePairs);
      expect(facts.controller.serial).not.toBe('');
      expect(facts.queueEntries).toBeGreaterThanOrEqual(2);
    });

    test('writes and reads back at every length and offset that PRPs can say', async () => {
      const pair = await run(driver.createPair(64));
      for (const { id, blocks, blockBytes } of driver.facts.namespaces) {
        const most = driver.facts.maxTransferBytes;
        const sizes = [blockBytes, 4096, 8192, 12_288, most / 2, most].filter((size) => size >= blockBytes && size <= most);
        for (const size of sizes) {
          for (const offset of [0, 4, 512, 4092, 8192]) {
            const lba = blocks - size / blockBytes;
            const data = randomBytes(size);
            data.copy(bytes, offset);
            expect(await transfer(pair, NvmOpcode.write, id, lba, size / blockBytes, offset, size)).toBe(Status.success);
            bytes.fill(0xaa, 0, REGION_BYTES);
            const back = REGION_BYTES / 2 + offset;
            expect(await transfer(pair, NvmOpcode.read, id, lba, size / blockBytes, back, size)).toBe(Status.success);
            expect(bytes.subarray(back, back + size).equals(data)).toBe(true);
            expect(bytes.subarray(0, back).every((byte) => byte === 0xaa)).toBe(true);
            expect(bytes.subarray(back + size).every((byte) => byte === 0xaa)).toBe(true);
          }
        }
      }
      await run(driver.deletePair(pair));
      driver.releasePair(pair);
    });

    test('flushes, writes zeroes, compares and deallocates', async () => {
      const pair = await run(driver.createPair(16));
      const { id, blockBytes } = driver.facts.namespaces[0];
      const data = randomBytes(2 * blockBytes);
      data.copy(bytes, 0);
      expect(await transfer(pair, NvmOpcode.write, id, 8, 2, 0, 2 * blockBytes)).toBe(Status.success);
      expect(await execute(pair, () => submitFlush(pair, id, 0))).toBe(Status.success);
      expect(await transfer(pair, NvmOpcode.compare, id, 8, 2, 0, 2 * blockBytes)).toBe(Status.success);
      bytes[5] ^= 1;
      expect(await transfer(pair, NvmOpcode.compare, id, 8, 2, 0, 2 * blockBytes)).toBe(Status.compareFailure);
      expect(await execute(pair, () => submitWriteZeroes(pair, id, 9, 1, false, 0))).toBe(Status.success);
      expect(await transfer(pair, NvmOpcode.read, id, 8, 2, 8192, 2 * blockBytes)).toBe(Status.success);
      expect(bytes.subarray(8192, 8192 + blockBytes).equals(data.subarray(0, blockBytes))).toBe(true);
      expect(bytes.subarray(8192 + blockBytes, 8192 + 2 * blockBytes).every((byte) => byte === 0)).toBe(true);
      const ranges = new Uint32Array(4);
      ranges[0] = 0;
      ranges[2] = 1;
      expect(await execute(pair, () => submitDeallocate(pair, id, 8, ranges, 1, 0))).toBe(Status.success);
    });

    test('keeps many commands in flight, across many turns of the rings', async () => {
      const pair = await run(driver.createPair(32));
      const { id, blockBytes } = driver.facts.namespaces[0];
      const waiting = new Map<number, number>();
      let next = 0;
      let done = 0;
      const sink: CompletionSink = {
        completed: (_pair, slot, status) => {
          expect(status).toBe(Status.success);
          expect(waiting.delete(slot)).toBe(true);
          done++;
        },
      };
      const deadline = performance.now() + 15_000;
      while (done < 500) {
        while (pair.room > 0 && next < 500) {
          const at = (next % 64) * 4096;
          bytes.writeUInt32LE(next, at);
          const slot = submitTransfer(pair, NvmOpcode.write, id, (next % 64) * 8, 1, false, PageTable.of(memory), 0, at, blockBytes, 0);
          waiting.set(slot, next++);
        }
        pair.ring();
        world.backing.poll();
        pair.reap(sink);
        if (performance.now() > deadline) throw new Error(`${done} of 500 completed`);
      }
      expect(pair.count).toBe(0);
    });

    test('hands out queue pairs until none is left, and takes them back', async () => {
      const most = Math.min(driver.facts.queuePairs, 8);
      const pairs: QueuePair[] = [];
      for (let index = 0; index < most; index++) pairs.push(await run(driver.createPair(16)));
      expect(new Set(pairs.map((pair) => pair.id)).size).toBe(most);
      if (most === driver.facts.queuePairs) await expect(run(driver.createPair(16))).rejects.toThrow('all');
      for (const pair of pairs) {
        await run(driver.deletePair(pair));
        driver.releasePair(pair);
      }
      const again = await run(driver.createPair(16));
      expect(again.id).toBe(1);
      const { id, blockBytes } = driver.facts.namespaces[0];
      expect(await transfer(again, NvmOpcode.read, id, 0, 1, 0, blockBytes)).toBe(Status.success);
    });

    test('tells the status of a command that the controller refuses', async () => {
      const pair = await run(driver.createPair(16));
      const { id, blocks, blockBytes } = driver.facts.namespaces[0];
      expect(await transfer(pair, NvmOpcode.read, id, blocks, 1, 0, blockBytes)).toBe(Status.lbaOutOfRange);
      expect(await transfer(pair, NvmOpcode.read, id, 0, 1, 0, blockBytes)).toBe(Status.success);
    });

    test('works again after the controller was disabled and enabled', async () => {
      const before = await run(driver.createPair(16));
      await run(driver.disable());
      await run(driver.enable());
      const pair = await run(driver.createPair(16));
      expect(pair).not.toBe(before);
      const { id, blockBytes } = driver.facts.namespaces[0];
      expect(await transfer(pair, NvmOpcode.read, id, 0, 1, 0, blockBytes)).toBe(Status.success);
    });

    test('keeps what was written over close and open', async () => {
      let pair = await run(driver.createPair(16));
      const { id, blockBytes } = driver.facts.namespaces[0];
      const data = randomBytes(blockBytes);
      data.copy(bytes, 0);
      expect(await transfer(pair, NvmOpcode.write, id, 3, 1, 0, blockBytes)).toBe(Status.success);
      await run(driver.close());
      await expect(run(driver.createPair(16))).rejects.toThrow(HardwareError);
      await run(driver.open());
      pair = await run(driver.createPair(16));
      expect(await transfer(pair, NvmOpcode.read, id, 3, 1, 4096, blockBytes)).toBe(Status.success);
      expect(bytes.subarray(4096, 4096 + blockBytes).equals(data)).toBe(true);
    });

    test('raises the interrupt of the queue that completes', async () => {
      if (driver.facts.vectors < 2) return expect(world.backing.interrupts.available).toBeLessThan(2);
      const pair = await run(driver.createPair(16));
      const { id, blockBytes } = driver.facts.namespaces[0];
      const before = world.backing.interrupts.fired[pair.vector];
      await transfer(pair, NvmOpcode.read, id, 0, 1, 0, blockBytes);
      const deadline = performance.now() + 5_000;
      while (world.backing.interrupts.fired[pair.vector] === before && performance.now() < deadline) world.backing.poll();
      expect(world.backing.interrupts.fired[pair.vector]).toBeGreaterThan(before);
    });

    test('reads the log pages', async () => {
      expect((await run(driver.logPage('smart'))).length).toBe(512);
      expect((await run(driver.logPage('firmware'))).length).toBe(512);
      expect((await run(driver.logPage('error'))).length % 64).toBe(0);
    });

    test('gives back everything that it took', async () => {
      await run(driver.createPair(64));
      await run(driver.close());
      expect(driver.arena.usedBytes).toBe(0);
      await run(driver.open());
    });
  });
}
