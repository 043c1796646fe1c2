/** R18: a function on which the running machine stands is left alone. */
import { describe, expect, it, test } from 'vitest';
import { readFunction } from '../../../src/hw/linux/functions.js';
import { standingOn } from '../../../src/hw/linux/use/index.js';
import { MadeMachine, NVME } from './tree.js';

const usesOf = (machine: MadeMachine, address = NVME): readonly string[] =>
  standingOn(machine, readFunction(machine, address)).uses.map(({ kind, what }) => `${kind}: ${what}`);

const MOUNT = '36 1 259:2 / /srv/with\\040space rw,relatime shared:1 - ext4 /dev/root rw\n';

describe('a disk', () => {
  const make = (): { machine: MadeMachine; folder: string; disk: string } => {
    const machine = new MadeMachine();
    const folder = machine.add();
    const disk = machine.disk(folder, 'nvme0n1', '259:0');
    machine.disk(folder, 'nvme0n1/nvme0n1p2'.slice(8), '259:2');
    return { machine, folder, disk };
  };

  it('that nobody uses may be taken', () => {
    const { machine } = make();
    machine.file('proc/self/mountinfo', '36 1 8:2 / / rw - ext4 /dev/sda2 rw\n');
    expect(usesOf(machine)).toEqual([]);
    expect(standingOn(machine, readFunction(machine, NVME)).blocks).toEqual(['nvme0n1', 'nvme0n1p2']);
  });

  it.each([
    ['is mounted, by its number', 'proc/self/mountinfo', MOUNT, 'nvme0n1p2 is mounted at /srv/with space'],
    ['is mounted by the first process alone', 'proc/1/mountinfo', MOUNT, 'nvme0n1p2 is mounted at /srv/with space'],
    ['is mounted, by its name', 'proc/self/mountinfo', '40 1 0:35 / /data rw - btrfs /dev/nvme0n1 rw\n', 'nvme0n1 is mounted at /data'],
    ['is swap', 'proc/swaps', 'Filename Type\n/dev/nvme0n1p2 partition 1 0 -2\n', 'nvme0n1p2 is swap'],
    ['is behind a loop device', 'sys/block/loop3/loop/backing_file', '/dev/nvme0n1\n', 'nvme0n1 is behind loop3'],
  ])('%s', (_name, file, text, what) => {
    const { machine } = make();
    machine.file(file, text);
    expect(usesOf(machine)).toEqual([`disk: ${what}`]);
  });

  it('is part of device-mapper or md', () => {
    const { machine, disk } = make();
    machine.linkTo(`${disk}/holders/dm-0`, 'sys/devices/virtual/block/dm-0');
    expect(usesOf(machine)).toEqual(['disk: nvme0n1 is part of dm-0']);
  });

  it('is mounted by another of its names', () => {
    const { machine } = make();
    machine.file('dev/nvme0n1p2', '');
    machine.linkTo('dev/disk/by-label/root', 'dev/nvme0n1p2');
    machine.file('proc/self/mountinfo', '40 1 0:35 / / rw - zfs /dev/disk/by-label/root rw\n');
    expect(usesOf(machine)).toEqual(['disk: nvme0n1p2 is mounted at /']);
  });

  it('with several paths hangs below the NVMe subsystem, not below its controller', () => {
    const machine = new MadeMachine();
    const folder = machine.add();
    machine.file(`${folder}/nvme/nvme0/model`, '');
    const subsystem = 'sys/devices/virtual/nvme-subsystem/nvme-subsys0';
    machine.file(`${subsystem}/nvme0n1/dev`, '259:2\n');
    machine.linkTo('sys/class/block/nvme0n1', `${subsystem}/nvme0n1`);
    machine.linkTo(`${subsystem}/nvme0`, `${folder}/nvme/nvme0`);
    machine.linkTo('sys/class/nvme-subsystem/nvme-subsys0', subsystem);
    machine.file('proc/self/mountinfo', MOUNT);
    expect(usesOf(machine)).toEqual(['disk: nvme0n1 is mounted at /srv/with space']);
  });

  it('of a process that reads it as it is', () => {
    const { machine } = make();
    machine.file('proc/17/comm', 'qemu\n');
    machine.linkTo('proc/17/fd/4', 'dev/nvme0n1p2');
    // The kernel tells absolute paths.
    machine.link = (...parts) => (parts[1] === '17' ? '/dev/nvme0n1p2' : MadeMachine.prototype.link.call(machine, ...parts));
    expect(usesOf(machine)).toEqual(['open: qemu (process 17) has it open']);
  });
});

