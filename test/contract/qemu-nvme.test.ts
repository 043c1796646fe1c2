import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import type { DmaMemory } from '../../src/hw/backing.js';
import { PageTable } from '../../src/hw/dma/index.js';
import { NvmOpcode, NvmeDriver, Status, submitFlush, submitTransfer, type QueuePair } from '../../src/hw/nvme/index.js';
import type { QemuNvmeOptions } from '../../src/hw/qemu/index.js';
import { Epoll, shm } from '../../src/native/shm.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { QemuWorld, withFolder } from '../support/qemu-world.js';

const MIB = 1_048_576;
const PAGE = 4096;

/** A driver on a QEMU, with one queue pair and a file of sixteen pages. */
class Disk {
  readonly world: QemuWorld;
  readonly driver: NvmeDriver;
  readonly pair: QueuePair;
  readonly memory: DmaMemory;
  readonly bytes: Buffer;

  static async start(options: Partial<QemuNvmeOptions>): Promise<Disk> {
    return new Disk(await QemuWorld.start(options));
  }

  constructor(world: QemuWorld) {
    this.world = world;
    this.driver = new NvmeDriver(world.backing, { vectorsCeiling: 64, queuePairsCeiling: 4 });
    world.also = () => void this.driver.poll();
    world.run(this.driver.open());
    this.pair = world.run(this.driver.createPair(16));
    this.memory = world.run(world.backing.attach(world.file('disk', 16 * PAGE), 16 * PAGE));
    this.bytes = Buffer.from(this.memory.buffer);
  }

  submit(opcode: number, namespace: number, lba: number, blocks: number, bytes: number): void {
    submitTransfer(this.pair, opcode, namespace, lba, blocks, false, PageTable.of(this.memory), 0, 0, bytes, 0);
    this.pair.ring();
  }

  /** Status of the one command in flight, when it has completed. */
  status(wait: () => void = () => this.world.backing.poll(), pair = this.pair): number {
    const statuses: number[] = [];
    const deadline = performance.now() + 20_000;
    while (statuses.length === 0) {
      wait();
      pair.reap({ completed: (_pair, _slot, status) => statuses.push(status) });
      if (performance.now() > deadline) throw new Error('no completion');
    }
    return statuses[0];
  }

  transfer(opcode: number, namespace: number, lba: number, blocks: number, bytes: number): number {
    this.submit(opcode, namespace, lba, blocks, bytes);
    return this.status();
  }
}

