/**
 * Opening a PCI function, on the main thread, while the process still has its privileges: the engine needs none, for what it works with are descriptors.
 */
import { deviceAddon } from '../../native/device.js';
import type { PreparedBacking } from '../backing.js';
import { BAR_COUNT } from '../pci/index.js';
import { HardwareError } from '../task.js';
import { parseAddress } from './address.js';
import { Descriptors } from './descriptors.js';
import { DRIVER_OF, pathOf } from './drivers.js';
import { FunctionError } from './error.js';
import { PCI_DEVICES, readFunction, type PciFunction } from './functions.js';
import { abandonHandle, type PciHandle } from './handle.js';
import { Machine } from './machine.js';
import type { PciOptions, PciPath } from './options.js';
import { openFiles } from './prepare-files.js';
import { openVfio } from './prepare-vfio.js';

/**
 * Opens everything that the engine needs of one function. The handle goes to one engine thread, which closes it; `dispose` does if there is none any more.
 *
 * @throws HardwareError `absent` (no such function, driver, device file or privilege), `busy` (another driver or another server holds it), `exhausted`,
 * `unsupported`.
 */
export async function prepare(options: PciOptions): Promise<PreparedBacking<PciHandle>> {
  const machine = new Machine();
  const subject = readFunction(machine, parseAddress(options.address));
  const path = checkedPath(subject, options.path);
  if (path !== 'vfio') checkUntranslated(machine, subject);
  checkAssigned(machine.text(PCI_DEVICES, subject.address, 'resource') ?? '');
  const descriptors = new Descriptors();
  try {
    const opened = path === 'vfio' ? openVfio(subject, descriptors) : openFiles(subject, path, descriptors);
    deviceAddon().watchEnd();
    const handle: PciHandle = {
      ...opened,
      address: subject.address,
      path,
      uevents: descriptors.uevents(),
      description: describe(machine, subject, path, opened),
      descriptors: descriptors.all,
      closed: new SharedArrayBuffer(4),
      claimed: new SharedArrayBuffer(4),
    };
    return { handle, ended: new Promise(() => {}), dispose: async () => abandonHandle(handle) };
  } catch (error) {
    descriptors.close();
    throw error;
  }
}

/** The path that is asked for, if the function has its driver; else the one whose driver it has. */
function checkedPath(subject: PciFunction, forced: PciPath | undefined): PciPath {
  const { address, driver } = subject;
  const path = forced ?? pathOf(subject);
  if (path !== undefined && DRIVER_OF[path] === driver) return path;
  const bind = `ringwarden bind ${address}${forced === undefined ? '' : ` --to ${forced}`}`;
  if (driver !== undefined) throw new FunctionError('busy', `${address} is held by the driver ${driver}`, bind);
  throw new FunctionError('absent', `${address} is not bound to ${path === undefined ? 'any way that programs have to it' : DRIVER_OF[path]}`, bind);
}

/** Where VFIO has no part in it the bus has physical addresses. */
function checkUntranslated(machine: Machine, { address, iommuGroup: group }: PciFunction): void {
  if (group === undefined || group.noIommu || machine.text('sys/kernel/iommu_groups', String(group.number), 'type') === 'identity') return;
  throw new FunctionError(
    'unsupported',
    `an IOMMU translates the addresses of ${address}, and only VFIO can program it`,
    `ringwarden bind ${address} --to vfio`,
  );
}

/** Flag of a resource that has no place on the bus (include/linux/ioport.h). */
const UNSET = 0x2000_0000n;

/** All BARs or none (R17); the expansion ROM and the BARs of virtual functions, whose lines follow, are not needed. @throws HardwareError `exhausted` where the machine has given one no addresses. */
export function checkAssigned(resources: string): void {
  for (const [index, line] of resources.split('\n').slice(0, BAR_COUNT).entries()) {
    const [start, end, flags] = line.split(' ').map((word) => BigInt(word === '' ? 0 : word));
    const missing = flags !== undefined && ((flags & UNSET) !== 0n || (start === 0n && end !== 0n));
    if (missing) throw new HardwareError('exhausted', `the machine has no addresses for resource ${index} of the function`);
  }
}

/** For `status` (R33): what there is, and what there is not. */
function describe(
  machine: Machine,
  { address, iommuGroup, resets }: PciFunction,
  path: PciPath,
  { interrupts, memory }: Pick<PciHandle, 'interrupts' | 'memory'>,
): string {
  const door = path === 'sysfs' ? 'sysfs alone' : DRIVER_OF[path];
  const kinds = ['INTx', 'MSI', 'MSI-X'];
  const fire = interrupts.kind === 'none' ? 'no interrupts (polled)' : interrupts.kind === 'uio' ? 'INTx' : kinds[interrupts.index];
  return [
    `PCI function ${address} through ${door}`,
    memory.kind === 'iommu' ? `behind IOMMU group ${iommuGroup?.number}${remapping(machine)}` : 'no IOMMU keeps its DMA from any memory',
    fire,
    `reset by ${resets.join(', ') || 'what the kernel finds'}`,
  ].join('; ');
}

/** VFIO takes a function on a machine that does not remap interrupts only when it is told to; then it is not known whether this one does. */
function remapping(machine: Machine): string {
  const unsafe = machine.text('sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts') === 'Y';
  return unsafe ? ', but its interrupts may not be remapped (allow_unsafe_interrupts)' : '';
}
