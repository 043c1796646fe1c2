import { describe, expect, it, test } from 'vitest';
import { readFunction } from '../../../src/hw/linux/functions.js';
import { capabilitiesFor, requireDrivable } from '../../../src/hw/linux/privilege.js';
import { MadeMachine, NVME, type MadeFunction } from './tree.js';

function made(change: MadeFunction, capabilities = '000001ffffffffff'): MadeMachine {
  const machine = new MadeMachine().modules();
  machine.add(change);
  machine.file('proc/self/status', `Name:\tnode\nCapPrm:\t0000000000000000\nCapEff:\t${capabilities}\n`);
  return machine;
}
const drivable = (machine: MadeMachine): void => requireDrivable(machine, readFunction(machine, NVME));
const failure = (what: RegExp, remedy: RegExp): unknown =>
  expect.objectContaining({ name: 'FunctionError', message: expect.stringMatching(what), remedy: expect.stringMatching(remedy) });

test('what a function needs depends on what stands before memory', () => {
  const of = (change: MadeFunction, name = ''): string[] => {
    const machine = made(change);
    if (name !== '') machine.file('sys/kernel/iommu_groups/3/name', name);
    return capabilitiesFor(readFunction(machine, NVME));
  };
  expect(of({ driver: 'vfio-pci', group: 3 })).toEqual(['CAP_IPC_LOCK']);
  expect(of({ driver: 'vfio-pci', group: 3 }, 'vfio-noiommu\n')).toEqual(['CAP_IPC_LOCK', 'CAP_SYS_ADMIN', 'CAP_SYS_RAWIO']);
  expect(of({ driver: 'uio_pci_generic' })).toEqual(['CAP_IPC_LOCK', 'CAP_SYS_ADMIN']);
  expect(of({ driver: undefined })).toEqual(['CAP_IPC_LOCK', 'CAP_SYS_ADMIN']);
});

describe('a function that cannot be driven is refused with what mends it:', () => {
  it('a class that nothing here drives', () => {
    expect(() => drivable(made({ classCode: 0x02_00_00 }))).toThrow(
      failure(/nothing here can drive 0000:01:00\.0: Ethernet controller \(class 020000\)/, /status --devices/),
    );
  });

  it('privileges that the process does not have', () => {
    const machine = made({ driver: 'vfio-pci' }, '0000000000000000');
    expect(() => drivable(machine)).toThrow(
      failure(/needs CAP_SYS_ADMIN and CAP_SYS_RAWIO/, /root.*AmbientCapabilities=CAP_SYS_ADMIN CAP_SYS_RAWIO/),
    );
    // Bits 17 and 21 are these two; that of locked memory has a limit beside it.
    expect(() => drivable(made({ driver: 'vfio-pci' }, '0000000000220000'))).not.toThrow();
    expect(() => drivable(made({ driver: 'vfio-pci', group: 3 }, '0000000000000000'))).not.toThrow();
  });

  it('huge pages that are not there, where no IOMMU makes one piece of many', () => {
    const machine = made({ driver: 'uio_pci_generic' });
    machine.file('proc/meminfo', 'HugePages_Total:       0\n');
    expect(() => drivable(machine)).toThrow(failure(/no huge pages/, /^echo 16 > \/proc\/sys\/vm\/nr_hugepages$/));
    const behind = made({ driver: 'vfio-pci', group: 3 });
    behind.file('proc/meminfo', 'HugePages_Total:       0\n');
    expect(() => drivable(behind)).not.toThrow();
  });
});
