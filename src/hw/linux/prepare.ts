/**
 * Opening a PCI function, on the main thread, while the process still has its privileges: the engine needs none, for what it works with are descriptors.
 */
import type { PreparedBacking } from '../backing.js';
import { HardwareError } from '../task.js';
import { Descriptors } from './descriptors.js';
import { closeHandle, type PciHandle } from './handle.js';
import { checkAddress, type PciOptions, type PciPath } from './options.js';
import { openFiles } from './prepare-files.js';
import { openVfio } from './prepare-vfio.js';
import { driverOf, functionExists, groupOf, textOf, type IommuGroup } from './sysfs.js';

/** The driver that a function has on each path. */
const DRIVERS: Readonly<Record<PciPath, string | undefined>> = { vfio: 'vfio-pci', uio: 'uio_pci_generic', sysfs: undefined };

/**
 * Opens everything that the engine needs of one function. The handle goes to one engine thread, which closes it; `dispose` does if there is none any more.
 *
 * @throws RangeError for an address that is none; HardwareError `absent` (no such function, driver, device file or privilege), `busy` (another driver or another
 * server holds it), `exhausted`, `unsupported`.
 */
export async function prepare({ address, path: forced }: PciOptions): Promise<PreparedBacking<PciHandle>> {
  checkAddress(address);
  if (!functionExists(address))
    throw new HardwareError('absent', `there is no PCI function ${address}: "ringwarden status --devices" lists those that are`);
  const path = forced ?? pathOf(address, driverOf(address));
  checkDriver(address, path);
  const group = groupOf(address);
  if (path !== 'vfio' && group !== undefined) checkUntranslated(address, group);
  const descriptors = new Descriptors();
  try {
    const opened = path === 'vfio' ? openVfio(address, group, descriptors) : openFiles(address, path, descriptors);
    const handle: PciHandle = {
      ...opened,
      address,
      path,
      uevents: descriptors.uevents(),
      description: describe(address, path, group, opened),
      descriptors: descriptors.all,
      closed: new SharedArrayBuffer(4),
    };
    return { handle, ended: new Promise(() => {}), dispose: async () => closeHandle(handle) };
  } catch (error) {
    descriptors.close();
    throw error;
  }
}

/** What the driver of the function lets us do. */
function pathOf(address: string, driver: string | undefined): PciPath {
  for (const path of ['vfio', 'uio', 'sysfs'] as const) if (DRIVERS[path] === driver) return path;
  throw new HardwareError('busy', heldBy(address, driver));
}

function checkDriver(address: string, path: PciPath): void {
  const [driver, wanted] = [driverOf(address), DRIVERS[path]];
  if (driver === wanted) return;
  if (driver !== undefined) throw new HardwareError('busy', heldBy(address, driver));
  throw new HardwareError('absent', `${address} has no driver, and the path ${path} needs ${wanted}: "ringwarden bind ${address}" binds it`);
}

function heldBy(address: string, driver: string | undefined): string {
  return `${address} is held by the driver ${driver}: "ringwarden bind ${address}" takes it from there`;
}

/** On these paths the bus has physical addresses. */
function checkUntranslated(address: string, { isolates, type }: IommuGroup): void {
  if (!isolates || type === 'identity') return;
  throw new HardwareError('unsupported', `an IOMMU translates the addresses of ${address}, and only VFIO can program it: bind it to vfio-pci`);
}

/** For `status` (R33): what there is, and what there is not. */
function describe(
  address: string,
  path: PciPath,
  group: IommuGroup | undefined,
  { interrupts, memory, reset }: Pick<PciHandle, 'interrupts' | 'memory' | 'reset'>,
): string {
  const door = path === 'sysfs' ? 'sysfs alone' : DRIVERS[path];
  const wall =
    memory.kind === 'iommu'
      ? `behind IOMMU group ${group?.id}`
      : `no IOMMU keeps its DMA from any memory${memory.pins ? '' : ', and pages cannot be pinned (DMA is copied)'}`;
  const kinds = ['INTx', 'MSI', 'MSI-X'];
  const fire = interrupts.kind === 'none' ? 'no interrupts (polled)' : interrupts.kind === 'uio' ? 'INTx' : kinds[interrupts.index];
  const methods = textOf(address, 'reset_method');
  return `PCI function ${address} through ${door}; ${wall}; ${fire}; ${reset === undefined ? 'no reset' : `reset by ${methods ?? 'the kernel'}`}`;
}
