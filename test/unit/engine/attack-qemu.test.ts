/** QEMU is killed at every stage of an engine's work: every request and every task ends, nothing is left, and the next lease is refused, not lost. */
import { afterEach, describe, expect, test } from 'vitest';
import type { Task } from '../../../src/hw/task.js';
import { CompletionRing, Operation } from '../../../src/protocol/index.js';
import { createChannelMemory } from '../../../src/server/engine/channel.js';
import { createStatisticsMemory } from '../../../src/server/engine/counters.js';
import { EngineWorld, type Tenant } from '../../support/engine-world.js';
import { hasQemu, qemuName } from '../../support/qemu.js';
import { QemuWorld, holdings } from '../../support/qemu-world.js';
import { mappingsOf } from '../native/support.js';

const FULL = process.env['RINGWARDEN_FULL'] === '1';
const KILLS = FULL ? 40 : 8;
const DEADLINE_MS = 20_000;

let world: EngineWorld<QemuWorld['backing']> | undefined;
afterEach(async () => {
  await world?.end();
  world = undefined;
});

/** Runs all stages; `turned` is called after each turn of the engine. Returns the turns that the whole took, and what failed. */
async function live(turned: (turn: number, qemu: QemuWorld) => void) {
  const qemu = await QemuWorld.start();
  const here = EngineWorld.over(qemu.backing, { commandTimeout: 1_000 }, () => qemu.end());
  world = here;
  const { engine, methods } = here;
  let turns = 0;
  let asked = 0;
  let answered = 0;
  const failures: string[] = [];
  let tenant: Tenant | undefined;
  const turn = (): void => {
    engine.turn();
    turned(turns++, qemu);
    if (tenant !== undefined) answered += here.take(tenant).length;
  };
  /** Its value, or undefined when it failed as it may. */
  const run = <T>(task: Task<T>): T | undefined => {
    let ended = false;
    let value: T | undefined;
    let unexpected: unknown;
    engine.tasks.start(
      'test',
      task,
      (result) => {
        ended = true;
        value = result;
      },
      (error) => {
        ended = true;
        if (error instanceof Error && ['Refusal', 'HardwareError'].includes(error.name)) failures.push(error.message);
        else unexpected = error;
      },
    );
    const deadline = performance.now() + DEADLINE_MS;
    while (!ended) {
      turn();
      if (performance.now() > deadline) throw new Error(`a task did not end: ${JSON.stringify(engine.inspect())}`);
    }
    if (unexpected !== undefined) throw unexpected as Error;
    return value;
  };
  const lease = run(methods.openLease(here.leaseRequest(1, { ringViews: 'truncated' }), createStatisticsMemory()));
  const region = 0x0001_0001;
  const { memory, task } = here.attaching(1, region, 65_536);
  run(task);
  const rings = createChannelMemory(16);
  const opened = lease && run(methods.openQueue(lease.lease, 0, rings, 1));
  if (lease !== undefined && opened !== undefined) {
    tenant = { index: 1, lease, queue: opened.queue, channel: here.channel(0, rings), rings, region, memory };
    const ask = (): void => {
      const generation = engine.device.leases.get(lease.lease)?.generation ?? 0;
      for (let count = 0; count < 4; count++, asked++) {
        here.submit(tenant as Tenant, here.request(tenant as Tenant, { operation: Operation.write, generation, blocks: 8, length: 4096 }));
      }
    };
    ask();
    run(methods.resetLease(lease.lease));
    ask();
    run(methods.resetController('test'));
    ask();
    run(methods.wipe(1, 10_000, 20_000));
    ask();
    run(methods.closeQueue(lease.lease, opened.queue));
  }
  if (lease !== undefined) run(methods.closeLease(lease.lease));
  run(methods.detachRegion(1, region, true));
  turn();
  // What the end of its lease kept from being taken, its session ends.
  const taken = new Int32Array(rings.completions)[CompletionRing.requestHead];
  return { here, turns, asked, taken, answered, failures };
}

describe.skipIf(!hasQemu)(`${qemuName} is killed`, () => {
  test(
    `at ${KILLS} moments from the first turn of the engine to the last`,
    async () => {
      const { turns, failures, asked: all, answered: ended } = await live(() => {});
      expect(failures).toEqual([]);
      expect([all, ended]).toEqual([16, 16]);
      await world?.end();
      world = undefined;
      const descriptors = holdings('self', 'ringwarden').descriptors;
      for (let kill = 0; kill < KILLS; kill++) {
        const at = Math.floor((turns * kill) / KILLS);
        let killed = false;
        const { here, asked, taken, answered } = await live((turn, qemu) => {
          if (turn !== at) return;
          killed = true;
          process.kill(qemu.pid, 'SIGKILL');
        });
        const { engine } = here;
        expect(answered).toBe(taken);
        if (!killed) expect(taken).toBe(asked);
        expect(engine.path.tables.size).toBe(0);
        expect(engine.device.domains.size).toBe(0);
        expect(engine.device.report()).toMatchObject({ free: true, leases: [], quarantineBytes: 0 });
        expect(engine.driver.arena.usedBytes).toBe(0);
        expect(mappingsOf('ringwarden:completions')).toEqual([]);
        expect(['lost', 'closed']).toContain(engine.device.state);
        // How many turns a life takes differs; a late moment may come after its end. The early ones never do.
        if (killed) expect(() => here.openLease(2)).toThrow(/deviceLost|deviceUnavailable/);
        else expect(at).toBeGreaterThan(turns / 2);
        world = undefined;
        await here.end();
        // What belonged to the process is closed when Node has heard of its end. An engine that was never run keeps its epoll.
        await expect.poll(() => holdings('self', 'ringwarden').descriptors).toBeLessThanOrEqual(descriptors + kill + 1);
      }
    },
    KILLS * 30_000,
  );
});
