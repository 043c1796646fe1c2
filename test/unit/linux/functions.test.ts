import { describe, expect, it, test } from 'vitest';
import { parseAddress } from '../../../src/hw/linux/address.js';
import { hasIommu, listFunctions, readFunction } from '../../../src/hw/linux/functions.js';
import { Machine } from '../../../src/hw/linux/machine.js';
import { PciNames } from '../../../src/hw/linux/names.js';
import { offsetInPage, parseResources } from '../../../src/hw/linux/resources.js';
import { MadeMachine, NVME } from './tree.js';

describe('an address', () => {
  test.each([
    ['0000:01:00.0', '0000:01:00.0'],
    ['01:00.0', '0000:01:00.0'],
    ['0000:FF:1F.7', '0000:ff:1f.7'],
    ['10000:e1:00.0', '10000:e1:00.0'],
  ])('%s is %s', (text, address) => {
    expect(parseAddress(text)).toBe(address);
  });

  test.each([
    '',
    '1:0.0',
    '01:00',
    '01:00.8',
    '01:20.0',
    '0000:01:00.0 ',
    '../01:00.0',
    '0000:01:00.0/..',
    '01:00.0\n',
    'nvme0',
    '000:01:00.0',
    '123456789:01:00.0',
  ])('%j is none', (text) => {
    expect(() => parseAddress(text)).toThrow(
      expect.objectContaining({ name: 'FunctionError', message: expect.stringContaining('such as 0000:01:00.0') }),
    );
  });
});

// An NVMe controller of QEMU with an ICH9's ports beside it, as a kernel prints them.
const RESOURCE = `0x00000000fea00000 0x00000000fea03fff 0x0000000000140204
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x000000000000c000 0x000000000000c01f 0x0000000000040101
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x0000004000000000 0x00000040ffffffff 0x000000000014220c
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x00000000fea80000 0x00000000feabffff 0x0000000000046200
`;

test('R14: BARs of both kinds have index, kind and size, the expansion ROM is none of them', () => {
  expect(parseResources(RESOURCE)).toEqual([
    { index: 0, kind: 'memory', bytes: 16_384, is64: true, prefetchable: false },
    { index: 2, kind: 'io', bytes: 32, is64: false, prefetchable: false },
    { index: 4, kind: 'memory', bytes: 2 ** 32, is64: true, prefetchable: true },
  ]);
  expect(parseResources('nonsense\n0x1 0x2\n')).toEqual([]);
});

describe('a function', () => {
  it('has all that sysfs tells', () => {
    const machine = new MadeMachine();
    machine.add({
      group: 7,
      files: {
        resource: RESOURCE,
        numa_node: '1\n',
        reset_method: 'flr pm bus\n',
        removable: 'removable\n',
        subsystem_vendor: '0x1af4\n',
        subsystem_device: '0x1100\n',
      },
    });
    expect(readFunction(machine, NVME)).toEqual({
      address: NVME,
      vendor: 0x1b36,
      device: 0x10,
      subsystemVendor: 0x1af4,
      subsystemDevice: 0x1100,
      classCode: 0x01_08_02,
      revision: 2,
      driver: 'nvme',
      driverOverride: undefined,
      iommuGroup: { number: 7, noIommu: false },
      bars: expect.objectContaining({ length: 3 }),
      numaNode: 1,
      resets: ['flr', 'pm', 'bus'],
      removable: true,
    });
  });

  it('of an old kernel has less, and is told all the same', () => {
    const machine = new MadeMachine();
    machine.add({ driver: undefined });
    expect(readFunction(machine, NVME)).toMatchObject({
      driver: undefined,
      driverOverride: undefined,
      iommuGroup: undefined,
      bars: [],
      numaNode: undefined,
      resets: [],
      removable: undefined,
    });
  });

  it('R33: a group that VFIO made up is no IOMMU', () => {
    const machine = new MadeMachine();
    machine.add({ group: 0 });
    machine.file('sys/kernel/iommu_groups/0/name', 'vfio-noiommu\n');
    expect(readFunction(machine, NVME).iommuGroup).toEqual({ number: 0, noIommu: true });
    expect(hasIommu(machine)).toBe(false);
    machine.file('sys/class/iommu/dmar0/uevent', '');
    expect(hasIommu(machine)).toBe(true);
  });

  it('that is not there is absent', () => {
    expect(() => readFunction(new MadeMachine(), NVME)).toThrow(expect.objectContaining({ code: 'absent', message: expect.stringContaining(NVME) }));
  });
});

test('functions are listed by address; one that goes meanwhile is left out', () => {
  const machine = new MadeMachine();
  machine.add({ address: '0000:02:00.0' });
  machine.add({ address: '0000:01:00.0' });
  machine.linkTo('sys/bus/pci/devices/0000:00:05.0', 'sys/devices/gone');
  expect(listFunctions(machine).map(({ address }) => address)).toEqual(['0000:01:00.0', '0000:02:00.0']);
  expect(listFunctions(new Machine('/nowhere'))).toEqual([]);
});

const here = listFunctions(new Machine());
test.skipIf(here.length === 0)(`this machine's own functions can be read${here.length === 0 ? ' (skipped: it has none)' : ''}`, () => {
  for (const each of here) {
    expect(parseAddress(each.address)).toBe(each.address);
    expect(each.vendor).toBeGreaterThan(0);
    expect(each.vendor).toBeLessThan(0xffff);
    for (const bar of each.bars) expect(Math.log2(bar.bytes) % 1).toBe(0);
  }
});

describe('names', () => {
  it('come from pci.ids', () => {
    const machine = new MadeMachine();
    machine.file(
      'pci.ids',
      '# comment\n1b36  Red Hat, Inc.\n\t0010  QEMU NVM Express Controller\n\t\t1af4 1100  ignored\nC 01  Mass storage controller\n\t08  NVM\n\t\t02  NVM Express\n',
    );
    const names = new PciNames(machine.path('pci.ids'));
    expect(names.modelOf({ vendor: 0x1b36, device: 0x10 })).toBe('Red Hat, Inc. QEMU NVM Express Controller');
    expect(names.modelOf({ vendor: 0x1b36, device: 0x11 })).toBe('Red Hat, Inc. 0011');
    expect(names.classOf({ classCode: 0x01_08_02 })).toBe('NVM');
  });

  it('are numbers without it, but for common classes', () => {
    const names = new PciNames('/nowhere/pci.ids');
    expect(names.modelOf({ vendor: 0x1b36, device: 0x10 })).toBe('1b36:0010');
    expect(names.classOf({ classCode: 0x01_08_02 })).toBe('Non-Volatile memory controller');
    expect(names.classOf({ classCode: 0xff_12_00 })).toBe('class ff12');
  });
});

test('a BAR that is smaller than a page may lie anywhere in one', () => {
  const text =
    '0x00000000febd1200 0x00000000febd12ff 0x0000000000040200\n0x0000000000000000 0x0000000000000000 0x0000000000000000\n0x0000007000004000 0x0000007000007fff 0x0000000000140204\n';
  expect([0, 1, 2, 3].map((index) => offsetInPage(text, index))).toEqual([0x200, 0, 0, 0]);
});
