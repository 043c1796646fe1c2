/**
 * How fast the controller of the guest is for a tenant of the server, beside a C program that has the controller for itself: one read of 4 KiB after the other, and 32 at a time.
 * No bar: the processor is emulated, and that slows just-in-time code down most.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bindFor } from '../support/pci.js';
import { ROOT, workspace } from '../support/processes.js';
import { Server } from '../support/server.js';
import { guest } from './guest.js';
import { KEEP, pciConfiguration } from './pci-server.js';

const SECONDS = 2;
const BYTES = 4096;
const DEPTH = 32;
const { nvme } = guest.devices;

interface Figures {
  /** Of one read, at depth 1. */
  readonly microseconds: number;
  /** Reads, at depth 32. */
  readonly perSecond: number;
}

const asC = (): Figures =>
  JSON.parse(execFileSync(join(ROOT, 'nvme-queue'), [nvme, String(SECONDS)], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })) as Figures;

async function asTenant(): Promise<Figures> {
  const server = await Server.start(workspace(), pciConfiguration(nvme, 'vfio'), KEEP);
  const client = await server.connect('alice', { transport: 'shm' });
  const device = await client.openDevice('nvme0', { queues: 'own' });
  const region = await client.allocate(DEPTH * BYTES);
  const share = device.share();
  /** Reads a second. */
  const rate = async (lanes: number): Promise<number> => {
    let count = 0;
    const from = performance.now();
    const end = from + SECONDS * 1000;
    const lane = async (index: number): Promise<void> => {
      for (; performance.now() < end; count++) await share.readInto(region, index * BYTES, (count % 1024) * BYTES, BYTES);
    };
    await Promise.all(Array.from({ length: lanes }, (_, index) => lane(index)));
    return (count / (performance.now() - from)) * 1000;
  };
  const figures = { microseconds: 1e6 / (await rate(1)), perSecond: await rate(DEPTH) };
  await client.close();
  expect(await server.stop()).toEqual({ status: 0, signal: null });
  return figures;
}

test('reads of 4 KiB, by a C program with a queue of its own and by a tenant', async ({ annotate }) => {
  bindFor('vfio', nvme);
  const [c, tenant] = [asC(), await asTenant()];
  for (const { microseconds, perSecond } of [c, tenant]) expect(Math.min(microseconds, perSecond)).toBeGreaterThan(0);
  await annotate(`depth 1: C ${c.microseconds.toFixed(0)} us, tenant ${tenant.microseconds.toFixed(0)} us`);
  await annotate(`depth ${DEPTH}: C ${c.perSecond.toFixed(0)}/s, tenant ${tenant.perSecond.toFixed(0)}/s`);
});
