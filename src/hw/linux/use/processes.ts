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

/** A process, and which of the files that matter here it has open or mapped. */
export interface Holder {
  /** Such as `node (process 17)`. */
  readonly who: string;
  readonly files: ReadonlySet<string>;
}

const matters = (file: string): boolean => file.startsWith('/dev/') || (file.startsWith('/sys/') && /\/(?:resource\d+(?:_wc)?|config)$/.test(file));

/** All processes but this one that have a device file, or a file of a PCI function. Of processes of other users only root sees anything. */
export function holders(machine: Machine): Holder[] {
  const pids = machine.names('proc').filter((name) => /^\d+$/.test(name) && name !== String(process.pid));
  return pids.flatMap((pid) => {
    const opened = machine.names('proc', pid, 'fd').flatMap((fd) => machine.link('proc', pid, 'fd', fd) ?? []);
    // A mapping outlives its descriptor.
    const mapped = (machine.text('proc', pid, 'maps') ?? '').split('\n').flatMap((line) => /^(?:\S+\s+){5}(\/.*)$/.exec(line)?.[1] ?? []);
    const files = new Set([...opened, ...mapped].filter(matters));
    return files.size === 0 ? [] : [{ who: `${machine.text('proc', pid, 'comm') ?? 'a program'} (process ${pid})`, files }];
  });
}

/** Those that have the function open: its device files, its BARs, or one of `blocks`. */
export function usesOfProcesses(machine: Machine, subject: PciFunction, blocks: readonly string[], all: readonly Holder[]): string[] {
  const files = new Set([...deviceFiles(machine, subject), ...blocks.map((name) => `/dev/${name}`)]);
  const isUse = (file: string): boolean => files.has(file) || (file.startsWith('/sys/') && file.includes(`/${subject.address}/`));
  return all.filter((holder) => [...holder.files].some(isUse)).map(({ who }) => who);
}