describe('a network interface', () => {
  const make = (options?: Parameters<MadeMachine['interface']>[2]): { machine: MadeMachine; net: string } => {
    const machine = new MadeMachine();
    const net = machine.interface(machine.add({ classCode: 0x02_00_00, driver: 'virtio-pci' }), 'eth1', options);
    machine.file('proc/net/route', 'Iface\tDestination\tGateway\nlo\t0000007F\t00000000\n');
    machine.file('proc/net/ipv6_route', `${'0'.repeat(32)} 00 0 lo\n`);
    return { machine, net };
  };

  it('that is down may be taken', () => {
    const { machine } = make();
    expect(usesOf(machine)).toEqual([]);
  });

  it('is up', () => {
    expect(usesOf(make({ up: true }).machine)).toEqual(['network: eth1 is up']);
    expect(usesOf(make({ flags: '0x1003' }).machine)).toEqual(['network: eth1 is up']);
  });

  it.each([
    ['IPv4', 'proc/net/route', 'Iface\tDestination\neth1\t00000000\t0102A8C0\n'],
    ['IPv6', 'proc/net/ipv6_route', `${'0'.repeat(32)} 00 ${'0'.repeat(32)} 00 fd0000 00000400 3 0 3 eth1\n`],
  ])('has a route, %s', (_name, file, text) => {
    const { machine } = make();
    machine.file(file, text);
    expect(usesOf(machine)).toEqual(['network: eth1 has a route']);
  });

  it('is part of a bond, or under a VLAN', () => {
    const { machine, net } = make();
    machine.linkTo(`${net}/master`, 'sys/devices/virtual/net/bond0');
    machine.linkTo(`${net}/upper_bond0`, 'sys/devices/virtual/net/bond0');
    machine.linkTo(`${net}/upper_eth1.7`, 'sys/devices/virtual/net/eth1.7');
    expect(usesOf(machine)).toEqual(['network: eth1 is part of bond0, eth1.7']);
  });

  it('in another name space cannot be seen, so it counts as in use', () => {
    const machine = new MadeMachine();
    machine.add({ classCode: 0x02_00_00, driver: 'virtio-pci' });
    expect(usesOf(machine)).toEqual([expect.stringMatching(/^network: .*another network name space/)]);
    machine.driver('vfio-pci');
    machine.add({ address: '0000:02:00.0', classCode: 0x02_00_00, driver: 'vfio-pci' });
    expect(usesOf(machine, '0000:02:00.0')).toEqual([]);
  });
});

test('a bridge', () => {
  const machine = new MadeMachine();
  machine.add({ classCode: 0x06_04_00, driver: 'pcieport' });
  expect(usesOf(machine)).toEqual(['bridge: it is a bridge']);
});

describe('a function that a program drives', () => {
  const machineWith = (driver: string | undefined, opened: string, maps = ''): MadeMachine => {
    const machine = new MadeMachine().modules();
    const folder = machine.add({ driver, group: 3 });
    machine.file('sys/kernel/iommu_groups/3/name', 'vfio-noiommu\n');
    machine.file(`${folder}/uio/uio0/name`, 'uio_pci_generic\n');
    machine.file('proc/17/comm', 'node\n');
    machine.file('proc/17/fd/9', '');
    machine.file('proc/17/maps', maps);
    machine.link = (...parts) => (parts[2] === 'fd' ? opened : MadeMachine.prototype.link.call(machine, ...parts));
    return machine;
  };
  const BAR = `/sys/devices/pci0000:01/${NVME}/resource0`;

  it.each([
    ['VFIO', machineWithArguments('vfio-pci', '/dev/vfio/noiommu-3')],
    ['UIO', machineWithArguments('uio_pci_generic', '/dev/uio0')],
    ['a BAR in sysfs', machineWithArguments(undefined, BAR)],
    ['a mapping of a BAR', machineWithArguments(undefined, 'socket:[17]', `7f00-7f01 rw-s 00000000 00:15 1234       ${BAR}\n`)],
  ])('by %s is in use', (_name, [driver, opened, maps]) => {
    expect(usesOf(machineWith(driver, opened, maps))).toEqual(['open: node (process 17) has it open']);
  });

  it('with nothing of it open is not', () => {
    expect(
      usesOf(machineWith('vfio-pci', '/dev/vfio/noiommu-4', '7f00-7f01 rw-s 0 00:15 1 /sys/devices/pci0000:02/0000:02:00.0/resource0\n')),
    ).toEqual([]);
  });
});

const machineWithArguments = (...values: [driver: string | undefined, opened: string, maps?: string]): typeof values => values;
