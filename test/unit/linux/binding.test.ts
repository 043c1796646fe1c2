import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it, test } from 'vitest';
import { Formers, bind, unbind } from '../../../src/hw/linux/binding/index.js';
import { MadeMachine, NVME } from './tree.js';

interface World {
  readonly machine: MadeMachine;
  readonly formers: Formers;
  readonly folder: string;
}

function world(made: Parameters<MadeMachine['add']>[0] = {}): World {
  const machine = new MadeMachine().modules();
  const folder = machine.add(made);
  machine.file('run/.keep', '');
  return { machine, folder, formers: new Formers(machine.path('run/bindings.json')) };
}

const OVERRIDE = `sys/bus/pci/devices/${NVME}/driver_override`;
const PROBE = 'sys/bus/pci/drivers_probe';

describe('bind', () => {
  it('takes the function from its driver and gives it to vfio-pci, in this order', () => {
    const { machine, formers } = world();
    const bound = bind(machine, formers, '01:00.0', { to: 'vfio' });
    expect(machine.written).toEqual([`${OVERRIDE}: vfio-pci\n`, `sys/bus/pci/drivers/nvme/unbind: ${NVME}`, `${PROBE}: ${NVME}`]);
    expect(bound).toMatchObject({ address: NVME, path: 'vfio', from: 'nvme', driver: 'vfio-pci' });
    expect(bound.steps).toEqual([`echo vfio-pci > /${OVERRIDE}`, `echo ${NVME} > /sys/bus/pci/drivers/nvme/unbind`, `echo ${NVME} > /${PROBE}`]);
    expect(machine.driverOf()).toBe('vfio-pci');
    expect(formers.of(NVME)).toEqual({ driver: 'nvme', driverOverride: undefined });
  });

  it('to uio_pci_generic, and to no driver at all', () => {
    const { machine, formers } = world();
    expect(bind(machine, formers, NVME, { to: 'uio' }).driver).toBe('uio_pci_generic');
    expect(machine.driverOf()).toBe('uio_pci_generic');
    expect(bind(machine, formers, NVME, { to: 'sysfs' }).driver).toBeUndefined();
    expect(machine.driverOf()).toBeUndefined();
    expect(machine.written.slice(3)).toEqual([`${OVERRIDE}: none\n`, `sys/bus/pci/drivers/uio_pci_generic/unbind: ${NVME}`]);
    expect(formers.of(NVME), 'where it came from first').toEqual({ driver: 'nvme', driverOverride: undefined });
  });

  it('chooses the best way that the machine has, and says why it is not a better one', () => {
    const { machine, formers } = world();
    expect(bind(machine, formers, NVME, { dryRun: true }).path).toBe('vfio');
    machine.file('sys/module/vfio/parameters/enable_unsafe_noiommu_mode', 'N\n');
    const { path, notes } = bind(machine, formers, NVME, { dryRun: true });
    expect(path).toBe('uio');
    expect(notes).toEqual([
      expect.stringMatching(
        /^not by vfio: .*no-IOMMU mode is off \(mend it: echo 1 > \/sys\/module\/vfio\/parameters\/enable_unsafe_noiommu_mode\)$/,
      ),
      expect.stringMatching(/no IOMMU stands between/),
    ]);
  });

  it('says so when there are no huge pages', () => {
    const { machine, formers } = world();
    machine.file('proc/meminfo', 'HugePages_Total:       0\n');
    expect(bind(machine, formers, NVME).notes).toContainEqual(expect.stringMatching(/no huge pages.*nr_hugepages/));
  });

  it('with a dry run changes nothing', () => {
    const { machine, formers } = world();
    const before = machine.snapshot();
    expect(bind(machine, formers, NVME, { dryRun: true }).steps).toHaveLength(3);
    expect(machine.written).toEqual([]);
    expect(machine.snapshot()).toEqual(before);
  });

  it('what is bound already stays so, and its former driver too', () => {
    const { machine, formers } = world();
    bind(machine, formers, NVME, { to: 'vfio' });
    expect(bind(machine, formers, NVME, { to: 'vfio' })).toMatchObject({ from: 'vfio-pci', driver: 'vfio-pci' });
    unbind(machine, formers, NVME);
    expect(machine.driverOf()).toBe('nvme');
  });

  it('forgets what it remembers of a function that the operator has given back otherwise', () => {
    const { machine, formers } = world();
    formers.remember(NVME, { driver: 'virtio-pci', driverOverride: undefined });
    bind(machine, formers, NVME, { to: 'vfio' });
    expect(formers.of(NVME)).toEqual({ driver: 'nvme', driverOverride: undefined });
  });
});

