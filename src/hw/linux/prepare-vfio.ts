/** A function through VFIO: behind an IOMMU if its group is a real one, else in no-IOMMU mode. */
import { constants } from 'node:fs';
import { deviceAddon } from '../../native/device.js';
import { HardwareError } from '../task.js';
import { FunctionError } from './error.js';
import type { BarPlace } from './bars.js';
import type { Descriptors } from './descriptors.js';
import { codeOf, syscallOf } from './errors.js';
import type { InterruptSource } from './handle.js';
import { cannotReset, physicalMemory, type OpenedFunction } from './prepare-files.js';
import type { PciFunction } from './functions.js';
import {
  STRUCTURE_BYTES,
  VfioDeviceFlag,
  VfioIommu,
  VfioIrq,
  VfioRegion,
  parseDevice,
  parseIommu,
  parseIrqCount,
  parseRegion,
  type Range,
  type RegionFacts,
} from './vfio-structures.js';

const MODULES = '"modprobe vfio-pci"; without an IOMMU also "echo 1 > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode" before it is bound';

const REMAPPING = 'this machine does not remap interrupts, so that a device could forge some';
const ACCEPT_FORGED = 'echo Y > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts, if that is acceptable';

export function openVfio({ address, bars: infos, iommuGroup: group }: PciFunction, descriptors: Descriptors): OpenedFunction {
  if (group === undefined) throw new HardwareError('absent', `${address} is in no IOMMU group: ${MODULES}`);
  const addon = deviceAddon();
  const container = descriptors.open('/dev/vfio/vfio', constants.O_RDWR, MODULES);
  const groupFd = descriptors.open(`/dev/vfio/${group.noIommu ? 'noiommu-' : ''}${group.number}`, constants.O_RDWR, MODULES);
  const device = explained(address, () => {
    addon.vfioAttachGroup(container, groupFd, group.noIommu ? VfioIommu.none : VfioIommu.type1v2);
    return descriptors.keep(addon.vfioOpenDevice(groupFd, address));
  });
  return explained(address, () => {
    const config = regionOf(device, VfioRegion.config);
    const bars = infos.map((info): BarPlace => {
      const region = regionOf(device, info.index);
      if (region.bytes < info.bytes) throw new HardwareError('exhausted', `the kernel does not give BAR ${info.index} away`);
      return { info, fd: device, offset: region.offset, mappable: region.mappable };
    });
    const { flags } = parseDevice(structureOf((into) => addon.vfioDeviceInfo(device, into)).structure);
    if ((flags & VfioDeviceFlag.reset) === 0) throw cannotReset(address);
    return {
      config: { fd: device, offset: config.offset, bytes: config.bytes },
      bars,
      interrupts: interruptsOf(device),
      memory: group.noIommu ? physicalMemory(descriptors) : { kind: 'iommu', container, ranges: rangesOf(container) },
      enable: undefined,
      reset: { fd: device, vfio: true },
      device,
    };
  });
}

/** MSI-X where there is any, then MSI, then INTx. */
function interruptsOf(device: number): InterruptSource {
  const count = (index: number): number => {
    const { structure } = structureOf((into) => deviceAddon().vfioIrqInfo(device, index, into));
    return parseIrqCount(structure);
  };
  const vectors = count(VfioIrq.msix);
  if (vectors > 0) return { kind: 'vfio', device, index: VfioIrq.msix, count: vectors };
  if (count(VfioIrq.msi) > 0) return { kind: 'vfio', device, index: VfioIrq.msi, count: 1 };
  if (count(VfioIrq.intx) > 0) return { kind: 'vfio', device, index: VfioIrq.intx, count: 1 };
  return { kind: 'none' };
}

function regionOf(device: number, index: number): RegionFacts {
  const { structure, bytes } = structureOf((into) => deviceAddon().vfioRegionInfo(device, index, into));
  return parseRegion(structure, bytes);
}

function rangesOf(container: number): Range[] {
  const { structure, bytes } = structureOf((into) => deviceAddon().vfioIommuInfo(container, into));
  return parseIommu(structure, bytes);
}

function structureOf(fill: (into: Uint8Array) => number): { structure: Uint8Array; bytes: number } {
  const structure = new Uint8Array(STRUCTURE_BYTES);
  return { bytes: fill(structure), structure };
}

function explained<T>(address: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    if (error instanceof HardwareError) throw error;
    const code = codeOf(error);
    if (code === 'EBUSY') throw new HardwareError('busy', `the IOMMU group of ${address} is in use, or another device of it has another driver`);
    if (code === 'EPERM' && syscallOf(error) === 'VFIO_SET_IOMMU') {
      throw new FunctionError('absent', `VFIO refuses ${address}: ${REMAPPING}`, ACCEPT_FORGED);
    }
    if (code === 'EPERM') throw new HardwareError('absent', `VFIO refuses ${address}: this process needs CAP_SYS_RAWIO`);
    throw new HardwareError('unsupported', `VFIO refuses ${address}: ${error instanceof Error ? error.message : code}`);
  }
}
