import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { shm } from '../../../src/native/shm.js';
import { Channel, createChannelMemory } from '../../../src/server/engine/channel.js';
import { CompletionWatch } from '../../../src/server/engine/completion-watch.js';
import { IdRing } from '../../../src/server/engine/id-ring.js';
import { Signals } from '../../../src/server/engine/signals.js';

/** A watch over completions that the test makes ready. */
function makeWatch(onStop: () => void = () => undefined) {
  const world = {
    ready: 0,
    taken: 0,
    /** What the engine was told: that the main thread watches, or not any more. */
    told: [] as boolean[],
    signals: {
      setMainWatching(watching: boolean) {
        world.told.push(watching);
        if (!watching) onStop();
      },
      wakeEngine: () => undefined,
    } as unknown as Signals,
    push(count: number): void {
      for (let index = 0; index < count; index++) watch.pushed();
      watch.start();
    },
  };
  const watch = new CompletionWatch(world.signals, () => {
    const found = world.ready;
    world.ready = 0;
    world.taken += found;
    watch.taken(found);
    return found;
  });
  return { world, watch };
}

async function until(ready: () => boolean): Promise<void> {
  while (!ready()) await turn();
}

test('the answer to a lone request is taken before the event loop turns', async () => {
  const { world } = makeWatch();
  world.push(1);
  expect(world.told).toEqual([true]);
  world.ready = 1;
  await Promise.resolve();
  expect(world).toMatchObject({ taken: 1, told: [true, false] });
});

test('the answers to many requests are looked for at turns of the event loop, until all are there', async () => {
  const { world } = makeWatch();
  world.push(10);
  world.ready = 4;
  await Promise.resolve();
  expect(world.taken).toBe(0);
  await until(() => world.taken === 4);
  world.ready = 6;
  await until(() => world.taken === 10);
  await turn();
  expect(world.told.at(-1)).toBe(false);
});

test('requests that go out while it watches do not start it twice', async () => {
  const { world } = makeWatch();
  world.push(5);
  world.push(5);
  world.ready = 10;
  await until(() => world.taken === 10);
  expect(world.told).toEqual([true, false]);
});

test('when nothing comes for long it stops, and takes what came before the engine knew', async () => {
  const { world } = makeWatch(() => {
    world.ready = 1;
  });
  world.push(1);
  await until(() => world.told.length === 2);
  expect(world).toMatchObject({ taken: 1, ready: 0, told: [true, false] });
});

test('requests of a queue that is gone are not looked out for', async () => {
  const { world, watch } = makeWatch();
  const channel = new Channel(0, createChannelMemory(16), IdRing.create(16), world.signals, watch);
  const entry = new BigUint64Array(8);
  for (let index = 0; index < 5; index++) channel.push(entry, 0, 0);
  channel.commit();
  channel.end();
  await turn();
  expect(world.told).toEqual([true, false]);
});

test('the engine wakes the main thread when that does not watch, and only then', async () => {
  let woken = 0;
  const mainWaker = shm().createWaker(() => woken++);
  const engineWake = shm().eventfd();
  const signals = new Signals({ words: new SharedArrayBuffer(256), engineWake, mainWaker });
  try {
    signals.setMainWatching(true);
    signals.wakeMain();
    for (let turns = 0; turns < 100; turns++) await turn();
    expect(woken).toBe(0);
    signals.setMainWatching(false);
    signals.wakeMain();
    await until(() => woken > 0);
    expect(woken).toBe(1);
  } finally {
    shm().closeWaker(mainWaker);
    shm().close(engineWake);
  }
});
