/** Real PCI functions on Linux: VFIO with and without an IOMMU, UIO, sysfs alone. */
export type { PciHandle } from './handle.js';
export { openPci } from './open.js';
export type { PciOptions, PciPath } from './options.js';
export { prepare } from './prepare.js';
