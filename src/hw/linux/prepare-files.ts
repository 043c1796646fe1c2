/** A function through sysfs: its configuration space, its BARs, and where it is bound to uio_pci_generic its interrupt. */
import { constants, fstatSync } from 'node:fs';
import { PAGE_BYTES } from '../../protocol/index.js';
import { deviceAddon } from '../../native/device.js';
import { shm } from '../../native/shm.js';
import { HardwareError } from '../task.js';
import type { BarPlace } from './bars.js';
import type { Descriptors } from './descriptors.js';
import { FunctionError } from './error.js';
import { pinError } from './errors.js';
import type { InterruptSource, MemorySource, PciHandle } from './handle.js';
import { PCI_DEVICES, type PciFunction } from './functions.js';
import { Machine } from './machine.js';
import { offsetInPage } from './resources.js';

const { O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } = constants;
/** Its other values keep io_uring from everybody, or from who has no CAP_SYS_ADMIN (Linux 6.6); containers forbid it by seccomp. */
const ALLOW_IO_URING = 'sysctl kernel.io_uring_disabled=0';
const ROOT = 'run the server as root, or with CAP_SYS_ADMIN';

/** What the ways of opening a function find out. */
export type OpenedFunction = Pick<PciHandle, 'config' | 'bars' | 'interrupts' | 'memory' | 'enable' | 'reset' | 'device'>;

export function openFiles({ address, bars: infos }: PciFunction, path: 'uio' | 'sysfs', descriptors: Descriptors): OpenedFunction {
  const file = (name: string): string => new Machine().path(PCI_DEVICES, address, name);
  const config = descriptors.open(file('config'), O_RDWR, ROOT);
  if (!shm().lock(config)) throw new HardwareError('busy', `another process has the function ${address}`);
  const resources = new Machine().text(PCI_DEVICES, address, 'resource') ?? '';
  const bars = infos.map((info): BarPlace => {
    const fd = descriptors.open(file(`resource${info.index}`), O_RDWR, ROOT);
    const mappable = info.kind === 'memory';
    return { info, fd, offset: mappable ? offsetInPage(resources, info.index) : 0, mappable };
  });
  const interrupts: InterruptSource = path === 'uio' ? { kind: 'uio', fd: openUio(address, descriptors) } : { kind: 'none' };
  const enable = path === 'uio' ? undefined : descriptors.open(file('enable'), O_WRONLY, ROOT);
  const reset = descriptors.openIfThere(file('reset'), O_WRONLY);
  if (reset === undefined) throw cannotReset(address);
  return {
    config: { fd: config, offset: 0, bytes: fstatSync(config).size },
    bars,
    interrupts,
    memory: physicalMemory(descriptors),
    enable,
    reset: { fd: reset, vfio: false },
    device: undefined,
  };
}

/** What it was told to do before goes on with bus mastering, and only a reset is sure to end it. */
export function cannotReset(address: string): FunctionError {
  const what = `the kernel knows no reset of ${address}, so that what it was told to do before might reach any memory`;
  return new FunctionError('unsupported', what, `choose a function that has one: cat /sys/bus/pci/devices/${address}/reset_method`);
}

function openUio(address: string, descriptors: Descriptors): number {
  const [name] = new Machine().names(PCI_DEVICES, address, 'uio');
  if (name === undefined) throw new HardwareError('absent', `${address} has no UIO device: "modprobe uio_pci_generic"`);
  return descriptors.open(`/dev/${name}`, O_RDWR | O_NONBLOCK, ROOT);
}

/**
 * Tries on one page what every attach will do.
 * @throws FunctionError where pages cannot be pinned: nothing else keeps them where they are, huge ones neither
 * @throws HardwareError where addresses cannot be had
 */
export function physicalMemory(descriptors: Descriptors): MemorySource {
  const native = shm();
  const addon = deviceAddon();
  const pagemap = descriptors.open('/proc/self/pagemap', O_RDONLY, ROOT);
  const page = native.memfdCreate('ringwarden:probe', PAGE_BYTES);
  try {
    addon.unpinPages(addon.pinPages(page, PAGE_BYTES, pagemap, new Uint32Array(1), new Uint32Array(1)));
    return { kind: 'physical', pagemap };
  } catch (error) {
    const reason = pinError(error, PAGE_BYTES);
    if (!(reason instanceof HardwareError) || reason.code !== 'unpinned') throw reason;
    throw new FunctionError('unsupported', `without an IOMMU nothing may be reached by DMA but pinned pages: ${reason.message}`, ALLOW_IO_URING);
  } finally {
    native.close(page);
  }
}
