/** The worlds that a device can be in, by name: the one place that knows them all. Each is loaded when it is wanted, and of it what the thread needs. */
import type { Backing, PreparedBacking } from './backing.js';
import type { EmulatedHandle, EmulatedOptions } from './emulated/index.js';
import type { PciHandle, PciOptions } from './linux/index.js';
import type { QemuHandle, QemuOptions } from './qemu/index.js';

export type BackingOptions =
  | ({ readonly kind: 'emulated' } & EmulatedOptions)
  | ({ readonly kind: 'qemu' } & QemuOptions)
  | ({ readonly kind: 'pci' } & PciOptions);

/** What the engine thread is given. */
export interface BackingHandle {
  readonly kind: string;
  readonly handle: unknown;
}

/** Main thread: starts what the backing needs. @throws HardwareError */
export async function prepareBacking(options: BackingOptions): Promise<PreparedBacking<BackingHandle>> {
  const { kind } = options;
  const prepared = await (kind === 'qemu' ? prepareQemu(options) : kind === 'pci' ? preparePci(options) : prepareEmulated(options));
  return { handle: { kind, handle: prepared.handle }, ended: prepared.ended, dispose: () => prepared.dispose() };
}

async function prepareEmulated(options: EmulatedOptions): Promise<PreparedBacking<EmulatedHandle>> {
  const emulated = await import('./emulated/prepare.js');
  return emulated.prepareEmulated(options);
}

async function prepareQemu(options: QemuOptions): Promise<PreparedBacking<QemuHandle>> {
  const qemu = await import('./qemu/launch.js');
  return qemu.prepare(options);
}

async function preparePci(options: PciOptions): Promise<PreparedBacking<PciHandle>> {
  const linux = await import('./linux/prepare.js');
  return linux.prepare(options);
}

/** Engine thread: the backing itself. @throws HardwareError */
export async function openBacking({ kind, handle }: BackingHandle): Promise<Backing> {
  if (kind === 'qemu') {
    const { openQemu } = await import('./qemu/open.js');
    return openQemu(handle as QemuHandle);
  }
  if (kind === 'pci') {
    const { openPci } = await import('./linux/open.js');
    return openPci(handle as PciHandle);
  }
  const { openEmulated } = await import('./emulated/open.js');
  return openEmulated(handle as EmulatedHandle);
}