describe('bind refuses, before anything is written,', () => {
  const refused = ({ machine, formers }: World, options: Parameters<typeof bind>[3], what: RegExp, remedy: RegExp, address = NVME): void => {
    const before = machine.snapshot();
    for (const dryRun of [true, false]) {
      expect(() => bind(machine, formers, address, { ...options, dryRun })).toThrow(
        expect.objectContaining({ name: 'FunctionError', message: expect.stringMatching(what), remedy: expect.stringMatching(remedy) }),
      );
    }
    expect(machine.written).toEqual([]);
    expect(machine.snapshot()).toEqual(before);
  };

  it('the disk that the system runs on, also by force', () => {
    const made = world();
    made.machine.disk(made.folder, 'nvme0n1', '259:0');
    made.machine.file('proc/self/mountinfo', '1 1 259:0 / / rw - ext4 /dev/nvme0n1 rw\n');
    for (const force of [false, true]) refused(made, { force, to: 'vfio' }, /in use by this machine: nvme0n1 is mounted at \//, /another function/);
  });

  it('a bridge, also by force', () => {
    const made = world({ classCode: 0x06_04_00, driver: 'pcieport' });
    for (const force of [false, true]) refused(made, { force }, /it is a bridge/, /behind it/);
  });

  it('a function that a program has open, also by force', () => {
    const made = world({ driver: 'vfio-pci', group: 3 });
    made.machine.file('proc/17/comm', 'node\n');
    made.machine.file('proc/17/fd/3', '');
    made.machine.link = (...parts) => (parts[2] === 'fd' ? '/dev/vfio/3' : MadeMachine.prototype.link.call(made.machine, ...parts));
    for (const force of [false, true]) refused(made, { force }, /node \(process 17\) has it open/, /stop that program/);
  });

  it('a network interface that is up; by force it is bound', () => {
    const made = world({ classCode: 0x02_00_00, driver: 'virtio-pci' });
    made.machine.interface(made.folder, 'eth1', { up: true });
    refused(made, {}, /eth1 is up/, /--force/);
    expect(bind(made.machine, made.formers, NVME, { force: true }).driver).toBe('vfio-pci');
  });

  it('a class that nothing here can drive', () => {
    refused(world({ classCode: 0x03_00_00 }), {}, /no driver for 0000:01:00\.0: .*VGA.*class 030000/, /--force/);
  });

  it('a module that is not loaded', () => {
    const machine = new MadeMachine();
    const folder = machine.add();
    const made = { machine, folder, formers: new Formers(machine.path('bindings.json')) };
    refused(made, { to: 'vfio' }, /vfio: the module vfio-pci is not loaded/, /^modprobe vfio-pci$/);
    refused(made, { to: 'uio' }, /uio: the module uio_pci_generic is not loaded/, /^modprobe uio_pci_generic$/);
  });

  it('VFIO without an IOMMU where that is off, or not there', () => {
    const made = world();
    made.machine.file('sys/module/vfio/parameters/enable_unsafe_noiommu_mode', 'N\n');
    refused(made, { to: 'vfio' }, /no-IOMMU mode is off/, /^echo 1 > \/sys\/module\/vfio\/parameters\/enable_unsafe_noiommu_mode$/);
    const without = new MadeMachine().modules({ noIommu: null });
    const folder = without.add();
    refused({ machine: without, folder, formers: new Formers(without.path('b.json')) }, { to: 'vfio' }, /CONFIG_VFIO_NOIOMMU/, /--to uio/);
  });

  it('a function whose IOMMU group has others that the kernel drives', () => {
    const made = world({ group: 7 });
    made.machine.add({ address: '0000:01:00.1', group: 7, driver: 'virtio-pci' });
    refused(made, { to: 'vfio' }, /0000:01:00\.1 is in the same IOMMU group \(7\), and driver virtio-pci has it/, /ringwarden bind 0000:01:00\.1/);
  });

  it('ways that cannot program the IOMMU that there is', () => {
    const made = world({ group: 7 });
    made.machine.file('sys/kernel/iommu_groups/7/type', 'DMA-FQ\n');
    for (const to of ['uio', 'sysfs'] as const) refused(made, { to }, /an IOMMU translates/, /--to vfio/);
    made.machine.file('sys/kernel/iommu_groups/7/type', 'identity\n');
    expect(bind(made.machine, made.formers, NVME, { to: 'sysfs', dryRun: true }).path).toBe('sysfs');
  });

  it('BARs in a kernel that is locked down', () => {
    const made = world();
    made.machine.file('sys/kernel/security/lockdown', 'none [integrity] confidentiality\n');
    refused(made, { to: 'sysfs' }, /locked down/, /Secure Boot/);
  });

  it('a function that is not there', () => {
    const { machine, formers } = world();
    expect(() => bind(machine, formers, '09:00.0')).toThrow(/there is no PCI function 0000:09:00\.0/);
  });
});

describe('a bind that fails is undone', () => {
  it.each([0, 1, 2])('at write %i', (after) => {
    const { machine, formers } = world();
    const before = machine.snapshot();
    machine.failAt = { after, code: 'EINVAL' };
    expect(() => bind(machine, formers, NVME, { to: 'vfio' })).toThrow(/the kernel refuses "echo .*": EINVAL/);
    expect(machine.driverOf()).toBe('nvme');
    expect(machine.text(OVERRIDE)).toBe('(null)');
    expect(formers.of(NVME)).toBeUndefined();
    expect(machine.snapshot().filter((file) => !file.startsWith('run/'))).toEqual(before.filter((file) => !file.startsWith('run/')));
  });

  it('when the new driver does not take the function', () => {
    const { machine, formers } = world({ override: 'nvme' });
    machine.refusing.add('vfio-pci');
    expect(() => bind(machine, formers, NVME, { to: 'vfio' })).toThrow(/driver vfio-pci does not take 0000:01:00\.0/);
    expect(machine.driverOf()).toBe('nvme');
    expect(machine.text(OVERRIDE)).toBe('nvme');
  });

  it('and when it cannot be undone either, that is said, and remembered for unbind', () => {
    const { machine, formers } = world();
    machine.refusing.add('vfio-pci').add('nvme');
    expect(() => bind(machine, formers, NVME, { to: 'vfio' })).toThrow(
      expect.objectContaining({
        message: expect.stringMatching(/does not take.*could not be put back.*nvme does not take/),
        remedy: `ringwarden unbind ${NVME}`,
      }),
    );
    expect(formers.of(NVME)).toEqual({ driver: 'nvme', driverOverride: undefined });
    machine.refusing.clear();
    unbind(machine, formers, NVME);
    expect(machine.driverOf()).toBe('nvme');
  });

  it('nothing is written when the former driver cannot be remembered', () => {
    const { machine } = world();
    expect(() => bind(machine, new Formers('/proc/nowhere/b.json'), NVME)).toThrow(/cannot be made/);
    expect(machine.written).toEqual([]);
  });
});

describe('unbind', () => {
  it('gives the function back to the driver that had it, and forgets', () => {
    const { machine, formers } = world({ override: 'nvme' });
    bind(machine, formers, NVME, { to: 'vfio' });
    machine.written.length = 0;
    expect(unbind(machine, formers, NVME)).toMatchObject({ from: 'vfio-pci', driver: 'nvme' });
    expect(machine.written).toEqual([
      `${OVERRIDE}: nvme\n`,
      `sys/bus/pci/drivers/vfio-pci/unbind: ${NVME}`,
      `sys/bus/pci/drivers/nvme/bind: ${NVME}`,
    ]);
    expect(formers.of(NVME)).toBeUndefined();
  });

  it('leaves the choice to the kernel where nobody remembers', () => {
    const { machine, formers } = world();
    bind(machine, formers, NVME, { to: 'sysfs' });
    formers.forget(NVME);
    expect(unbind(machine, formers, NVME)).toMatchObject({ from: undefined, driver: 'nvme' });
    expect(machine.written.slice(-2)).toEqual([`${OVERRIDE}: \n`, `${PROBE}: ${NVME}`]);
  });

  it('a function that no driver had has none again', () => {
    const { machine, formers } = world({ driver: undefined });
    bind(machine, formers, NVME, { to: 'uio' });
    expect(unbind(machine, formers, NVME)).toMatchObject({ from: 'uio_pci_generic', driver: undefined });
    expect(machine.text(OVERRIDE)).toBe('(null)');
  });

  it('refuses what is not bound, and changes nothing', () => {
    const { machine, formers } = world();
    expect(() => unbind(machine, formers, NVME)).toThrow(/is not bound for programs: driver nvme has it/);
    expect(machine.written).toEqual([]);
  });

  it('refuses what a program has open, because the kernel would wait for it', () => {
    const { machine, formers } = world();
    bind(machine, formers, NVME, { to: 'sysfs' });
    machine.written.length = 0;
    machine.file('proc/17/maps', `1-2 rw-s 0 00:15 1 /sys/devices/pci0000:01/${NVME}/resource0\n`);
    expect(() => unbind(machine, formers, NVME)).toThrow(/process 17\) has it open/);
    expect(machine.written).toEqual([]);
  });

  it('puts the function back to its path when the former driver does not take it', () => {
    const { machine, formers } = world();
    bind(machine, formers, NVME, { to: 'vfio' });
    machine.refusing.add('nvme');
    expect(() => unbind(machine, formers, NVME)).toThrow(/driver nvme does not take/);
    expect(machine.driverOf()).toBe('vfio-pci');
    expect(formers.of(NVME)).toEqual({ driver: 'nvme', driverOverride: undefined });
  });
});

