/** What the server is for (R41), on a real kernel: one wrong address in a command, and the controller overwrites memory of a process that has nothing to do with it. */
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AdminOpcode, Cns, Sqe } from '../../src/hw/nvme/spec/index.js';
import { bindFor, pciWorld } from '../support/pci.js';
import { Workspace, type Process } from '../support/processes.js';
import { RawNvme } from '../support/raw-nvme.js';
import { Server } from '../support/server.js';
import { guest } from './guest.js';
import { KEEP, pciConfiguration } from './pci-server.js';

const ways = guest.hasIommu ? (['vfio'] as const) : (['vfio', 'uio', 'sysfs'] as const);
const { nvme } = guest.devices;
const MINE = Buffer.alloc(64, 'mine ').toString('hex');

describe.each(ways)('a wrong address, through %s', { timeout: 60_000 }, (way) => {
  let space: Workspace;
  let victim: Process;
  let address: bigint;

  const held = async (): Promise<string> => {
    victim.stdout = '';
    victim.write('look\n');
    return (await victim.says(/^holds (.*)$/m))[1];
  };

  beforeEach(async () => {
    bindFor(way, nvme);
    space = new Workspace();
    victim = space.spawn(process.execPath, [join(import.meta.dirname, 'danger-victim.js')]);
    address = BigInt((await victim.says(/^at (\d+)$/m))[1]);
    expect(await held()).toBe(MINE);
  });

  afterEach(() => space.close());

  test(
    guest.hasIommu
      ? 'reaches nothing with raw access either: the IOMMU is a wall of its own'
      : 'overwrites memory of another process, with raw access',
    async () => {
      const { backing, end } = await pciWorld(way)();
      const host = await RawNvme.start(backing);
      const identify = { opcode: AdminOpcode.identify, prp1: address, words: { [Sqe.cdw10]: Cns.controller } };
      if (guest.hasIommu) await host.admin(identify).catch(() => undefined);
      else expect((await host.admin(identify)).status).toBe(0);
      backing.dispose();
      await end();
      const found = await held();
      if (guest.hasIommu) expect(found).toBe(MINE);
      else expect(Buffer.from(found, 'hex').toString('latin1', 4)).toMatch(/^guest /); // the serial number of the controller
    },
  );

  test('cannot be said to the server', async () => {
    const server = await Server.start(space, pciConfiguration(nvme, way), KEEP);
    const [alice, bob] = [await server.connect('alice'), await server.connect('bob')];
    const [device, other] = [await alice.openDevice('nvme0'), await bob.openDevice('nvme0')];
    const [region, theirs] = [await alice.allocate(4096), await bob.allocate(4096)];
    const share = device.share();
    const offsets = [4096, 4095, Number(address), Number(address) - 4096, 2 ** 40];
    for (const offset of offsets) await expect(share.readInto(region, offset, 0, share.blockBytes)).rejects.toHaveProperty('code');
    await expect(share.readInto(theirs, 0, 0, share.blockBytes)).rejects.toHaveProperty('code');
    await share.readInto(region, 0, 0, share.blockBytes);
    await other.share().readBlocks(0, 1);
    expect(await held()).toBe(MINE);
    await Promise.all([alice.close(), bob.close()]);
    expect(await server.stop()).toEqual({ status: 0, signal: null });
  });
});