describe.skipIf(!hasQemu)(`NVMe of ${qemuName}`, () => {
  let disk: Disk | undefined;
  afterEach(async () => {
    await disk?.world.end();
    disk = undefined;
  });

  test('what is written is in the image, and what is in the image is read, for each namespace', () =>
    withFolder(async (folder) => {
      const drives = ([512, 4096, 512] as const).map((blockBytes, i) => ({ file: join(folder, `${i}`), bytes: (i + 1) * MIB, blockBytes }));
      const contents = drives.map(({ bytes }) => randomBytes(bytes));
      drives.forEach(({ file }, i) => writeFileSync(file, contents[i]));
      disk = await Disk.start({ drives, serial: 'four, "words"' });
      expect(disk.driver.facts.controller.serial).toBe('four, "words"');
      expect(disk.driver.facts.namespaces.map(({ id, blocks, blockBytes }) => [id, blocks * blockBytes, blockBytes])).toEqual([
        [1, MIB, 512],
        [2, 2 * MIB, 4096],
        [3, 3 * MIB, 512],
      ]);
      for (const [i, { file, blockBytes }] of drives.entries()) {
        const at = 5 * PAGE;
        expect(disk.transfer(NvmOpcode.read, i + 1, at / blockBytes, PAGE / blockBytes, PAGE)).toBe(Status.success);
        expect(disk.bytes.subarray(0, PAGE).equals(contents[i].subarray(at, at + PAGE))).toBe(true);
        const data = randomBytes(PAGE);
        data.copy(disk.bytes);
        expect(disk.transfer(NvmOpcode.write, i + 1, at / blockBytes, PAGE / blockBytes, PAGE)).toBe(Status.success);
        submitFlush(disk.pair, i + 1, 0);
        disk.pair.ring();
        expect(disk.status()).toBe(Status.success);
        data.copy(contents[i], at);
        const image = Buffer.alloc(contents[i].length);
        const fd = openSync(file, 'r');
        readSync(fd, image, 0, image.length, 0);
        closeSync(fd);
        expect(image.equals(contents[i])).toBe(true);
      }
      await disk.world.end();
      disk = undefined;
    }));

  test('the content outlives QEMU, killed the moment after the flush', () =>
    withFolder(async (folder) => {
      const drives = [{ file: join(folder, 'image'), bytes: MIB, blockBytes: 4096 as const }];
      disk = await Disk.start({ drives });
      const data = randomBytes(PAGE);
      data.copy(disk.bytes);
      expect(disk.transfer(NvmOpcode.write, 1, 3, 1, PAGE)).toBe(Status.success);
      await disk.world.end();
      disk = await Disk.start({ drives });
      expect(disk.transfer(NvmOpcode.read, 1, 3, 1, PAGE)).toBe(Status.success);
      expect(disk.bytes.subarray(0, PAGE).equals(data)).toBe(true);
      await disk.world.end();
      disk = undefined;
    }));

  test('content in memory is kept while QEMU runs; a content of nothing is not', async () => {
    disk = await Disk.start({
      drives: [
        { bytes: MIB, blockBytes: 512, content: 'memory' },
        { bytes: MIB, blockBytes: 512 },
      ],
    });
    for (const [namespace, kept] of [
      [1, 0x5a],
      [2, 0],
    ]) {
      disk.bytes.fill(0x5a, 0, PAGE);
      expect(disk.transfer(NvmOpcode.write, namespace, 8, 8, PAGE)).toBe(Status.success);
      disk.bytes.fill(0xff, 0, PAGE);
      expect(disk.transfer(NvmOpcode.read, namespace, 8, 8, PAGE)).toBe(Status.success);
      expect(disk.bytes.subarray(0, PAGE).every((byte) => byte === kept)).toBe(true);
    }
  });

  test('a thread that sleeps on the descriptors is woken by the completion, and then all is quiet', async () => {
    disk = await Disk.start({ drives: [{ bytes: MIB, blockBytes: 512, latencyNanoseconds: 100_000_000 }] });
    const { backing } = disk.world;
    const epoll = shm().epollCreate();
    for (const fd of backing.descriptors) shm().epollControl(epoll, 'add', fd, Epoll.in, 0);
    const events = new Int32Array(2);
    const sleep = (microseconds: number): number => shm().epollWait(epoll, events, microseconds);
    while (backing.poll() > 0 || sleep(0) > 0);
    const before = backing.interrupts.fired[disk.pair.vector];
    disk.bytes.fill(1);
    disk.submit(NvmOpcode.read, 1, 0, 8, PAGE);
    let sleeps = 0;
    const status = disk.status(() => {
      expect(sleep(20_000_000)).toBe(1); // never a timeout
      sleeps++;
      backing.poll();
    });
    expect(status).toBe(Status.success);
    expect(sleeps).toBeLessThan(10); // it slept: the answers to the doorbells and the interrupt woke it, no polling
    expect(disk.bytes.subarray(0, PAGE).every((byte) => byte === 0)).toBe(true);
    while (backing.poll() > 0);
    expect(backing.interrupts.fired[disk.pair.vector]).toBe(before + 1);
    while (sleep(10_000) > 0) backing.poll(); // the answer to the last doorbell
    expect([sleep(0), backing.poll()]).toEqual([0, 0]);
    shm().close(epoll);
  });

  test('vectors are counted one by one', async () => {
    disk = await Disk.start({});
    const { world, driver } = disk;
    const pairs = [disk.pair, ...[1, 2].map(() => world.run(driver.createPair(16)))];
    const { interrupts } = world.backing;
    /** The message of a completion may still be on its way when that has been seen in memory: a register read comes after both. */
    const settled = (): number[] => {
      world.run(world.backing.bar(0).read32(0x1c));
      world.backing.poll();
      return [...interrupts.fired];
    };
    for (const [i, pair] of pairs.entries()) {
      const before = settled();
      for (let command = 0; command <= i; command++) {
        submitFlush(pair, 1, 0);
        pair.ring();
        expect(disk.status(() => {}, pair)).toBe(Status.success); // seen in memory: the interrupts add up
      }
      const counted = settled().map((count, vector) => count - before[vector]);
      expect(counted[pair.vector]).toBe(i + 1);
      expect(counted.filter((count) => count > 0)).toHaveLength(1);
    }
  });

  test('media errors of an injected fault have their status', async () => {
    const drives = [{ bytes: MIB, blockBytes: 512 as const, errors: [{ on: 'read' as const, errno: 5, sector: 8, once: true }] }];
    disk = await Disk.start({ drives });
    expect(disk.transfer(NvmOpcode.read, 1, 0, 8, PAGE)).toBe(Status.success);
    expect(disk.transfer(NvmOpcode.read, 1, 8, 8, PAGE)).toBe(0x281); // unrecovered read error
    expect(disk.transfer(NvmOpcode.read, 1, 8, 8, PAGE)).toBe(Status.success);
  });

  test('a reset takes queues and interrupts away, and leaves BARs and configuration in place', async () => {
    disk = await Disk.start({});
    const { world } = disk;
    const { backing } = world;
    const registers = () => [0x04, 0x10, 0x14, 0x34].map((offset) => world.run(backing.config.read32(offset)) & 0xffff);
    const before = registers();
    disk.world.run(backing.reset());
    expect(registers()).toEqual(before);
    expect(disk.world.run(backing.bar(0).read32(0x1c))).toBe(0); // CSTS: not ready
    expect(disk.world.run(backing.bar(0).read32(0x14)) & 1).toBe(0); // CC.EN
    expect(backing.interrupts.fired.length).toBe(0);
    disk.world.run(disk.driver.disable());
    disk.world.run(disk.driver.enable());
    const pair = disk.world.run(disk.driver.createPair(16));
    submitFlush(pair, 1, 0);
    pair.ring();
    expect(disk.status(undefined, pair)).toBe(Status.success);
  });

  test('memory that was detached while a command still used it is not written afterwards', async () => {
    disk = await Disk.start({ drives: [{ bytes: MIB, blockBytes: 512, latencyNanoseconds: 300_000_000 }] });
    const { world } = disk;
    const fd = world.file('victim', PAGE);
    const victim = world.run(world.backing.attach(fd, PAGE));
    submitTransfer(disk.pair, NvmOpcode.read, 1, 0, 8, false, PageTable.of(victim), 0, 0, PAGE, 0);
    disk.pair.ring();
    world.run(world.backing.detach(victim)); // against the rules: the caller makes sure that nothing is in flight
    const seen = new Uint8Array(shm().map(fd, 0, PAGE, true)).fill(0x33);
    disk.status();
    expect(seen.every((byte) => byte === 0x33)).toBe(true);
    shm().unmap(seen.buffer);
  });
});
