/** The ways to a PCI function from a program, and the driver of the kernel that each needs. */
import type { PciFunction } from './functions.js';
import type { PciPath } from './options.js';

/** The best one first. */
export const PATHS = ['vfio', 'uio', 'sysfs'] as const satisfies readonly PciPath[];

/** Undefined: no driver may have it. */
export const DRIVER_OF: Readonly<Record<PciPath, string | undefined>> = { vfio: 'vfio-pci', uio: 'uio_pci_generic', sysfs: undefined };

/** Name of the module in /sys/module, and for modprobe(8). */
export const MODULE_OF = { vfio: 'vfio-pci', uio: 'uio_pci_generic' } as const;

/** Drivers that hand the function to programs: no interface, no block device stands on it. */
export const USER_DRIVERS: ReadonlySet<string> = new Set(['vfio-pci', 'uio_pci_generic', 'igb_uio', 'pci-stub']);

/** No driver has this name, so that none takes the function (Documentation/ABI/testing/sysfs-bus-pci, driver_override). */
export const NO_DRIVER = 'none';

/** Whether the function is left to programs: a driver that hands it on has it, or it is kept from all. */
export const isForPrograms = ({ driver, driverOverride }: Pick<PciFunction, 'driver' | 'driverOverride'>): boolean =>
  driver === undefined ? driverOverride === NO_DRIVER : USER_DRIVERS.has(driver);

/** The path that the function is bound to, if it is. */
export function pathOf(subject: Pick<PciFunction, 'driver' | 'driverOverride'>): PciPath | undefined {
  return isForPrograms(subject) ? PATHS.find((path) => DRIVER_OF[path] === subject.driver) : undefined;
}
