import type { Backing } from '../backing.js';
import type { Clock } from '../task.js';
import { QemuBacking } from './backing.js';
import type { QemuHandle } from './handle.js';

/** The engine thread's side of `prepare` (launch.ts). One backing for each handle. */
export function openQemu(handle: QemuHandle, clock?: Clock): Backing {
  return new QemuBacking(handle, clock);
}
