/** What an engine thread needs to take over a function that the main thread opened. */
import { readSync, writeSync } from 'node:fs';
import { deviceAddon } from '../../native/device.js';
import { shm } from '../../native/shm.js';
import { Command, Header, NO_DEVICE } from '../pci/index.js';
import { attempt } from './errors.js';
import type { BarPlace } from './bars.js';
import { DRIVER_OF } from './drivers.js';
import { PCI_DEVICES } from './functions.js';
import { Machine } from './machine.js';
import type { PciPath } from './options.js';
import type { Range } from './vfio-structures.js';

const COMMAND_BYTES = 2;

/** How its interrupts arrive. `fd` is the UIO device; `device` VFIO's, with `count` interrupts of kind `index`. */
export type InterruptSource =
  | { readonly kind: 'none' }
  | { readonly kind: 'uio'; readonly fd: number }
  | { readonly kind: 'vfio'; readonly device: number; readonly index: number; readonly count: number };

export type MemorySource =
  /** The bus has physical addresses, and every page is pinned by an io_uring. */
  | { readonly kind: 'physical'; readonly pagemap: number }
  /** The IOMMU translates. `ranges`: the addresses of its bus that may be used. */
  | { readonly kind: 'iommu'; readonly container: number; readonly ranges: readonly Range[] };

export interface PciHandle {
  readonly address: string;
  readonly path: PciPath;
  readonly description: string;
  readonly config: { readonly fd: number; readonly offset: number; readonly bytes: number };
  readonly bars: readonly BarPlace[];
  readonly interrupts: InterruptSource;
  readonly memory: MemorySource;
  /** The file `enable`, where no driver has enabled the function. */
  readonly enable: number | undefined;
  /** Nothing else makes sure that a function that somebody had before does no DMA when bus mastering is turned on. */
  readonly reset: { readonly fd: number; readonly vfio: boolean };
  /** VFIO's descriptor of the device; undefined on the other paths. */
  readonly device: number | undefined;
  /** Where the kernel tells of devices that go. */
  readonly uevents: number;
  /** Everything that was opened, in this order. */
  readonly descriptors: readonly number[];
  /** One word, 1 once the descriptors are closed: by the engine, or by the main thread when there is none. */
  readonly closed: SharedArrayBuffer;
  /** One word, 1 from the claim until the function is quiet again: only then is it this server's to stop. */
  readonly claimed: SharedArrayBuffer;
}

export const isClaimed = ({ claimed }: PciHandle): boolean => Atomics.load(new Int32Array(claimed), 0) === 1;

/** From now on whatever ends this process stops the function. Before anything is written to it. */
export function markClaimed({ claimed, config }: PciHandle): void {
  deviceAddon().stopAtEnd(config.fd, config.offset);
  Atomics.store(new Int32Array(claimed), 0, 1);
}

/** The function is nobody's, or another's. */
export function markReleased({ claimed, config }: PciHandle): void {
  if (Atomics.exchange(new Int32Array(claimed), 0, 0) === 1) deviceAddon().leaveAtEnd(config.fd);
}

/** A driver that has taken the function since it was opened: VFIO lets none, a file of sysfs keeps none away. */
export function otherDriver({ address, path }: PciHandle): string | undefined {
  const driver = path === 'vfio' ? undefined : new Machine().linkName(PCI_DEVICES, address, 'driver');
  return driver === DRIVER_OF[path] ? undefined : driver;
}

/** `quiet`: it does no DMA for this server. `running`: nobody knows. `taken`: another driver has it, which stops it for itself; what it did until then goes on till then. */
export type Stopped = 'quiet' | 'running' | 'taken';

/**
 * Turns bus mastering off, if the function is claimed. It is quiet when it says so, or does not answer at all, or uio_pci_generic has stopped it, as it does before the
 * function's files go.
 */
export function stopDevice(handle: PciHandle): Stopped {
  if (!isClaimed(handle)) return 'quiet';
  if (otherDriver(handle) !== undefined) return 'taken';
  const { fd, offset } = handle.config;
  const [order, answer] = [Buffer.alloc(COMMAND_BYTES), Buffer.alloc(COMMAND_BYTES)];
  order.writeUInt16LE(Command.intxDisable);
  try {
    const written = writeSync(fd, order, 0, COMMAND_BYTES, offset + Header.command);
    const read = readSync(fd, answer, 0, COMMAND_BYTES, offset + Header.command);
    const command = answer.readUInt16LE();
    const stopped = command === NO_DEVICE || (command & Command.busMaster) === 0;
    return stopped && written === COMMAND_BYTES && read === COMMAND_BYTES ? 'quiet' : 'running';
  } catch {
    return handle.path === 'uio' ? 'quiet' : 'running';
  }
}

/** For a function that no engine has any more, whatever became of it: stopped and closed. */
export function abandonHandle(handle: PciHandle): void {
  if (Atomics.load(new Int32Array(handle.closed), 0) === 0) closeHandle(handle, stopDevice(handle));
}

/**
 * Closes what was opened, last first, once, whichever thread comes first. What may be running keeps its configuration space open and its place with the second process,
 * which tries again at the end of this one; VFIO's device is stopped by the kernel when it is closed. `mayHang`: the device may not answer any more, and then the kernel
 * waits up to a minute for its reset when VFIO's descriptor is closed: another thread does that.
 */
export function closeHandle(handle: PciHandle, stopped: Stopped, mayHang = false): void {
  const { descriptors, closed, config, device } = handle;
  if (Atomics.exchange(new Int32Array(closed), 0, 1) === 1) return;
  const kept = stopped === 'running' && device === undefined ? config.fd : undefined;
  if (kept === undefined) attempt(() => markReleased(handle));
  const user = process.getuid?.() ?? 0;
  for (const fd of descriptors.toReversed()) {
    if (fd !== kept) attempt(() => (mayHang && fd === device ? shm().closeElsewhere(fd, user) : shm().close(fd)));
  }
}
