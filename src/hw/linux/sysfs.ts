/** What sysfs says of one PCI function (Documentation/PCI/sysfs-pci.rst). */
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import type { BarInfo } from '../backing.js';
import { BAR_COUNT } from '../pci/index.js';
import { HardwareError } from '../task.js';

/** Flags of a resource (include/linux/ioport.h). */
const Resource = { io: 0x100n, memory: 0x200n, prefetchable: 0x2000n, is64: 0x10_0000n, unset: 0x2000_0000n } as const;

export const functionFile = (address: string, file: string): string => `/sys/bus/pci/devices/${address}/${file}`;

export const functionExists = (address: string): boolean => existsSync(functionFile(address, ''));

/** Name of the driver that holds the function; undefined for none. */
export function driverOf(address: string): string | undefined {
  return linkOf(address, 'driver');
}

export interface IommuGroup {
  readonly id: string;
  /** There is an IOMMU. In no-IOMMU mode vfio-pci makes groups of its own, which isolate nothing. */
  readonly isolates: boolean;
  /** How the kernel uses it for this group: `identity` leaves addresses as they are. */
  readonly type: string | undefined;
}

/** Its IOMMU group; undefined without one (R33). */
export function groupOf(address: string): IommuGroup | undefined {
  const id = linkOf(address, 'iommu_group');
  if (id === undefined) return undefined;
  return { id, isolates: textOf(address, 'iommu_group/name') !== 'vfio-noiommu', type: textOf(address, 'iommu_group/type') };
}

/** A file's text without the newline; undefined where there is no such file. */
export function textOf(address: string, file: string): string | undefined {
  try {
    return readFileSync(functionFile(address, file), 'utf8').trim();
  } catch {
    return undefined;
  }
}

/**
 * The BARs from the file `resource`: start, end and flags of each, a line a register.
 * @throws HardwareError `exhausted` where the machine has given one no addresses: all or none (R17).
 */
export function parseResources(text: string): BarInfo[] {
  return text
    .split('\n')
    .slice(0, BAR_COUNT)
    .flatMap((line, index): BarInfo[] => {
      const [start, end, flags] = line.split(' ').map((word) => BigInt(word === '' ? 0 : word));
      if (flags === undefined || (flags & (Resource.io | Resource.memory)) === 0n) return [];
      if ((flags & Resource.unset) !== 0n || start === 0n) throw new HardwareError('exhausted', `the machine has no addresses for BAR ${index}`);
      const has = (flag: bigint): boolean => (flags & flag) !== 0n;
      const bytes = Number(end - start + 1n);
      return [{ index, kind: has(Resource.io) ? 'io' : 'memory', bytes, is64: has(Resource.is64), prefetchable: has(Resource.prefetchable) }];
    });
}

function linkOf(address: string, link: string): string | undefined {
  try {
    return basename(readlinkSync(functionFile(address, link)));
  } catch {
    return undefined;
  }
}
