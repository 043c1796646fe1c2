/** What keeps an operator from harm, and what a server of functions may do to the machine: on a real kernel (R18, R33). */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { bindTo } from '../support/pci.js';
import { type Workspace, workspace } from '../support/processes.js';
import { Server } from '../support/server.js';
import { guest } from './guest.js';
import { KEEP, bindAsTold, pciConfiguration } from './pci-server.js';

const { nvme } = guest.devices;
const driverOf = (): string | undefined =>
  ['nvme', 'vfio-pci', 'uio_pci_generic'].find((driver) => existsSync(`/sys/bus/pci/drivers/${driver}/${nvme}`));

/** A command that says what is the matter and what mends it, and leaves the function as it is. */
async function refused(space: Workspace, args: readonly string[], what: RegExp, remedy: RegExp): Promise<void> {
  const before = driverOf();
  const { status, stdout, stderr } = await space.ringwarden(args);
  expect({ status, stdout }, stderr).toEqual({ status: 1, stdout: '' });
  expect(stderr).toMatch(what);
  expect(/^ *do: (.*)$/m.exec(stderr)?.[1]).toMatch(remedy);
  expect(driverOf()).toBe(before);
}

/** The disk of the function, as the kernel's driver shows it. */
function diskName(): string {
  const name = readdirSync('/sys/class/nvme').flatMap((controller) => {
    const isOurs = readFileSync(`/sys/class/nvme/${controller}/address`, 'utf8').trim() === nvme;
    return isOurs ? readdirSync('/sys/class/block').filter((disk) => disk === `${controller}n1`) : [];
  });
  expect(name).toHaveLength(1);
  return name[0];
}

describe('a function that the system uses', { timeout: 120_000 }, () => {
  test('is not bound, by force neither', async () => {
    const space = workspace();
    bindTo('nvme', nvme);
    const disk = diskName();
    execFileSync('mkswap', [`/dev/${disk}`]);
    execFileSync('swapon', [`/dev/${disk}`]);
    onTestFinished(() => void execFileSync('swapoff', [`/dev/${disk}`]));
    for (const more of [[], ['--force'], ['--dry-run']]) await refused(space, ['bind', nvme, ...more], new RegExp(`${disk} is swap`), /swapoff/);
  });

  test('is not served before it is bound', async () => {
    bindTo('nvme', nvme);
    await refused(workspace(), ['serve', '--device', nvme], /held by the driver nvme/, new RegExp(`^ringwarden bind ${nvme}`));
  });

  test.skipIf(!guest.hasIommu)('is not bound to a way that cannot program the IOMMU', async () => {
    bindTo('nvme', nvme);
    for (const way of ['uio', 'sysfs']) await refused(workspace(), ['bind', nvme, '--to', way], /an IOMMU translates/, /--to vfio/);
  });
});

/** Capabilities of each thread; Node's that takes no signals keeps its own. */
function permitted(pid: number): string[] {
  const all = readdirSync(`/proc/${pid}/task`).map(
    (thread) => /^CapPrm:\s+(\S+)$/m.exec(readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8'))?.[1] ?? '',
  );
  return [...new Set(all)].filter((each) => all.filter((other) => other === each).length > 1);
}

/** QEMU remaps no interrupts, or not with what else the guest has: the server says so, and is not started until the operator has accepted it. */
async function acceptForgedInterrupts(space: Workspace): Promise<void> {
  const file = '/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts';
  writeFileSync(file, 'N');
  await refused(space, ['serve', '--device', nvme], /does not remap interrupts/, new RegExp(`^echo Y > ${file}`));
  writeFileSync(file, 'Y');
}

const RAW = ['CAP_IPC_LOCK', 'CAP_SYS_PTRACE', 'CAP_SYS_ADMIN'];
const KEPT: [way: 'vfio' | 'uio' | 'sysfs', capabilities: readonly string[]][] = guest.hasIommu
  ? [['vfio', ['CAP_IPC_LOCK', 'CAP_SYS_PTRACE']]]
  : [
      ['vfio', ['CAP_IPC_LOCK', 'CAP_SYS_RAWIO', 'CAP_SYS_PTRACE', 'CAP_SYS_ADMIN']],
      ['uio', RAW],
      ['sysfs', RAW],
    ];

describe.each(KEPT)('a server of a function, through %s', { timeout: 120_000 }, (way, capabilities) => {
  test('keeps what it needs and no more, works, and is not robbed of its function', async () => {
    const space = workspace();
    bindTo('nvme', nvme);
    await bindAsTold(space, nvme, way);
    if (guest.hasIommu) await acceptForgedInterrupts(space);
    const server = await Server.start(space, pciConfiguration(nvme, way), KEEP);
    const { privileges } = (await server.admin<{ server: { privileges: object } }>('/status')).server;
    expect(privileges).toMatchObject({ capabilities, noNewPrivileges: true, filter: true });
    expect(permitted(server.ready.pid)).toHaveLength(1);
    const client = await server.connect('alice');
    const share = (await client.openDevice('nvme0')).share('data');
    await share.write(0, Buffer.alloc(8192, 5));
    expect((await share.read(0, 8192)).every((byte) => byte === 5)).toBe(true);
    for (const command of [
      ['unbind', nvme],
      ['bind', nvme, '--force'],
    ])
      await refused(space, command, /process \d+\) has it open/, /^stop that program/);
    await client.close();
    expect(await server.stop()).toEqual({ status: 0, signal: null });
    const unbound = await space.ringwarden(['unbind', nvme]);
    expect(unbound.status, unbound.stderr).toBe(0);
    expect(driverOf()).toBe('nvme');
  });
});
