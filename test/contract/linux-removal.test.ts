/** The function goes while it is used (R24): the kernel takes it away, as it does when somebody pulls it, and finds it again. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import type { PciPath } from '../../src/hw/linux/index.js';
import { NvmeDriver } from '../../src/hw/nvme/index.js';
import { AdminOpcode, Cns, Sqe, VS } from '../../src/hw/nvme/spec/index.js';
import { shm } from '../../src/native/shm.js';
import { bindFor, hasPci, pciAddress, pciHasIommu, pciName, pciWorld } from '../support/pci.js';
import { RawNvme, eventually } from '../support/raw-nvme.js';
import { runTaskAsync } from '../support/run.js';

const PAGE = 4096;
const FOLDER = `/sys/bus/pci/devices/${pciAddress}`;
const PATHS: readonly PciPath[] = pciHasIommu ? ['vfio'] : ['sysfs', 'uio', 'vfio'];

/** The kernel takes the function away. With VFIO it waits until whoever has it lets go. */
function remove(): Promise<unknown> {
  return once(spawn('sh', ['-c', `echo 1 > ${FOLDER}/remove`], { stdio: 'ignore' }), 'exit');
}

async function replug(): Promise<void> {
  writeFileSync('/sys/bus/pci/rescan', '1');
  for (let turn = 0; turn < 100 && !existsSync(`${FOLDER}/config`); turn++) await delay(50);
  await delay(500); // the kernel's own driver takes it
}

afterEach(async () => {
  if (hasPci && !existsSync(FOLDER)) await replug();
});

describe.skipIf(!hasPci)(`removal of ${pciName}`, { timeout: 60_000 }, () => {
  test.each(PATHS)('%s: is told at once, ends what waits, leaves nobody hanging, and the slot serves again', async (path) => {
    bindFor(path);
    const first = await pciWorld(path)();
    const { backing } = first;
    const host = await RawNvme.start(backing, 32, Math.min(1, backing.interrupts.available));
    const memory = await host.allocate(4 * PAGE);
    const bar = backing.bar(0);
    host.submit(host.adminSubmission, { opcode: AdminOpcode.asynchronousEventRequest });

    const removed = remove();
    await eventually(backing, 'the loss', () => backing.lost !== undefined);
    expect(await host.run(bar.read32(VS.offset))).toBe(0xffff_ffff);
    expect(() => host.ring(host.adminSubmission)).not.toThrow();
    expect(backing.poll()).toBe(0);
    await expect(host.run(backing.reset())).rejects.toMatchObject({ code: 'lost' });
    await expect(host.run(backing.claim())).rejects.toMatchObject({ code: expect.stringMatching(/busy|lost|absent/) });
    const fd = shm().memfdCreate('late', PAGE);
    await expect(host.run(backing.attach(fd, PAGE))).rejects.toMatchObject({ code: 'lost' });
    shm().close(fd);
    const epoll = shm().epollCreate();
    for (const descriptor of backing.descriptors) shm().epollControl(epoll, 'add', descriptor, 1, 0);
    expect(shm().epollWait(epoll, new Int32Array(4), 0)).toBe(0);
    shm().close(epoll);
    await host.free(memory);
    expect(await removed).toEqual([0, null]);
    expect(existsSync(FOLDER)).toBe(false);
    backing.dispose();
    await first.end();

    await replug();
    bindFor(path);
    const second = await pciWorld(path)();
    const again = await RawNvme.start(second.backing);
    const data = await again.allocate(PAGE);
    expect((await again.admin({ opcode: AdminOpcode.identify, prp1: data.at(0), words: { [Sqe.cdw10]: Cns.controller } })).status).toBe(0);
    second.backing.dispose();
    await second.end();
  });

  test.each(PATHS)('%s: the driver hears that it is lost, and gives everything back', async (path) => {
    bindFor(path);
    const { backing, end } = await pciWorld(path)();
    const driver = new NvmeDriver(backing, { vectorsCeiling: 8, queuePairsCeiling: 8 });
    const run = <T>(task: Generator<number, T, void>): Promise<T> => runTaskAsync(backing, task, () => driver.poll());
    await run(driver.open());
    await run(driver.createPair(16));
    const removed = remove();
    await eventually(backing, 'the loss', () => backing.lost !== undefined);
    await expect(run(driver.healthy())).rejects.toMatchObject({ code: 'lost' });
    expect(await run(driver.close())).toBe(true);
    expect(driver.arena.usedBytes).toBe(0);
    backing.dispose();
    await end();
    expect(await removed).toEqual([0, null]);
    await replug();
  });
});
