/** The worlds that a device can be in, by name: the one place that knows them all. */
import type { Backing, PreparedBacking } from './backing.js';
import { openEmulated, prepareEmulated, type EmulatedHandle, type EmulatedOptions } from './emulated/index.js';
import { openQemu, prepare as prepareQemu, type QemuHandle, type QemuOptions } from './qemu/index.js';

export type BackingOptions = ({ readonly kind: 'emulated' } & EmulatedOptions) | ({ readonly kind: 'qemu' } & QemuOptions);

/** What the engine thread is given. */
export interface BackingHandle {
  readonly kind: string;
  readonly handle: unknown;
}

/** Main thread: starts what the backing needs. @throws HardwareError */
export async function prepareBacking(options: BackingOptions): Promise<PreparedBacking<BackingHandle>> {
  const prepared = options.kind === 'qemu' ? await prepareQemu(options) : await prepareEmulated(options);
  return { handle: { kind: options.kind, handle: prepared.handle }, ended: prepared.ended, dispose: () => prepared.dispose() };
}

/** Engine thread: the backing itself. @throws HardwareError */
export function openBacking({ kind, handle }: BackingHandle): Backing {
  return kind === 'qemu' ? openQemu(handle as QemuHandle) : openEmulated(handle as EmulatedHandle);
}
