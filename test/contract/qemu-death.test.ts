import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { DmaMemory } from '../../src/hw/backing.js';
import { prepare } from '../../src/hw/qemu/index.js';
import { Epoll, shm } from '../../src/native/shm.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { QemuWorld, holdings, qemuDefaults, withFolder } from '../support/qemu-world.js';

const PAGE = 4096;
const NAME = 'qemu-death-test';
/** How long the tests let QEMU be silent. */
const SILENCE_MS = 300;

const repository = fileURLToPath(new URL('../..', import.meta.url));

describe.skipIf(!hasQemu)(`the end of ${qemuName}`, () => {
  let world: QemuWorld;
  let memory: DmaMemory;
  beforeEach(async () => {
    world = await QemuWorld.start({ accessMilliseconds: SILENCE_MS });
    world.run(world.backing.claim());
    world.run(world.backing.interrupts.enable(2));
    memory = world.run(world.backing.attach(world.file(NAME, PAGE), PAGE));
  });
  afterEach(() => world.end());

  const lost = (message: string | RegExp) => expect.objectContaining({ code: 'lost', message: expect.stringMatching(message) });

  /** Polls until the device is lost, as an engine does that has nothing else to do. */
  function pollUntilLost(): void {
    const deadline = performance.now() + 20_000;
    while (world.backing.lost === undefined) {
      world.backing.poll();
      if (performance.now() > deadline) throw new Error('never lost');
    }
  }

  /** Everything an engine may still do with a device that is gone: it ends, and leaves nothing. */
  function letGo(): void {
    const { backing } = world;
    expect(() => world.run(backing.bar(0).read32(0))).toThrow(lost(''));
    expect(() => world.run(backing.config.read32(0))).toThrow(lost(''));
    expect(() => world.run(backing.attach(world.file(NAME, PAGE), PAGE))).toThrow(lost(''));
    backing.bar(0).write32(0x1000, 1); // nothing happens
    expect(backing.poll()).toBe(0);
    world.run(backing.detach(memory));
    expect(memory.buffer.byteLength).toBe(0);
    expect(holdings('self', NAME).mappings).toBe(0);
    world.run(backing.release());
    world.run(backing.release());
    // A thread that waits on the descriptors is not kept awake by what has ended.
    const epoll = shm().epollCreate();
    for (const fd of backing.descriptors) shm().epollControl(epoll, 'add', fd, Epoll.in, 0);
    expect(shm().epollWait(epoll, new Int32Array(2), 0)).toBe(0);
    shm().close(epoll);
  }

  test('killed while idle: polling finds out', async () => {
    process.kill(world.pid, 'SIGKILL');
    pollUntilLost();
    expect(world.backing.lost).toMatch(/QEMU has ended$/);
    expect(await world.prepared.ended).toBe('QEMU ended (SIGKILL)');
    letGo();
  });

  test('killed during accesses: each ends', async () => {
    const { backing } = world;
    process.kill(world.pid, 'SIGSTOP'); // so that nothing is answered before the end
    const read = backing.bar(0).read32(0);
    read.next();
    const plugging = backing.attach(world.file(NAME, PAGE), PAGE);
    plugging.next();
    process.kill(world.pid, 'SIGKILL');
    expect(() => world.run(read)).toThrow(lost('QEMU has ended'));
    expect(() => world.run(plugging)).toThrow(lost('QEMU has ended'));
    await world.prepared.ended;
    letGo();
  });

  test('killed during detach: detach ends, for then nothing can be written any more', async () => {
    const unplugging = world.backing.detach(memory);
    unplugging.next();
    process.kill(world.pid, 'SIGKILL');
    world.run(unplugging);
    expect(memory.buffer.byteLength).toBe(0);
    pollUntilLost();
    await world.prepared.ended;
  });

  test('stopped: a read is lost after the limit, and QEMU is killed', async () => {
    process.kill(world.pid, 'SIGSTOP');
    expect(() => world.run(world.backing.bar(0).read32(0))).toThrow(lost(`not answered for ${SILENCE_MS} ms`));
    expect(await world.prepared.ended).toBe('QEMU ended (SIGKILL)');
    letGo();
  });

  test('stopped: posted writes are lost as well, which polling finds out', async () => {
    process.kill(world.pid, 'SIGSTOP');
    world.backing.bar(0).write32(0x1000, 0);
    pollUntilLost();
    expect(world.backing.lost).toContain(`not answered for ${SILENCE_MS} ms`);
    expect(await world.prepared.ended).toBe('QEMU ended (SIGKILL)');
    letGo();
  });

  test('stopped during detach: QEMU is killed, and only then detach ends', () => {
    process.kill(world.pid, 'SIGSTOP');
    world.run(world.backing.detach(memory));
    expect(world.backing.lost).toContain(`within ${SILENCE_MS} ms`);
    expect(memory.buffer.byteLength).toBe(0);
    // Dead, though nobody has waited for it yet.
    const mapped = existsSync(`/proc/${world.pid}/maps`) ? holdings(world.pid, NAME).mappings : 0;
    expect(mapped).toBe(0);
  });

  test('disposed of: QEMU ends, and everything is unmapped', async () => {
    world.backing.dispose();
    world.backing.dispose();
    expect(await world.prepared.ended).toBe('QEMU ended (SIGKILL)');
    expect(holdings('self', NAME).mappings).toBe(0);
  });
});