describe('what is remembered', () => {
  test.each([
    'nonsense',
    '{"version":2,"functions":{}}',
    '[]',
    'null',
    `{"version":1,"functions":{"${NVME}":{"driver":"../../x","driverOverride":null}}}`,
    `{"version":1,"functions":{"${NVME}":{"driver":7,"driverOverride":null}}}`,
  ])('in a damaged file is not used: %s', (text) => {
    const { machine, formers } = world();
    writeFileSync(formers.path, text);
    expect(() => bind(machine, formers, NVME)).toThrow(/is damaged/);
    expect(machine.written).toEqual([]);
  });

  test('is one file for all functions', () => {
    const { formers } = world();
    formers.remember('0000:01:00.0', { driver: 'nvme', driverOverride: undefined });
    formers.remember('0000:02:00.0', { driver: undefined, driverOverride: 'x' });
    formers.forget('0000:01:00.0');
    expect(JSON.parse(readFileSync(formers.path, 'utf8'))).toEqual({
      version: 1,
      functions: { '0000:02:00.0': { driver: null, driverOverride: 'x' } },
    });
  });

  test('nobody moves functions at the same time', () => {
    const { machine, formers } = world();
    formers.alone(() => {
      expect(() => bind(machine, new Formers(formers.path), NVME)).toThrow(/another command is moving functions/);
    });
    expect(machine.written).toEqual([]);
  });
});
