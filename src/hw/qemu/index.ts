/** The NVMe controller of a QEMU: a device model that nobody here wrote, for tests, comparison and demonstration. */
import type { Backing } from '../backing.js';
import type { Clock } from '../task.js';
import { QemuBacking } from './backing.js';
import type { QemuHandle } from './handle.js';

export type { QemuHandle } from './handle.js';
export { prepare } from './launch.js';
export type { InjectedError, QemuDrive, QemuOptions } from './options.js';

/** The engine thread's side of {@link prepare}. One backing for each handle. */
export function openQemu(handle: QemuHandle, clock?: Clock): Backing {
  return new QemuBacking(handle, clock);
}