/** The sources as JavaScript in `folder`, for processes and threads that have no TypeScript. Resolves with the address of the backing's door. */
async function compile(folder: string): Promise<string> {
  const tsc = spawn(
    process.execPath,
    [join(repository, 'node_modules/typescript/bin/tsc'), '-p', join(repository, 'tsconfig.build.json'), '--outDir', join(folder, 'dist')],
    { stdio: 'ignore' },
  );
  await new Promise((resolve) => tsc.once('exit', resolve)); // its verdict is for another check: it writes what it can
  mkdirSync(join(folder, 'node_modules'), { recursive: true });
  symlinkSync(join(repository, 'build'), join(folder, 'build'));
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  return join(folder, 'dist/hw/qemu/index.js');
}

describe.skipIf(!hasQemu)(`${qemuName} and other threads and processes`, () => {
  test('dies with the process that started it, however that dies', () =>
    withFolder(async (folder) => {
      const door = await compile(folder);
      const script = `import { prepare } from ${JSON.stringify(door)};
        const { handle } = await prepare(${JSON.stringify(qemuDefaults)}); console.log(handle.pid); setInterval(() => {}, 1000);`;
      const parent = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
      const pid = Number(await new Promise((resolve) => parent.stdout.once('data', resolve)));
      expect(existsSync(`/proc/${pid}`)).toBe(true);
      parent.kill('SIGKILL');
      await new Promise((resolve) => parent.once('exit', resolve));
      const gone = (): boolean => !existsSync(`/proc/${pid}/exe`) || holdings(pid, 'ringwarden').descriptors === 0;
      for (let i = 0; i < 400 && !gone(); i++) await new Promise((resolve) => setTimeout(resolve, 25));
      expect(gone()).toBe(true);
    }));

  test('is driven by a thread whose event loop stands still', () =>
    withFolder(async (folder) => {
      const door = await compile(folder);
      const prepared = await prepare(qemuDefaults);
      const engine = join(folder, 'engine.mjs');
      writeFileSync(
        engine,
        `import { parentPort, workerData } from 'node:worker_threads';
         import { openQemu } from ${JSON.stringify(door)};
         import { Epoll, shm } from ${JSON.stringify(join(folder, 'dist/native/shm.js'))};
         const backing = openQemu(workerData);
         const epoll = shm().epollCreate();
         for (const fd of backing.descriptors) shm().epollControl(epoll, 'add', fd, Epoll.in, 0);
         let timeouts = 0;
         function run(task) {
           for (;;) {
             const step = task.next();
             if (step.done) return step.value;
             if (backing.poll() === 0 && shm().epollWait(epoll, new Int32Array(2), Math.ceil(step.value * 1000)) === 0) timeouts++;
           }
         }
         run(backing.claim());
         run(backing.interrupts.enable(2));
         const fd = shm().memfdCreate('thread', 8192);
         const memory = run(backing.attach(fd, 8192));
         const version = run(backing.bar(0).read32(8));
         run(backing.detach(memory));
         run(backing.release());
         backing.dispose();
         shm().close(fd);
         parentPort.postMessage({ version, length: memory.buffer.byteLength });`,
      );
      const worker = new Worker(engine, { workerData: prepared.handle });
      const result = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
      expect(result).toEqual({ version: 0x1_0400, length: 0 });
      expect(await prepared.ended).toBe('QEMU ended (SIGKILL)'); // the thread disposed of the backing
      await prepared.dispose();
    }));
});
