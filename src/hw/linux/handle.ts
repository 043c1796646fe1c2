/** What an engine thread needs to take over a function that the main thread opened. */
import { readSync, writeSync } from 'node:fs';
import { deviceAddon } from '../../native/device.js';
import { shm } from '../../native/shm.js';
import { Command, Header, NO_DEVICE } from '../pci/index.js';
import { attempt } from './errors.js';
import type { BarPlace } from './bars.js';
import type { PciPath } from './options.js';
import type { Range } from './vfio-structures.js';

/** How its interrupts arrive. `fd` is the UIO device; `device` VFIO's, with `count` interrupts of kind `index`. */
export type InterruptSource =
  | { readonly kind: 'none' }
  | { readonly kind: 'uio'; readonly fd: number }
  | { readonly kind: 'vfio'; readonly device: number; readonly index: number; readonly count: number };

export type MemorySource =
  /** The bus has physical addresses. `pins`: pages can be pinned; else only huge pages that no client maps are taken. */
  | { readonly kind: 'physical'; readonly pagemap: number; readonly pins: boolean }
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
  readonly reset: { readonly fd: number; readonly vfio: boolean } | undefined;
  /** VFIO's descriptor of the device; undefined on the other paths. */
  readonly device: number | undefined;
  /** Where the kernel tells of devices that go. */
  readonly uevents: number;
  /** Everything that was opened, in this order. */
  readonly descriptors: readonly number[];
  /** One word, 1 once the descriptors are closed: by the engine, or by the main thread when there is none. */
  readonly closed: SharedArrayBuffer;
}

/**
 * Turns bus mastering off. True when the device does no DMA any more: it said so, or does not answer at all, or uio_pci_generic has stopped it, as it does before
 * the function's files go.
 */
export function stopDevice({ config: { fd, offset }, path }: PciHandle): boolean {
  const word = Buffer.alloc(2);
  try {
    word.writeUInt16LE(Command.intxDisable);
    writeSync(fd, word, 0, 2, offset + Header.command);
    readSync(fd, word, 0, 2, offset + Header.command);
    const command = word.readUInt16LE();
    return command === NO_DEVICE || (command & Command.busMaster) === 0;
  } catch {
    return path === 'uio';
  }
}

/** For a function that no engine has any more, whatever became of it: stopped and closed. */
export function abandonHandle(handle: PciHandle): void {
  if (Atomics.load(new Int32Array(handle.closed), 0) === 0) stopDevice(handle);
  closeHandle(handle);
}

/**
 * Closes what was opened, last first, once, whichever thread comes first. `mayHang`: the device may not answer any more, and then the kernel waits up to a minute
 * for its reset when VFIO's descriptor is closed: another thread does that.
 */
export function closeHandle({ descriptors, closed, config, device }: PciHandle, mayHang = false): void {
  if (Atomics.exchange(new Int32Array(closed), 0, 1) === 1) return;
  attempt(() => deviceAddon().leaveAtEnd(config.fd));
  const user = process.getuid?.() ?? 0;
  for (const fd of descriptors.toReversed()) attempt(() => (mayHang && fd === device ? shm().closeElsewhere(fd, user) : shm().close(fd)));
}
