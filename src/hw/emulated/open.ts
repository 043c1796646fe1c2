/** The engine thread's part. */
import { HardwareError } from '../task.js';
import { EmulatedBacking } from './backing.js';
import type { EmulatedHandle } from './handle.js';
import { RemoteLink } from './remote.js';
import { Shared, Word } from './shared.js';
import { SteppedLink } from './stepped.js';

/** @throws HardwareError `busy` while another backing is open on the same handle. */
export function openEmulated(handle: EmulatedHandle): EmulatedBacking {
  const { words } = new Shared(handle.shared);
  if (Atomics.compareExchange(words, Word.opened, 0, 1) !== 0) throw new HardwareError('busy', 'the backing is open already');
  try {
    return new EmulatedBacking(handle, handle.shape.mode === 'stepped' ? new SteppedLink(handle) : new RemoteLink(handle));
  } catch (error) {
    Atomics.store(words, Word.opened, 0);
    throw error;
  }
}
