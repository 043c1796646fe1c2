/** Drivers of PCI functions, by the kernel's own files (Documentation/ABI/testing/sysfs-bus-pci). */
import { existsSync, readlinkSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { guest } from './guest.js';

const folder = (address: string): string => `/sys/bus/pci/devices/${address}`;

/** The driver's name, or null. */
export function driverOf(address: string): string | null {
  const link = `${folder(address)}/driver`;
  return existsSync(link) ? basename(readlinkSync(link)) : null;
}

/** vfio-pci takes functions from now on: without an IOMMU, or behind one that does not remap interrupts. */
function allowVfio(): void {
  const parameter = guest.hasIommu ? 'vfio_iommu_type1/parameters/allow_unsafe_interrupts' : 'vfio/parameters/enable_unsafe_noiommu_mode';
  writeFileSync(`/sys/module/${parameter}`, 'Y');
}

/** Binds the function to a driver, or with null to none; the driver's module is loaded already. */
export function bindTo(address: string, driver: string | null): void {
  if (driverOf(address) === driver) return;
  if (driver === 'vfio-pci') allowVfio();
  if (driverOf(address) !== null) writeFileSync(`${folder(address)}/driver/unbind`, address);
  writeFileSync(`${folder(address)}/driver_override`, `${driver ?? ''}\n`);
  if (driver !== null) writeFileSync('/sys/bus/pci/drivers_probe', address);
  if (driverOf(address) !== driver) throw new Error(`${address} has the driver ${driverOf(address)}, not ${driver}`);
}
