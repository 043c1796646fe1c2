/** Opening and closing the device: who holds what, and when (R11, R12, R15, R17). */
import { afterEach, expect, test, vi } from 'vitest';
import { openEmulated, prepareEmulated } from '../../../src/hw/emulated/index.js';
import { NvmeDriver } from '../../../src/hw/nvme/index.js';
import { EngineWorld } from '../../support/engine-world.js';
import { runTask } from '../../support/run.js';

let world: EngineWorld | undefined;
afterEach(async () => {
  await world?.end();
  world = undefined;
});

test.each([
  [{ vectors: 9 }, 64, 9],
  [{ vectors: 65 }, 64, 64],
  [{ vectors: 65 }, 4, 4],
])('vectors in use are the smaller of the table and the ceiling: %o, %i', async (options, vectorsCeiling, expected) => {
  world = await EngineWorld.create(options, { vectorsCeiling });
  expect(world.engine.driver.facts.vectors).toBe(expected);
});

test('without MSI-X the device is polled, and requests complete', async () => {
  world = await EngineWorld.create({ vectors: 0 });
  const a = world.tenant(1);
  expect(a.lease.vectors).toBe(0);
  expect(world.execute(a, world.request(a))[0].code).toBe(0);
});

test('MSI-X is enabled while the device is open, and only then', async () => {
  world = await EngineWorld.create();
  const { interrupts } = world.backing;
  expect(interrupts.fired.length).toBe(0);
  const [a, b] = [world.tenant(1), world.tenant(2)];
  expect(interrupts.fired.length).toBe(world.engine.driver.facts.vectors);
  world.run(world.methods.closeLease(a.lease.lease));
  expect(interrupts.fired.length).toBe(world.engine.driver.facts.vectors);
  world.run(world.methods.closeLease(b.lease.lease));
  expect(interrupts.fired.length).toBe(0);
});

test('an unused device holds no BARs, no queues and no memory', async () => {
  world = await EngineWorld.create();
  expect(world.backing.bars).toEqual([]);
  expect(world.backing.attachedPages).toBe(0);
  const a = world.tenant(1);
  expect(world.backing.bars.length).toBeGreaterThan(0);
  world.run(world.methods.closeLease(a.lease.lease));
  world.run(world.methods.detachRegion(1, a.region, true));
  expect(world.backing.bars).toEqual([]);
  expect(world.backing.attachedPages).toBe(0);
});

/** Every administrative command of the bring-up, failing one after the other. */
test.each(Array.from({ length: 6 }, (_, index) => index + 1))('a bring-up whose command %i fails gives back everything', async (nth) => {
  const fault = { match: { queue: 'admin' as const, nth }, action: { kind: 'status' as const, type: 0, code: 6 } };
  const prepared = await prepareEmulated({ namespaces: [{ bytes: 1 << 20 }], faults: [fault] });
  const backing = openEmulated(prepared.handle);
  const driver = new NvmeDriver(backing, { vectorsCeiling: 64, queuePairsCeiling: 128 });
  const run = (task: Parameters<typeof runTask>[1]): unknown => runTask(backing, task, () => driver.poll());
  let failed = false;
  try {
    run(driver.open());
  } catch (error) {
    failed = true;
    expect(error).toMatchObject({ name: 'HardwareError', code: 'status' });
    expect(backing.bars).toEqual([]);
    expect(backing.attachedPages).toBe(0);
    expect(backing.interrupts.fired.length).toBe(0);
    expect(driver.arena.usedBytes).toBe(0);
  }
  // Commands 1 to 4 identify and ask for queues; the rest (events) may fail without harm.
  expect(failed).toBe(nth <= 4);
  if (failed) run(driver.open());
  run(driver.close());
  backing.dispose();
  await prepared.dispose();
});

test('a controller that never becomes ready is given up, and everything is given back', async () => {
  const prepared = await prepareEmulated({ namespaces: [{ bytes: 1 << 20 }], readyTimeoutMs: 500 });
  const backing = openEmulated(prepared.handle);
  runTask(backing, backing.setReadyDelay(Infinity));
  const driver = new NvmeDriver(backing, { vectorsCeiling: 64, queuePairsCeiling: 128 });
  expect(() => runTask(backing, driver.open(), () => driver.poll())).toThrow('does not become ready');
  expect(backing.bars).toEqual([]);
  expect(backing.attachedPages).toBe(0);
  backing.dispose();
  await prepared.dispose();
});

test('an engine that fails gives back what its thread alone has, and tells why it failed', async () => {
  const broken = await EngineWorld.create();
  const { backing, engine } = broken;
  const dispose = vi.spyOn(backing, 'dispose');
  vi.spyOn(backing, 'poll').mockImplementation(() => {
    throw new Error('the engine is broken');
  });
  expect(() => engine.run()).toThrow('the engine is broken');
  expect(dispose).toHaveBeenCalled();
  vi.restoreAllMocks();
  await broken.end();
});
