/** What each way to a function needs of this machine. */
import { DRIVER_OF, MODULE_OF, PATHS, USER_DRIVERS } from '../drivers.js';
import type { PciPath } from '../options.js';
import { listFunctions, type PciFunction } from '../functions.js';
import type { Machine } from '../machine.js';

export const NO_IOMMU_PARAMETER = 'sys/module/vfio/parameters/enable_unsafe_noiommu_mode';
const BRIDGE_CLASS = 0x06;

/** What is missing, and what mends it. */
export interface Missing {
  readonly what: string;
  readonly remedy: string;
}

function missingModule(machine: Machine, path: keyof typeof MODULE_OF): Missing | undefined {
  if (machine.has('sys/bus/pci/drivers', DRIVER_OF[path] ?? '')) return undefined;
  return { what: `the module ${MODULE_OF[path]} is not loaded`, remedy: `modprobe ${MODULE_OF[path]}` };
}

/** VFIO without an IOMMU has to be built into the kernel, and to be allowed. */
function missingNoIommu(machine: Machine, address: string): Missing | undefined {
  const allowed = machine.text(NO_IOMMU_PARAMETER);
  if (allowed === undefined) {
    const what = 'there is no IOMMU for this function, and this kernel has no no-IOMMU mode (CONFIG_VFIO_NOIOMMU)';
    return { what, remedy: `take a kernel that has it, or another way: ringwarden bind ${address} --to uio` };
  }
  if (/^[Y1]/.test(allowed)) return undefined;
  return { what: "there is no IOMMU for this function, and VFIO's no-IOMMU mode is off", remedy: `echo 1 > /${NO_IOMMU_PARAMETER}` };
}

/** VFIO gives out a group only when no driver of the kernel has any function in it; bridges may keep theirs (Documentation/driver-api/vfio.rst). */
function missingGroup(machine: Machine, subject: PciFunction): Missing | undefined {
  const { address, iommuGroup } = subject;
  const other = listFunctions(machine).find(
    (each) =>
      each.address !== address &&
      each.iommuGroup?.number === iommuGroup?.number &&
      each.classCode >> 16 !== BRIDGE_CLASS &&
      each.driver !== undefined &&
      !USER_DRIVERS.has(each.driver),
  );
  if (other === undefined) return undefined;
  const what = `${other.address} is in the same IOMMU group (${iommuGroup?.number}), and driver ${other.driver} has it`;
  return { what, remedy: `bind it as well: ringwarden bind ${other.address} --to vfio` };
}

/** What programs need to reach BARs without VFIO, and memory by its physical addresses. */
function missingRaw(machine: Machine, { address, iommuGroup }: PciFunction, path: PciPath): Missing | undefined {
  const vfio = `ringwarden bind ${address} --to vfio`;
  const isTranslated = iommuGroup !== undefined && !iommuGroup.noIommu;
  if (isTranslated && machine.text('sys/kernel/iommu_groups', String(iommuGroup.number), 'type') !== 'identity') {
    return { what: `an IOMMU translates the addresses of this function (group ${iommuGroup.number}), and ${path} cannot program it`, remedy: vfio };
  }
  if (/\[(?:integrity|confidentiality)\]/.test(machine.text('sys/kernel/security/lockdown') ?? '')) {
    return { what: 'the kernel is locked down: programs cannot map BARs', remedy: `turn Secure Boot off, or take another way: ${vfio}` };
  }
  return undefined;
}

/** The first thing that keeps the function from being used that way; undefined when nothing does. */
export function missingFor(machine: Machine, subject: PciFunction, path: PciPath): Missing | undefined {
  if (path === 'sysfs') return missingRaw(machine, subject, path);
  const module = missingModule(machine, path);
  if (module !== undefined) return module;
  if (path === 'uio') return missingRaw(machine, subject, path);
  const hasGroup = subject.iommuGroup !== undefined && !subject.iommuGroup.noIommu;
  return hasGroup ? missingGroup(machine, subject) : missingNoIommu(machine, subject.address);
}

/** The best way that nothing is missing for, and why it is not a better one. */
export function choosePath(machine: Machine, subject: PciFunction): { path: PciPath | undefined; missing: ReadonlyMap<PciPath, Missing> } {
  const missing = new Map<PciPath, Missing>();
  for (const path of PATHS) {
    const found = missingFor(machine, subject, path);
    if (found === undefined) return { path, missing };
    missing.set(path, found);
  }
  return { path: undefined, missing };
}
