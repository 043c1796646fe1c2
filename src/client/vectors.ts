/** Interrupt vectors of a lease on event descriptors: for programs that wait with epoll(7), or give a vector to somebody else, as to a virtual machine. */
import { shm } from '../native/shm.js';
import { MAX_COALESCING_EVENTS, MAX_COALESCING_MICROSECONDS, type VectorInfo } from '../protocol/index.js';
import { readNothing, readTicket, readVector } from './answers.js';
import { invalidArgument } from './errors.js';
import { fetchDescriptors, handoverFailed } from './handover.js';
import type { SignalOption } from './region.js';
import type { Session } from './session.js';
import { addonMissing } from './shared-transport.js';

export interface EventfdOptions extends SignalOption {
  /** An eventfd of this program; it stays this program's to close. -1: none any more. Without it the server makes one. */
  fd?: number | undefined;
  /** Signals are at least so far apart, 0 (default) to 1,000,000. */
  microseconds?: number | undefined;
  /** With `microseconds`: so many interrupts (1 to 65,535) do not wait for them. 0 (default): any number waits. */
  events?: number | undefined;
}

/** Which vector of which lease, and what it is called in errors. */
export interface VectorOf {
  readonly session: Session;
  readonly device: string;
  readonly lease: number;
  readonly vector: number;
}

/** Returns the descriptor that is signalled from now on, or -1. */
export async function bindEventfd({ session, device, lease, vector }: VectorOf, options: EventfdOptions): Promise<number> {
  const { fd, microseconds = 0, events = 0, signal } = options;
  const context = `bind vector ${vector} of ${device}`;
  checkRange(context, 'microseconds', microseconds, MAX_COALESCING_MICROSECONDS);
  checkRange(context, 'events', events, microseconds === 0 ? 0 : MAX_COALESCING_EVENTS);
  if (fd === -1) {
    await session.calls.call('unbindEventfd', { lease, vector }, readNothing, { signal });
    return -1;
  }
  if (fd !== undefined) checkRange(context, 'fd', fd, 2 ** 31 - 1);
  const missing = addonMissing();
  if (missing !== undefined) throw handoverFailed(context, missing);
  const source = fd === undefined ? 'server' : 'client';
  const ticket = await session.calls.call('bindEventfd', { lease, vector, source, microseconds, events }, readTicket, { signal });
  const { descriptors, connection } = await fetchDescriptors(context, ticket, fd === undefined ? 1 : 0, fd);
  shm().close(connection);
  return fd ?? descriptors[0];
}

export const vectorState = ({ session, lease, vector }: VectorOf, { signal }: SignalOption): Promise<VectorInfo> =>
  session.calls.call('vectorState', { lease, vector }, readVector, { signal });

function checkRange(context: string, field: string, value: number, most: number): void {
  if (!(Number.isSafeInteger(value) && value >= 0 && value <= most)) {
    throw invalidArgument(context, field, value, most === 0 ? '0, as there is no time to wait' : `a whole number from 0 to ${most}`);
  }
}
