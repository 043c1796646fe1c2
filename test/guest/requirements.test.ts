/** What the requirements ask of a real function, one by one (docs/requirements.md): a server with two tenants on QEMU's controller, through VFIO. */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openPci, prepare } from '../../src/hw/linux/index.js';
import { NvmeDriver } from '../../src/hw/nvme/index.js';
import { CapabilityId, Command, Header, Msix, MsixControl, ROM_ADDRESS_MASK, ROM_ENABLE } from '../../src/hw/pci/index.js';
import { shm } from '../../src/native/shm.js';
import { bindFor, bindTo } from '../support/pci.js';
import { Workspace, eventually } from '../support/processes.js';
import { romImage } from '../support/rom.js';
import { runTaskAsync } from '../support/run.js';
import { Server, serve, tenant, type Client } from '../support/server.js';
import { guest } from './guest.js';
import { KEEP, pciConfiguration } from './pci-server.js';

const { nvme, slot } = guest.devices;
const other = slot.address;
const VECTORS_CEILING = 64;

/** The function's own configuration space, past the server. */
function realConfig(address: string): Buffer {
  const fd = openSync(`/sys/bus/pci/devices/${address}/config`, 'r');
  try {
    const bytes = Buffer.alloc(256);
    readSync(fd, bytes, 0, bytes.length, 0);
    return bytes;
  } finally {
    closeSync(fd);
  }
}

const commandOf = (address: string): number => realConfig(address).readUInt16LE(Header.command);
const decodes = (address: string): boolean => (commandOf(address) & (Command.memory | Command.busMaster)) !== 0;

function msixOf(address: string): { enabled: boolean; vectors: number; table: number } {
  const config = realConfig(address);
  let at = config[Header.capabilities];
  while (config[at] !== CapabilityId.msix) at = config[at + 1];
  const control = config.readUInt16LE(at + Msix.control);
  return {
    enabled: (control & MsixControl.enable) !== 0,
    vectors: (control & MsixControl.sizeMask) + 1,
    table: config.readUInt32LE(at + Msix.table) & ~7,
  };
}

