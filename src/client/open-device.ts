import type { EventMessage, LeaseMode, QueueKind } from '../protocol/index.js';
import { readLease, readNothing, readQueue } from './answers.js';
import { Device } from './device.js';
import { invalidArgument, malformed } from './errors.js';
import type { SignalOption } from './region.js';
import type { LeaseOwner, Session } from './session.js';

export interface OpenOptions extends SignalOption {
  /** `exclusive`: alone on the device; `shared` (default): beside others. */
  mode?: LeaseMode | undefined;
  /** `own`: a hardware queue pair of its own, refused when none is free; `shared` (default): the server's, by credits. */
  queues?: QueueKind | undefined;
  /** Entries of the queue: a power of two from 2 up to the session's `ringEntries`. Default: 256, or that limit. */
  queueEntries?: number | undefined;
}

const DEFAULT_QUEUE_ENTRIES = 256;
const MIN_QUEUE_ENTRIES = 2;

const isPowerOfTwo = (value: number): boolean => (value & (value - 1)) === 0;

/** Keeps the events of a lease that has no queue yet. */
class Opening implements LeaseOwner {
  readonly events: EventMessage[] = [];

  event(message: EventMessage): void {
    this.events.push(message);
  }

  completed(): void {
    throw malformed('completions of a lease without a queue');
  }

  refused(): void {
    // Nothing was submitted yet.
  }

  ended(): void {
    // The calls of `openDevice` end with the connection by themselves.
  }
}

function entriesOf(device: string, asked: number | undefined, most: number): number {
  const entries = asked ?? Math.min(DEFAULT_QUEUE_ENTRIES, most);
  if (Number.isInteger(entries) && entries >= MIN_QUEUE_ENTRIES && entries <= most && isPowerOfTwo(entries)) return entries;
  throw invalidArgument(`open ${device}`, 'queueEntries', entries, `a power of two from ${MIN_QUEUE_ENTRIES} to ${most}`);
}

/** Opens a lease and its queue; gives the lease back when anything of it fails, or when the signal is aborted. */
export async function openDevice(session: Session, name: string, options: OpenOptions): Promise<Device> {
  const { mode = 'shared', queues = 'shared', signal } = options;
  const entries = entriesOf(name, options.queueEntries, session.info.limits.ringEntries);
  const opening = new Opening();
  const giveBack = (lease: number): void => {
    session.calls.call('closeDevice', { lease }, readNothing).then(
      () => session.forget(lease),
      () => session.forget(lease),
    );
  };
  await session.domain(signal);
  const opened = await session.calls.call(
    'openDevice',
    { device: name, mode, queues },
    (answer) => {
      const info = readLease(answer);
      session.own(info.lease, opening);
      return info;
    },
    { signal, undo: ({ lease }) => giveBack(lease) },
  );
  try {
    return await session.calls.call(
      'openQueue',
      { lease: opened.lease, entries },
      (answer) => {
        const device = new Device(session, opened, readQueue(answer));
        session.own(opened.lease, device);
        for (const message of opening.events) device.event(message);
        return device;
      },
      { signal },
    );
  } catch (error) {
    giveBack(opened.lease);
    throw error;
  }
}
