import { fstatSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { DmaMemory } from '../../src/hw/backing.js';
import type { Task } from '../../src/hw/task.js';
import { shm } from '../../src/native/shm.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { QemuWorld, holdings } from '../support/qemu-world.js';

const PAGE = 4096;
const SLOTS = 256;
const NAME = 'qemu-memory-test';

describe.skipIf(!hasQemu)(`memory of ${qemuName}`, () => {
  let world: QemuWorld;
  beforeEach(async () => {
    world = await QemuWorld.start();
    world.run(world.backing.claim());
  });
  afterEach(() => world.end());

  const attach = (bytes: number): DmaMemory => world.run(world.backing.attach(world.file(NAME, bytes), bytes));

  /** Several tasks at once, in turns, as the engine runs them. */
  function together<T>(tasks: readonly Task<T>[]): T[] {
    return world.run(
      (function* (): Task<T[]> {
        const results = new Map<Task<T>, T>();
        while (results.size < tasks.length) {
          for (const task of tasks) {
            if (results.has(task)) continue;
            const step = task.next();
            if (step.done === true) results.set(task, step.value);
          }
          yield 1;
        }
        return tasks.map((task) => results.get(task) as T);
      })(),
    );
  }

  test('a file is mapped here and there, page after page', () => {
    const memory = attach(5 * PAGE);
    expect([memory.bytes, memory.buffer.byteLength, memory.pageLow.length, memory.pageHigh.length]).toEqual([5 * PAGE, 5 * PAGE, 5, 5]);
    const first = memory.pageHigh[0] * 2 ** 32 + memory.pageLow[0];
    for (let page = 0; page < 5; page++) expect(memory.pageHigh[page] * 2 ** 32 + memory.pageLow[page]).toBe(first + page * PAGE);
    expect(holdings(world.pid, NAME).mappings).toBe(1);
  });

  test('after detach the buffer is gone, and QEMU holds nothing of the file', () => {
    const fd = world.file(NAME, PAGE);
    const before = holdings(world.pid, NAME);
    const memory = world.run(world.backing.attach(fd, PAGE));
    const { buffer } = memory;
    world.run(world.backing.detach(memory));
    expect(buffer.byteLength).toBe(0);
    expect(holdings(world.pid, NAME)).toEqual(before);
    expect(holdings('self', NAME).mappings).toBe(0);
    expect(fstatSync(fd).size).toBe(PAGE); // still the caller's
    expect(() => world.run(world.backing.detach(memory))).toThrow(RangeError);
  });

  test('two hundred files come and go, ten at a time, and nothing leaks on either side', () => {
    const warm = attach(PAGE);
    world.run(world.backing.detach(warm));
    const before = [holdings(world.pid, NAME), holdings('self', NAME)];
    const fds = Array.from({ length: 10 }, (_, i) => shm().memfdCreate(NAME, (i + 1) * PAGE));
    for (let round = 0; round < 20; round++) {
      const memories = together(fds.map((fd, i) => world.backing.attach(fd, (i + 1) * PAGE)));
      expect(holdings(world.pid, NAME).mappings).toBe(10);
      together(memories.map((memory) => world.backing.detach(memory)));
    }
    for (const fd of fds) shm().close(fd);
    expect([holdings(world.pid, NAME), holdings('self', NAME)]).toEqual(before);
  });

  test('a file is attached once at a time', () => {
    const fd = world.file(NAME, PAGE);
    const memory = world.run(world.backing.attach(fd, PAGE));
    const again = (): unknown => world.run(world.backing.attach(fd, PAGE));
    expect(again).toThrow(expect.objectContaining({ code: 'busy' }));
    const unplugging = world.backing.detach(memory);
    unplugging.next();
    expect(again).toThrow(expect.objectContaining({ code: 'busy' }));
    world.run(unplugging);
    expect(again).not.toThrow();
  });

  test('slots run out with a reason, and come back', () => {
    expect(world.backing.memorySlots).toBe(SLOTS);
    const memories = Array.from({ length: SLOTS }, () => attach(PAGE));
    const extra = world.file(NAME, PAGE);
    expect(() => world.run(world.backing.attach(extra, PAGE))).toThrow(expect.objectContaining({ code: 'exhausted' }));
    expect(holdings('self', NAME).mappings).toBe(SLOTS);
    world.run(world.backing.detach(memories[100]));
    const again = world.run(world.backing.attach(extra, PAGE));
    expect([again.pageLow[0], again.pageHigh[0]]).toEqual([memories[100].pageLow[0], memories[100].pageHigh[0]]);
  });

  test('addresses run out with a reason', () => {
    // Far larger than any memory: QEMU must be told nothing of it.
    const fd = world.file(NAME, 2 ** 40);
    expect(() => world.run(world.backing.attach(fd, 2 ** 40))).toThrow(expect.objectContaining({ code: 'exhausted' }));
    expect(world.backing.lost).toBeUndefined();
  });

  test.each([
    ['zero', 0],
    ['a part of a page', PAGE + 512],
    ['less than the file', PAGE],
    ['more than the file', 3 * PAGE],
    ['no number', NaN],
  ])('a size of %s is refused, and takes nothing', (_name, bytes) => {
    const fd = world.file(NAME, 2 * PAGE);
    expect(() => world.run(world.backing.attach(fd, bytes))).toThrow(RangeError);
    expect(holdings('self', NAME).mappings).toBe(0);
    expect(fstatSync(fd).size).toBe(2 * PAGE);
  });

  test('a file that QEMU cannot map is refused, everything is taken back, and the device goes on', () => {
    const fd = world.file(NAME, PAGE);
    shm().addSeals(fd, 0x10); // nobody can map it for writing any more
    const before = holdings(world.pid, NAME);
    expect(() => world.run(world.backing.attach(fd, PAGE))).toThrow(expect.objectContaining({ code: 'EPERM' }));
    expect(() => world.run(world.backing.attach(0x7fff_fff0, PAGE))).toThrow(expect.objectContaining({ code: 'EBADF' }));
    expect(holdings(world.pid, NAME)).toEqual(before);
    world.run(world.backing.detach(attach(PAGE)));
    expect(world.backing.lost).toBeUndefined();
  });
});
