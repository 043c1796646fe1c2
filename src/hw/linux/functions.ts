/** The PCI functions of this machine, as sysfs tells of them (Documentation/ABI/testing/sysfs-bus-pci). */
import type { BarInfo } from '../backing.js';
import { LIST_THEM } from './address.js';
import { FunctionError } from './error.js';
import type { Machine } from './machine.js';
import { parseResources } from './resources.js';

export const PCI_DEVICES = 'sys/bus/pci/devices';
/** What sysfs prints of a string that is not set. */
const UNSET = '(null)';
/** Name that VFIO gives to the groups that it makes up where no IOMMU is (drivers/vfio/group.c). */
const NO_IOMMU_GROUP = 'vfio-noiommu';

export interface IommuGroup {
  readonly number: number;
  /** Made up by VFIO: there is no IOMMU, and the function reaches all memory. */
  readonly noIommu: boolean;
}

export interface PciFunction {
  /** In full: `0000:01:00.0`. */
  readonly address: string;
  readonly vendor: number;
  readonly device: number;
  readonly subsystemVendor: number;
  readonly subsystemDevice: number;
  /** Class, subclass and programming interface: 24 bits. */
  readonly classCode: number;
  readonly revision: number;
  /** Driver of the kernel that has it; undefined: none. */
  readonly driver: string | undefined;
  /** The only driver that may take it; undefined: whichever fits. */
  readonly driverOverride: string | undefined;
  /** Undefined: no IOMMU stands between the function and memory. */
  readonly iommuGroup: IommuGroup | undefined;
  readonly bars: readonly BarInfo[];
  /** Undefined: the machine has one node, or does not say. */
  readonly numaNode: number | undefined;
  /** How the kernel can reset it, in the order in which it tries: `flr`, `pm`, `bus`, ... Empty: not at all, or it does not say (before Linux 5.15). */
  readonly resets: readonly string[];
  /** Whether it can be pulled out; undefined: not known. */
  readonly removable: boolean | undefined;
}

function groupOf(machine: Machine, address: string): IommuGroup | undefined {
  const name = machine.linkName(PCI_DEVICES, address, 'iommu_group');
  if (name === undefined) return undefined;
  return { number: Number(name), noIommu: machine.text('sys/kernel/iommu_groups', name, 'name') === NO_IOMMU_GROUP };
}

function removableOf(text: string | undefined): boolean | undefined {
  if (text === 'removable') return true;
  return text === 'fixed' ? false : undefined;
}

/** The function at an address in full. @throws FunctionError `absent` */
export function readFunction(machine: Machine, address: string): PciFunction {
  const number = (name: string): number | undefined => machine.number(PCI_DEVICES, address, name);
  const text = (name: string): string => machine.text(PCI_DEVICES, address, name) ?? '';
  const [vendor, device, classCode] = ['vendor', 'device', 'class'].map(number);
  if (vendor === undefined || device === undefined || classCode === undefined) {
    throw new FunctionError('absent', `there is no PCI function ${address} in this machine`, LIST_THEM);
  }
  const override = text('driver_override');
  const numaNode = number('numa_node') ?? -1;
  return {
    address,
    vendor,
    device,
    subsystemVendor: number('subsystem_vendor') ?? 0,
    subsystemDevice: number('subsystem_device') ?? 0,
    classCode,
    revision: number('revision') ?? 0,
    driver: machine.linkName(PCI_DEVICES, address, 'driver'),
    driverOverride: override === '' || override === UNSET ? undefined : override,
    iommuGroup: groupOf(machine, address),
    bars: parseResources(text('resource')),
    numaNode: numaNode < 0 ? undefined : numaNode,
    resets: text('reset_method').split(' ').filter(Boolean),
    removable: removableOf(machine.text(PCI_DEVICES, address, 'removable')),
  };
}

/** All functions, by address. One that goes meanwhile is left out. */
export function listFunctions(machine: Machine): PciFunction[] {
  return machine.names(PCI_DEVICES).flatMap((address) => {
    try {
      return [readFunction(machine, address)];
    } catch {
      return [];
    }
  });
}

/** Whether the machine has an IOMMU that is at work. */
export const hasIommu = (machine: Machine): boolean => machine.names('sys/class/iommu').length > 0;
