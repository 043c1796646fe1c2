/** Who has a function, and who does not get it (R15, R17, R18, R33). */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { openPci, prepare, type PciPath } from '../../src/hw/linux/index.js';
import { Command, Header } from '../../src/hw/pci/index.js';
import { bindFor, bindTo, hasPci, pciAddress, pciHasIommu, pciName } from '../support/pci.js';
import { finish } from '../support/raw-nvme.js';

const PATHS: readonly PciPath[] = pciHasIommu ? ['vfio'] : ['sysfs', 'uio', 'vfio'];
/** What its command register holds. */
const command = (): number => readFileSync(`/sys/bus/pci/devices/${pciAddress}/config`).readUInt16LE(Header.command);
const descriptors = (): number => readdirSync('/proc/self/fd').length;

describe.skipIf(!hasPci)(`claims of ${pciName}`, { timeout: 60_000 }, () => {
  test.each(['vfio', 'uio', 'sysfs', undefined] as const)(
    '%s: a function that the kernel uses is refused with the name of its driver',
    async (path) => {
      bindTo('nvme');
      const before = descriptors();
      const refused = prepare({ address: pciAddress, path });
      await expect(refused).rejects.toMatchObject({
        code: 'busy',
        message: expect.stringContaining('driver nvme'),
        remedy: expect.stringContaining(`ringwarden bind ${pciAddress}`),
      });
      expect(descriptors()).toBe(before);
    },
  );

  test.each(PATHS)('%s: one server has it, and its description says what keeps it apart', async (path) => {
    bindFor(path);
    await (await prepare({ address: pciAddress, path })).dispose(); // the first function of a process starts what stops functions at its end
    const before = descriptors();
    const prepared = await prepare({ address: pciAddress, path });
    await expect(prepare({ address: pciAddress, path })).rejects.toMatchObject({ code: 'busy' });
    const { description } = prepared.handle;
    expect(description).toContain(pciAddress);
    expect(description).toMatch(pciHasIommu ? /behind IOMMU group \d+/ : /no IOMMU/);
    expect(description).toMatch({ vfio: /MSI-X/, uio: /INTx/, sysfs: /no interrupts/ }[path]);
    expect(description).toMatch(/reset by .*flr/);
    await prepared.dispose();
    await prepared.dispose();
    expect(descriptors()).toBe(before);
    await (await prepare({ address: pciAddress, path })).dispose();
  });

  test.each(PATHS)('%s: is found by its driver alone', async (path) => {
    bindFor(path);
    if (path === 'sysfs') return expect(prepare({ address: pciAddress })).rejects.toMatchObject({ code: 'absent' }); // not kept from the kernel's drivers
    const prepared = await prepare({ address: pciAddress });
    expect(prepared.handle.path).toBe(path);
    await prepared.dispose();
  });

  test.runIf(!pciHasIommu)('a driver that takes the function before it is claimed keeps it', async () => {
    bindFor('sysfs');
    const prepared = await prepare({ address: pciAddress, path: 'sysfs' });
    const backing = openPci(prepared.handle);
    bindTo('nvme');
    const before = command();
    expect(before & Command.busMaster).not.toBe(0);
    await expect(finish(backing, backing.claim())).rejects.toMatchObject({ code: 'busy', message: expect.stringContaining('nvme') });
    expect(backing.bars).toEqual([]);
    backing.dispose();
    await prepared.dispose();
    expect(command()).toBe(before);
    bindFor('sysfs');
  });

  test.runIf(pciHasIommu)('an IOMMU that translates leaves VFIO as the only way', async () => {
    for (const path of ['uio', 'sysfs'] as const) {
      bindFor(path);
      await expect(prepare({ address: pciAddress, path })).rejects.toMatchObject({ code: 'unsupported', message: expect.stringContaining('IOMMU') });
    }
  });

  test.each(PATHS)('%s: a server that is killed leaves the function stopped', async (path) => {
    bindFor(path);
    const index = new URL('../../src/hw/linux/index.js', import.meta.url).href;
    const program = `
      const { openPci, prepare } = await import(${JSON.stringify(index)});
      const backing = openPci((await prepare({ address: '${pciAddress}', path: '${path}' })).handle);
      for (const task = backing.claim(); task.next().done !== true; );
      console.log('claimed');
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    const busMaster = (): boolean => (command() & Command.busMaster) !== 0;
    await once(child.stdout, 'data');
    expect(busMaster()).toBe(true);
    child.kill('SIGKILL');
    await once(child, 'exit');
    for (let turn = 0; turn < 200 && busMaster(); turn++) await delay(10);
    expect(busMaster()).toBe(false);
  });

  test.runIf(!pciHasIommu)('a function is stopped when the main thread gives it up for an engine that is gone', async () => {
    const path = PATHS[0];
    bindFor(path);
    const prepared = await prepare({ address: pciAddress, path });
    const backing = openPci(prepared.handle);
    await finish(backing, backing.claim());
    await prepared.dispose();
    const again = await prepare({ address: pciAddress, path });
    const other = openPci(again.handle);
    expect((await finish(other, other.config.read16(Header.command))) & Command.busMaster).toBe(0);
    other.dispose();
    await again.dispose();
  });
});
