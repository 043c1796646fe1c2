import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

import { shm } from '../../../src/native/shm.js';
import { resultOf, thread } from './support.js';

const addon = fileURLToPath(new URL('../../../build/shm.node', import.meta.url));
const turn = () => new Promise((resolve) => setImmediate(resolve));
async function until(ready: () => boolean): Promise<void> {
  while (!ready()) await turn();
}

/** A waker of this thread, and how often it was called. */
function counter(): { id: number; calls: () => number; seen: (calls: number) => Promise<void> } {
  let calls = 0;
  const id = shm().createWaker(() => {
    calls++;
  });
  const seen = async (wanted: number): Promise<void> => {
    await until(() => calls >= wanted);
  };
  return { id, calls: () => calls, seen };
}

/** Lets queued calls run: a second waker's call comes after them. */
async function settle(): Promise<void> {
  const { id, seen } = counter();
  shm().wake(id);
  await seen(1);
  await turn();
  shm().closeWaker(id);
}

test('wakes before the call are merged; a wake after it brings another', async () => {
  const { id, calls, seen } = counter();
  for (let i = 0; i < 1000; i++) expect(shm().wake(id)).toBe(true);
  expect(calls()).toBe(0);
  await settle();
  expect(calls()).toBe(1);
  shm().wake(id);
  await seen(2);
  shm().closeWaker(id);
});

test('a wake from inside the call is not lost', async () => {
  let calls = 0;
  const id = shm().createWaker(() => {
    if (++calls < 5) shm().wake(id);
  });
  shm().wake(id);
  await until(() => calls === 5);
  await settle();
  expect(calls).toBe(5);
  shm().closeWaker(id);
});

test('a closed or unknown waker answers false and is not called', async () => {
  const { id, calls } = counter();
  shm().wake(id);
  shm().closeWaker(id);
  shm().closeWaker(id);
  expect([shm().wake(id), shm().wake(0x7fff_ffff)]).toEqual([false, false]);
  await settle();
  expect(calls()).toBe(0);
});

test('a thread that never runs its event loop wakes this one', async () => {
  const { id, calls, seen } = counter();
  const [stop, started] = [shm().eventfd(), shm().eventfd()];
  const woken = thread(
    `const ep = shm.epollCreate(); shm.epollControl(ep, 'add', data.stop, 1, 0); const out = new Int32Array(2); let wakes = 0;
     while (shm.epollWait(ep, out, 200) === 0) if (shm.wake(data.id)) wakes++;
     shm.close(ep); parentPort.postMessage(wakes);`,
    { id, stop },
  );
  await seen(3); // while the thread is still inside its loop
  shm().eventfdSignal(stop);
  expect(await resultOf(woken)).toBeGreaterThanOrEqual(calls());
  shm().closeWaker(id);
  for (const fd of [stop, started]) shm().close(fd);
});

test('no wake is lost among threads', async () => {
  const shared = new Int32Array(new SharedArrayBuffer(4));
  let last = 0;
  const id = shm().createWaker(() => {
    last = Atomics.load(shared, 0);
  });
  const code = `for (let i = 0; i < 20000; i++) { Atomics.add(data.shared, 0, 1); shm.wake(data.id); } parentPort.postMessage(true);`;
  await Promise.all([1, 2, 3].map(() => resultOf(thread(code, { id, shared }))));
  await until(() => last === 60000); // every add is followed by a wake, so a call must come that sees the last of them
  expect(last).toBe(60000);
  shm().closeWaker(id);
});

test('a waker ends with its thread, and only that thread may close it', async () => {
  const owner = thread(`const id = shm.createWaker(() => parentPort.postMessage('woken')); parentPort.postMessage(id);
    parentPort.on('message', () => process.exit());`);
  const id = await new Promise<number>((resolve) => owner.once('message', resolve));
  expect(() => shm().closeWaker(id)).toThrow(TypeError);
  const woken = new Promise((resolve) => owner.once('message', resolve));
  expect(shm().wake(id)).toBe(true);
  expect(await woken).toBe('woken');
  const exited = new Promise((resolve) => owner.once('exit', resolve));
  owner.postMessage('end', []);
  await exited;
  expect(shm().wake(id)).toBe(false);
});

test('threads come and go with wakers open while others wake them', async () => {
  for (let round = 0; round < 10; round++) {
    const owner = thread(`const ids = [1, 2, 3].map(() => shm.createWaker(() => {})); parentPort.postMessage(ids);`);
    const ids = await new Promise<number[]>((resolve) => owner.once('message', resolve));
    const exited = new Promise((resolve) => owner.once('exit', resolve));
    const terminated = owner.terminate();
    for (let i = 0; i < 1000; i++) for (const id of ids) shm().wake(id);
    await Promise.all([exited, terminated]);
    expect(ids.map((id) => shm().wake(id))).toEqual([false, false, false]);
  }
});

test('an open waker keeps its process alive until it is closed; what it throws is an uncaught exception', async () => {
  const run = (code: string) => promisify(execFile)(process.execPath, ['-e', `const shm = require(${JSON.stringify(addon)}); ${code}`]);
  // Nothing but the waker keeps the process: the thread is not waited for.
  const waker = `const { Worker } = require('node:worker_threads');
    const id = shm.createWaker(() => { console.log('woken'); shm.closeWaker(id); });
    new Worker(\`const { workerData: w } = require('node:worker_threads'); const s = require(w.addon);
      s.epollWait(s.epollCreate(), new Int32Array(2), 20000); s.wake(w.id);\`, { eval: true, workerData: { addon: ${JSON.stringify(addon)}, id } }).unref();`;
  expect((await run(waker)).stdout).toBe('woken\n');
  const thrown = `process.on('uncaughtException', (error) => { console.log(error.message); shm.closeWaker(id); });
    const id = shm.createWaker(() => { throw new Error('from onWake'); }); shm.wake(id);`;
  expect((await run(thrown)).stdout).toBe('from onWake\n');
});
