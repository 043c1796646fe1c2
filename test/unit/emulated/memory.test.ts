/** Attached memory when the machine does not let go of it. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { EmulatedHandle } from '../../../src/hw/emulated/handle.js';
import type { Link } from '../../../src/hw/emulated/link.js';
import { MemoryTable } from '../../../src/hw/emulated/memory.js';
import { resolveOptions } from '../../../src/hw/emulated/options.js';
import { RemoteLink } from '../../../src/hw/emulated/remote.js';
import { Shared, Word } from '../../../src/hw/emulated/shared.js';
import { HardwareError, type Task } from '../../../src/hw/task.js';
import { shm } from '../../../src/native/shm.js';
import { PAGE } from './world.js';

/** Runs a task for which nobody has to do anything. */
function run<T>(task: Task<T>): T {
  for (;;) {
    const step = task.next();
    if (step.done === true) return step.value;
  }
}

describe('a detach that failed', () => {
  let fd: number;
  beforeEach(() => {
    fd = shm().memfdCreate('memory', PAGE);
  });
  afterEach(() => shm().close(fd));

  test('leaves the memory attached, with its addresses, and can be repeated', () => {
    const answers: (HardwareError | undefined)[] = [new HardwareError('lost', 'no answer'), undefined];
    const link = {
      *attach() {},
      *detach() {
        const answer = answers.shift();
        yield 0;
        if (answer !== undefined) throw answer;
      },
    } as unknown as Link;
    const table = new MemoryTable(link, resolveOptions({}).shape);
    const memory = run(table.attach(fd, PAGE, {}));
    expect(() => run(table.detach(memory))).toThrow('no answer');
    expect([table.pages, memory.buffer.byteLength]).toEqual([1, PAGE]);
    const other = run(table.attach(fd, PAGE, {}));
    expect(other.pageLow[0]).not.toBe(memory.pageLow[0]);
    const leaving = table.detach(memory);
    leaving.next();
    expect(() => run(table.detach(memory))).toThrow('is being detached');
    run(leaving);
    expect([table.pages, memory.buffer.byteLength]).toEqual([1, 0]);
    expect(() => run(table.detach(memory))).toThrow('not attached');
    table.dispose();
  });
});

describe('a device thread', () => {
  afterEach(() => void vi.restoreAllMocks());

  test('that does not answer may still write: nothing is detached before it has ended', () => {
    const shared = new Shared();
    const link = new RemoteLink({ shared: shared.buffer, event: -1 } as EmulatedHandle);
    const start = performance.now();
    const clock = vi.spyOn(performance, 'now').mockReturnValue(start);
    const detach = link.detach(0);
    detach.next();
    clock.mockReturnValue(start + 20_000);
    expect(() => detach.next()).toThrow('did not answer');
    expect(() => run(link.detach(0))).toThrow('did not answer');
    Atomics.store(shared.words, Word.dead, 1);
    expect(() => run(link.detach(0))).not.toThrow();
  });
});
