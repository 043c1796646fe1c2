import type { Backing } from '../backing.js';
import type { Clock } from '../task.js';
import { LinuxBacking } from './backing.js';
import type { PciHandle } from './handle.js';

/** The engine thread's side of `prepare`. One backing for each handle. */
export function openPci(handle: PciHandle, clock?: Clock): Backing {
  return new LinuxBacking(handle, clock);
}
