/** `ringwarden bind`, `serve`, two tenants, `unbind`: on each way to a function, as an operator does it. */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { bindFor, bindTo } from '../support/pci.js';
import { workspace } from '../support/processes.js';
import { Server } from '../support/server.js';
import { Workload } from '../support/workload.js';
import { guest } from './guest.js';
import { KEEP, bindAsTold, pciConfiguration } from './pci-server.js';

const WORK_MS = 3_000;
const ways = guest.hasIommu ? (['vfio'] as const) : (['vfio', 'uio', 'sysfs'] as const);
const { nvme } = guest.devices;
const isBound = (driver: string): boolean => existsSync(`/sys/bus/pci/drivers/${driver}/${nvme}`);

describe.each(ways)('a function shared through %s', { timeout: 120_000 }, (way) => {
  test('is taken from its driver, serves two tenants, and goes back', async () => {
    const space = workspace();
    if (guest.hasIommu) bindFor('vfio', nvme); // accepts that QEMU remaps no interrupts, which no command asks for before the server starts
    bindTo('nvme', nvme);
    await bindAsTold(space, nvme, way);
    const server = await Server.start(space, pciConfiguration(nvme, way), KEEP);
    const [alice, bob] = [await server.connect('alice', { transport: 'shm' }), await server.connect('bob')];
    const work = [alice, bob].map(async (client, index) => {
      const lease = await client.openDevice('nvme0');
      const workload = new Workload(lease.share(), { seed: index + 1, lanes: 2 });
      await workload.filled;
      await sleep(WORK_MS);
      await workload.stop();
      await lease.close();
      await client.close();
      return workload;
    });
    for (const { mismatches, requests } of await Promise.all(work)) {
      expect(mismatches).toEqual([]);
      expect(requests).toBeGreaterThan(0);
    }
    expect(await server.stop()).toEqual({ status: 0, signal: null });
    const unbound = await space.ringwarden(['unbind', nvme]);
    expect(unbound, unbound.stderr).toMatchObject({ status: 0 });
    expect(isBound('nvme')).toBe(true);
  });
});