describe('on a real function', { timeout: 60_000 }, () => {
  const space = new Workspace();
  let server: Server;
  let alice: Client;
  let bob: Client;

  beforeAll(async () => {
    bindFor('vfio', nvme);
    bindFor('vfio', other);
    server = await Server.start(space, pciConfiguration(nvme, 'vfio'), KEEP);
    [alice, bob] = [await server.connect('alice', { transport: 'shm' }), await server.connect('bob')];
  });

  afterAll(async () => {
    await Promise.all([alice.close(), bob.close()]);
    expect(await server.stop()).toEqual({ status: 0, signal: null });
    await space.close();
  });

  const isClosed = (): Promise<unknown> => eventually('the device is closed', () => (decodes(nvme) ? undefined : true));

  test('R10: a vector is bound to an event descriptor, bound again, and released; there is none beyond the last', async () => {
    const device = await alice.openDevice('nvme0', { queues: 'own' });
    const { vector } = device.queue;
    const first = await device.bindEventfd(vector);
    await device.share().flush();
    await expect.poll(() => shm().eventfdTake(first)).toBeGreaterThan(0);
    const second = await device.bindEventfd(vector);
    await device.share().flush();
    await expect.poll(() => shm().eventfdTake(second)).toBeGreaterThan(0);
    expect(shm().eventfdTake(first)).toBe(0);
    expect(await device.bindEventfd(vector, { fd: -1 })).toBe(-1);
    await device.share().flush();
    await expect.poll(() => device.vectorState(vector)).toMatchObject({ eventfd: false, signals: 0 });
    await expect(device.bindEventfd(device.vectors)).rejects.toMatchObject({ code: 'unknownVector' });
    for (const fd of [first, second]) shm().close(fd);
    await device.close();
  });

  test.each([VECTORS_CEILING, 8])('R11: no more vectors than the table of MSI-X has, nor than %i', async (ceiling) => {
    const prepared = await prepare({ address: other, path: 'vfio' });
    const backing = openPci(prepared.handle);
    const driver = new NvmeDriver(backing, { vectorsCeiling: ceiling, queuePairsCeiling: 64 });
    const run = <T>(task: Generator<number, T, void>): Promise<T> => runTaskAsync(backing, task, () => driver.poll());
    await run(driver.open());
    expect(backing.interrupts.available).toBe(msixOf(other).vectors);
    expect(driver.facts.vectors).toBe(Math.min(msixOf(other).vectors, ceiling));
    expect(await run(driver.close())).toBe(true);
    backing.dispose();
    await prepared.dispose();
  });

  test('R12: MSI-X is on from the first open to the last close', async () => {
    await isClosed();
    expect(msixOf(nvme).enabled).toBe(false);
    const [first, second] = [await alice.openDevice('nvme0'), await bob.openDevice('nvme0')];
    expect(msixOf(nvme).enabled).toBe(true);
    await first.close();
    expect(msixOf(nvme).enabled).toBe(true);
    await second.close();
    await eventually('MSI-X is off', () => (msixOf(nvme).enabled ? undefined : true));
  });

  test('R14, R32: a tenant is told of the BARs, their kind and size, and what of them may be read, and of no address', async () => {
    const device = await alice.openDevice('nvme0');
    const regions = await device.pci.regions();
    const resources = readFileSync(`/sys/bus/pci/devices/${nvme}/resource`, 'utf8').split('\n');
    const [first, last] = resources[0].split(' ').map(Number);
    expect(regions[0]).toMatchObject({ index: 0, name: 'BAR0', kind: 'memory', bytes: last - first + 1 });
    expect(regions[0].readable.map(({ name }) => name)).toEqual(expect.arrayContaining(['CAP', 'VS', 'CSTS']));
    expect(JSON.stringify(regions)).not.toContain(String(first));
    expect((await device.pci.readConfig(Header.bar0, 4)) & ~0xf).toBe(0);
    await device.close();
  });

  test('R15: a server that fails on the way up gives the function back as it was', async () => {
    const before = commandOf(other);
    const tooFar = tenant('alice', 2 ** 40);
    const devices = [{ name: 'nvme0', backing: { kind: 'pci', address: other, path: 'vfio' } }];
    const own = new Workspace();
    const failed = serve(own, { ...pciConfiguration(other, 'vfio'), devices, tenants: [tooFar] }, KEEP);
    expect((await failed.ended).status, failed.words).not.toBe(0);
    expect(commandOf(other)).toBe(before);
    await (await prepare({ address: other, path: 'vfio' })).dispose();
    await own.close();
  });

  test('R16: what lies outside a region, or reaches out of it, is refused', async () => {
    const device = await alice.openDevice('nvme0');
    const [{ bytes }] = await device.pci.regions();
    for (const offset of [bytes, bytes - 2, 2 ** 31, 2 ** 32 - 4]) await expect(device.pci.readRegister(0, offset)).rejects.toHaveProperty('code');
    await expect(device.pci.readConfig(4096, 4)).rejects.toMatchObject({ code: 'outsideConfig' });
    const share = device.share();
    await expect(share.readBlocks(share.blocks, 1)).rejects.toHaveProperty('code');
    await expect(share.readBlocks(share.blocks - 1, 2)).rejects.toHaveProperty('code');
    await device.close();
  });

  test('R17: the BARs are had as long as the device is open, and an unused device decodes nothing', async () => {
    await isClosed();
    const device = await alice.openDevice('nvme0');
    expect(commandOf(nvme) & (Command.memory | Command.busMaster)).toBe(Command.memory | Command.busMaster);
    await device.close();
    await isClosed();
  });

  test('R18: a function that a server or a driver has is refused, with the name of the driver', async () => {
    const own = new Workspace();
    const second = serve(own, pciConfiguration(nvme, 'vfio'), KEEP);
    expect((await second.ended).status, second.words).not.toBe(0);
    bindTo('nvme', other);
    const third = serve(own, pciConfiguration(other, 'vfio'), KEEP);
    expect((await third.ended).status).not.toBe(0);
    expect(third.stderr).toMatch(/\bnvme\b/);
    bindFor('vfio', other);
    await own.close();
  });

  test('R19: the ROM is never decoded beside the BARs, and a tenant sees a shadow of it or nothing', async () => {
    const device = await alice.openDevice('nvme0');
    const register = realConfig(nvme).readUInt32LE(Header.expansionRom);
    expect(register & ROM_ADDRESS_MASK, 'the function has a ROM').not.toBe(0);
    expect(register & ROM_ENABLE).toBe(0);
    const rom = await device.pci.rom().catch((error: unknown) => (error as { code?: string }).code);
    if (rom !== 'noRom') expect(rom).toEqual(romImage(4096));
    expect((await device.pci.regions()).filter(({ kind }) => kind === 'rom').flatMap(({ readable }) => readable)).toEqual([]);
    expect(realConfig(nvme).readUInt32LE(Header.expansionRom) & ROM_ENABLE).toBe(0);
    await device.close();
  });

  test('R20: many who read configuration space at once all read the same', async () => {
    const devices = await Promise.all([alice.openDevice('nvme0'), bob.openDevice('nvme0')]);
    const reads = await Promise.all(
      Array.from({ length: 32 }, async (_, index) => {
        const { pci } = devices[index % 2];
        return [await pci.readConfig(0, 4), await pci.readConfig(8, 4), await pci.readRegister(0, 8)];
      }),
    );
    expect(new Set(reads.map(String)).size).toBe(1);
    expect(reads[0][0]).toBe(realConfig(nvme).readUInt32LE(0));
    await Promise.all(devices.map((device) => device.close()));
  });

  test('R21: a reset on request is of the one who asks, and of nobody else', async () => {
    const [mine, theirs] = [await alice.openDevice('nvme0'), await bob.openDevice('nvme0')];
    const generation = theirs.generation;
    const before = mine.generation;
    await mine.reset();
    expect(mine.generation).not.toBe(before);
    expect(theirs.generation).toBe(generation);
    await Promise.all([mine.share().readBlocks(0, 1), theirs.share().readBlocks(0, 1)]);
    await Promise.all([mine.close(), theirs.close()]);
  });

  test('R22, R23: who wants it alone waits until the last one is gone, and is told', async () => {
    const device = await alice.openDevice('nvme0');
    await expect(bob.openDevice('nvme0', { mode: 'exclusive' })).rejects.toHaveProperty('code');
    const free = bob.deviceState('nvme0', { wait: true });
    await device.close();
    await free;
    const alone = await bob.openDevice('nvme0', { mode: 'exclusive' });
    await expect(alice.openDevice('nvme0')).rejects.toHaveProperty('code');
    await alone.close();
  });

  test('R25: what a tenant writes to configuration space changes its own view, and neither the function nor the view of others', async () => {
    const [mine, theirs] = [await alice.openDevice('nvme0'), await bob.openDevice('nvme0')];
    const real = realConfig(nvme);
    const bars = await theirs.pci.readConfig(Header.bar0, 4);
    for (const value of [0, 0xffff_ffff]) for (let at = 4; at < 256; at += 4) await mine.pci.writeConfig(at, 4, value);
    expect(realConfig(nvme).equals(real)).toBe(true);
    expect(await theirs.pci.readConfig(Header.bar0, 4)).toBe(bars);
    await theirs.share().readBlocks(0, 8);
    await Promise.all([mine.close(), theirs.close()]);
  });

  test('R31: the table of MSI-X is in no area that may be read', async () => {
    const device = await alice.openDevice('nvme0');
    const { table } = msixOf(nvme);
    const [{ readable }] = await device.pci.regions();
    expect(readable.every(({ offset, width }) => offset + width <= table)).toBe(true);
    for (const offset of [table, table + 8, table + 16])
      await expect(device.pci.readRegister(0, offset)).rejects.toMatchObject({ code: 'notReadable' });
    await device.close();
  });

  test('R33: status says what keeps the function from memory that is not its own', async () => {
    const { stdout } = await space.ringwarden(['status', '-o', 'json', '--admin-socket', server.ready.admin]);
    expect(stdout).toMatch(guest.hasIommu ? /behind IOMMU group \d+/ : /no IOMMU/);
  });

  test('R38: from a mapping to tenant, device and lease', async () => {
    const device = await alice.openDevice('nvme0');
    const region = await alice.allocate(4096);
    await region.map();
    const all = await server.admin<{ what?: string; tenant?: string; leases?: unknown }[]>(`/mappings/${process.pid}`);
    const leases = [{ device: 'nvme0', lease: device.lease, session: alice.session }];
    expect(all.filter(({ what }) => what === 'region')).toContainEqual(expect.objectContaining({ tenant: 'alice', leases }));
    await region.unmap();
    await device.close();
  });

  test('R39: what shows the rings is taken back before a reset', async () => {
    const device = await alice.openDevice('nvme0', { queues: 'own', ringView: true });
    const ring = await device.hardwareRing();
    expect(() => ring.inspect()).not.toThrow();
    await server.admin('/devices/nvme0/reset', 'POST');
    await expect.poll(() => { try { ring.inspect(); return 'shown'; } catch (error) { return (error as { code?: string }).code; } }).toBe('revoked'); // prettier-ignore
    await device.close();
  });
});
