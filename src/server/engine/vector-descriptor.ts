/**
 * Event descriptors that clients pass for their vectors (R10). They are checked to be eventfds and nothing else, and from then on only the thread of the addon
 * that raises them touches them: neither the engine nor the event loop reads, writes or closes what a client holds as well.
 */
import { shm } from '../../native/shm.js';
import { MAX_COALESCING_EVENTS, MAX_COALESCING_MICROSECONDS } from '../../protocol/index.js';
import { Refusal, type Coalescing } from './api.js';

/** Code of the addon for a descriptor that is not an eventfd. */
const NOT_AN_EVENTFD = 'EINVAL';

/** Takes `fd` of user `owner` over, whatever comes of it, and returns the id of a signal. @throws Refusal */
export function takeDescriptor(fd: number, coalescing: Coalescing, owner: number): number {
  try {
    const { microseconds, events } = checkCoalescing(coalescing);
    return shm().signalBind(fd, microseconds, events);
  } catch (error) {
    // Somebody's file system may be behind it, and take for ever.
    shm().closeElsewhere(fd, owner);
    if (error instanceof Refusal) throw error;
    throw new Refusal((error as NodeJS.ErrnoException).code === NOT_AN_EVENTFD ? 'notAnEventfd' : 'noSignal', 'fd');
  }
}

/** @throws Refusal `outOfRange` */
export function checkCoalescing({ microseconds, events }: Coalescing): Coalescing {
  if (!isWhole(microseconds, MAX_COALESCING_MICROSECONDS)) throw new Refusal('outOfRange', 'microseconds', microseconds);
  // Without a time the last ones would wait for company that may never come.
  if (!isWhole(events, microseconds === 0 ? 0 : MAX_COALESCING_EVENTS)) throw new Refusal('outOfRange', 'events', events);
  return { microseconds, events };
}

const isWhole = (value: number, most: number): boolean => Number.isSafeInteger(value) && value >= 0 && value <= most;
