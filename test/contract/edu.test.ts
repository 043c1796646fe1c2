/** A second class of device behind the same interface: QEMU's edu, with DMA, MSI, and nothing of NVMe. */
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Backing, DmaMemory } from '../../src/hw/backing.js';
import { createMemoryFile } from '../../src/hw/dma/index.js';
import { EduDriver } from '../../src/hw/edu/index.js';
import { NvmeDriver } from '../../src/hw/nvme/index.js';
import { Command, Header, VirtualConfig, takeSnapshot } from '../../src/hw/pci/index.js';
import type { Task } from '../../src/hw/task.js';
import { shm } from '../../src/native/shm.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { QemuWorld } from '../support/qemu-world.js';

const BYTES = 65_536;

describe.skipIf(!hasQemu)(qemuName, { timeout: 30_000 }, () => {
  let world: QemuWorld;
  let driver: EduDriver;
  const attached: { fd: number; memory: DmaMemory }[] = [];
  const run = <T>(task: Task<T>): T => world.run(task);

  beforeEach(async () => {
    world = await QemuWorld.startEdu();
    driver = new EduDriver(world.backing);
  });

  afterEach(async () => {
    for (const { fd, memory } of attached.splice(0)) {
      run(world.backing.detach(memory));
      shm().close(fd);
    }
    await world.end();
  });

  function attach(bytes = BYTES): DmaMemory {
    const fd = createMemoryFile('test', bytes);
    const memory = run(world.backing.attach(fd, bytes));
    attached.push({ fd, memory });
    return memory;
  }

  const bytesOf = (memory: DmaMemory): Buffer => Buffer.from(memory.buffer);

  test('is claimed, checked, and given back', () => {
    const { backing } = world;
    expect(backing.description).toContain('device model edu');
    run(driver.open());
    expect(driver.hasInterrupts).toBe(true);
    expect(backing.bars).toEqual([{ index: 0, kind: 'memory', bytes: 2 ** 20, is64: false, prefetchable: false }]);
    run(driver.close());
    expect(backing.bars).toEqual([]);
    expect(run(backing.config.read16(Header.command)) & (Command.memory | Command.busMaster)).toBe(0);
    run(driver.open());
    expect(run(driver.factorial(5))).toBe(120);
    run(driver.close());
  });

  test('computes factorials, each with one interrupt', () => {
    run(driver.open());
    const before = world.backing.interrupts.total;
    const factorials = Array.from({ length: 13 }, (_, number) => run(driver.factorial(number)));
    expect(factorials).toEqual([1, 1, 2, 6, 24, 120, 720, 5_040, 40_320, 362_880, 3_628_800, 39_916_800, 479_001_600]);
    expect(world.backing.interrupts.total - before).toBe(13);
    for (const number of [-1, 13, 1.5, NaN]) expect(() => run(driver.factorial(number))).toThrow(RangeError);
    expect(world.backing.interrupts.total - before).toBe(13);
  });

  test('copies between memories, and touches nothing beside', () => {
    run(driver.open());
    const [source, target] = [attach(), attach()];
    const content = randomBytes(BYTES);
    content.copy(bytesOf(source));
    const untouched = randomBytes(BYTES);
    untouched.copy(bytesOf(target));
    run(driver.copy(source, 4090, target, 8001, 5000));
    expect(bytesOf(target).subarray(8001, 13_001).equals(content.subarray(4090, 9090))).toBe(true);
    expect(bytesOf(target).subarray(0, 8001).equals(untouched.subarray(0, 8001))).toBe(true);
    expect(bytesOf(target).subarray(13_001).equals(untouched.subarray(13_001))).toBe(true);
    expect(bytesOf(source).equals(content)).toBe(true);
  });

  test('copies a whole page, which is more than one transfer', () => {
    run(driver.open());
    const memory = attach();
    randomBytes(4096).copy(bytesOf(memory));
    run(driver.copy(memory, 0, memory, BYTES - 4096, 4096));
    expect(
      bytesOf(memory)
        .subarray(BYTES - 4096)
        .equals(bytesOf(memory).subarray(0, 4096)),
    ).toBe(true);
  });

  test('refuses what is not inside a memory, before the device hears of it', () => {
    run(driver.open());
    const memory = attach();
    const before = world.backing.interrupts.total;
    for (const [from, to, bytes] of [
      [0, 0, BYTES + 1],
      [BYTES, 0, 1],
      [0, BYTES - 1, 2],
      [-1, 0, 1],
      [0, 0, -1],
      [0, 0.5, 1],
      [0, 0, Number.NaN],
      [2 ** 53, 0, 1],
    ]) {
      expect(() => run(driver.copy(memory, from, memory, to, bytes))).toThrow(RangeError);
    }
    expect(world.backing.interrupts.total).toBe(before);
    run(driver.copy(memory, BYTES, memory, 0, 0));
  });

  test('without interrupts its registers are polled', () => {
    const { backing } = world;
    const silent = Object.create(backing, { interrupts: { value: { available: 0, fired: new Uint32Array(0), total: 0, *disable() {} } } }) as Backing;
    // Accessors of the backing's own state need the backing itself.
    Object.defineProperties(silent, {
      bars: { get: () => backing.bars },
      bar: { value: (index: number) => backing.bar(index) },
      claim: { value: () => backing.claim() },
      release: { value: () => backing.release() },
    });
    const polling = new EduDriver(silent);
    run(polling.open());
    expect(polling.hasInterrupts).toBe(false);
    const memory = attach();
    bytesOf(memory).write('edu', 0);
    run(polling.copy(memory, 0, memory, 100, 3));
    expect(bytesOf(memory).toString('latin1', 100, 103)).toBe('edu');
    expect(run(polling.factorial(6))).toBe(720);
    expect(backing.interrupts.total).toBe(0);
    run(polling.close());
  });

  test('R25: its configuration space is virtualized by the same tables: 256 bytes, MSI, one BAR', () => {
    run(driver.open());
    const { config, bars, rom } = world.backing;
    expect(config.bytes).toBe(256);
    const space = new VirtualConfig(run(takeSnapshot(config, bars, rom)));
    expect([space.bytes, space.read(0, 4), space.read(0x100, 4)]).toEqual([256, 0x11e8_1234, 'outside']);
    space.write(0x10, 4, 0xffff_ffff);
    expect(space.read(0x10, 4)).toBe(0xfff0_0000);
    const msi = space.read(0x34, 1) as number;
    expect([space.read(msi, 1), space.read(msi + 1, 1)]).toEqual([0x05, 0]);
    // The server's own message is neither shown nor changed.
    expect([space.read(msi + 2, 2), space.read(msi + 4, 4)]).toEqual([0x0080, 0]);
    space.write(msi + 4, 4, 0xdead_bee0);
    space.write(msi + 2, 2, 0);
    expect(run(driver.factorial(4))).toBe(24);
  });

  test('R08: the NVMe driver does not touch it, and its own touches nothing else', async () => {
    const nvme = new NvmeDriver(world.backing, { vectorsCeiling: 1, queuePairsCeiling: 1 });
    expect(() => run(nvme.open())).toThrow(expect.objectContaining({ code: 'unsupported', message: expect.stringContaining('0x00ff00') as string }));
    expect(world.backing.bars).toEqual([]);
    const other = await QemuWorld.start();
    try {
      expect(() => other.run(new EduDriver(other.backing).open())).toThrow(expect.objectContaining({ code: 'unsupported' }));
      expect(other.backing.bars).toEqual([]);
    } finally {
      await other.end();
    }
  });
});
