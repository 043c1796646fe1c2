/** Processes that have a PCI function, or something that stands on it, open. */
import type { PciFunction } from '../functions.js';
import type { Machine } from '../machine.js';
import { PCI_DEVICES } from '../functions.js';

/** Device files by which programs drive the function: of VFIO and of UIO. */
function deviceFiles(machine: Machine, { address, iommuGroup, driver }: PciFunction): string[] {
  const vfio = iommuGroup === undefined || driver !== 'vfio-pci' ? [] : [`/dev/vfio/${iommuGroup.noIommu ? 'noiommu-' : ''}${iommuGroup.number}`];
  return [
    ...vfio,
    ...machine.names(PCI_DEVICES, address, 'vfio-dev').map((name) => `/dev/vfio/devices/${name}`),
    ...machine.names(PCI_DEVICES, address, 'uio').map((name) => `/dev/${name}`),
  ];
}

/** Whether a file is a BAR or the configuration space of the function in sysfs. */
const isOfFunction = (file: string, address: string): boolean => /\/(?:resource\d+(?:_wc)?|config)$/.test(file) && file.includes(`/${address}/`);

/**
 * Processes, apart from this one, that have the function open: its device files, its BARs, or one of `blocks`. As `name (process 17)`. Of processes of other users
 * only root sees anything.
 */
export function usesOfProcesses(machine: Machine, subject: PciFunction, blocks: readonly string[]): string[] {
  const files = new Set([...deviceFiles(machine, subject), ...blocks.map((name) => `/dev/${name}`)]);
  const isUse = (file: string): boolean => files.has(file) || isOfFunction(file, subject.address);
  const pids = machine.names('proc').filter((name) => /^\d+$/.test(name) && name !== String(process.pid));
  return pids.flatMap((pid) => {
    const opened = machine.names('proc', pid, 'fd').flatMap((fd) => machine.link('proc', pid, 'fd', fd) ?? []);
    // A mapping outlives its descriptor.
    const mapped = (machine.text('proc', pid, 'maps') ?? '').split('\n').flatMap((line) => /^(?:\S+\s+){5}(\/.*)$/.exec(line)?.[1] ?? []);
    if (![...opened, ...mapped].some(isUse)) return [];
    return [`${machine.text('proc', pid, 'comm') ?? 'a program'} (process ${pid})`];
  });
}
