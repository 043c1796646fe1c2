/** Drivers of PCI functions, by the kernel's own files (Documentation/ABI/testing/sysfs-bus-pci). */
import { existsSync, readlinkSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';

const folder = (address) => `/sys/bus/pci/devices/${address}`;

/** The driver's name, or null. */
export function driverOf(address) {
  const link = `${folder(address)}/driver`;
  return existsSync(link) ? basename(readlinkSync(link)) : null;
}

/** vfio-pci takes functions without an IOMMU from now on. The kernel is tainted when one is opened. */
const allowNoIommu = () => writeFileSync('/sys/module/vfio/parameters/enable_unsafe_noiommu_mode', 'Y');

/** Binds the function to a driver, or with null to none; the driver's module is loaded already. */
export function bindTo(address, driver) {
  if (driverOf(address) === driver) return;
  if (driver === 'vfio-pci' && !existsSync(`${folder(address)}/iommu_group`)) allowNoIommu();
  if (driverOf(address) !== null) writeFileSync(`${folder(address)}/driver/unbind`, address);
  writeFileSync(`${folder(address)}/driver_override`, `${driver ?? ''}\n`);
  if (driver !== null) writeFileSync('/sys/bus/pci/drivers_probe', address);
  if (driverOf(address) !== driver) throw new Error(`${address} has the driver ${driverOf(address)}, not ${driver}`);
}
