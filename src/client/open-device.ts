import type { LeaseInfo, LeaseMode, QueueInfo, QueueKind } from '../protocol/index.js';
import { readLease, readNothing, readQueue } from './answers.js';
import { Device, depthOf } from './device.js';
import { ConnectionError, invalidArgument, RefusedError, RingwardenError } from './errors.js';
import { handoverFailed } from './handover.js';
import { Opening } from './opening.js';
import type { PollMode } from './reaper.js';
import type { SignalOption } from './region.js';
import { RingCarrier } from './ring-carrier.js';
import type { Session, Transport } from './session.js';
import { addonMissing, shareMemory, type SharedParts } from './shared-transport.js';
import { SocketCarrier } from './socket-carrier.js';

export interface OpenOptions extends SignalOption {
  /** `exclusive`: alone on the device; `shared` (default): beside others. */
  mode?: LeaseMode | undefined;
  /** `own`: a hardware queue pair of its own, refused when none is free; `shared` (default): the server's, by credits. */
  queues?: QueueKind | undefined;
  /** Entries of the queue: a power of two from 2 up to the session's `ringEntries`. Default: 256, or that limit. */
  queueEntries?: number | undefined;
  /** How requests and data travel; see `ConnectOptions`. Default: as the connection was made. */
  transport?: Transport | undefined;
  /**
   * How completions in shared memory are waited for: `adaptive` (default) looks for a moment, then sleeps until the server wakes it; `busy` looks all the time
   * while something is in flight, which takes a processor; `sleep` never looks before it is woken, which takes none.
   */
  poll?: PollMode | undefined;
  /** With `own` queues: the hardware's rings can be looked at, see `Device.hardwareRing`. They take memory of the tenant's limit. */
  ringView?: boolean | undefined;
}

const TRANSPORTS: readonly Transport[] = ['auto', 'socket', 'shm'];
const POLL_MODES: readonly PollMode[] = ['adaptive', 'busy', 'sleep'];

export function transportOf(context: string, asked: Transport | undefined, otherwise: Transport): Transport {
  const transport = asked ?? otherwise;
  if (TRANSPORTS.includes(transport)) return transport;
  throw invalidArgument(context, 'transport', transport, `one of ${TRANSPORTS.join(', ')}`);
}

const DEFAULT_QUEUE_ENTRIES = 256;
const MIN_QUEUE_ENTRIES = 2;

const isPowerOfTwo = (value: number): boolean => (value & (value - 1)) === 0;

function entriesOf(device: string, asked: number | undefined, most: number): number {
  const entries = asked ?? Math.min(DEFAULT_QUEUE_ENTRIES, most);
  if (Number.isInteger(entries) && entries >= MIN_QUEUE_ENTRIES && entries <= most && isPowerOfTwo(entries)) return entries;
  throw invalidArgument(`open ${device}`, 'queueEntries', entries, `a power of two from ${MIN_QUEUE_ENTRIES} to ${most}`);
}

function giveBack(session: Session, lease: number): void {
  session.calls.call('closeDevice', { lease }, readNothing).then(
    () => session.forget(lease),
    () => session.forget(lease),
  );
}

async function openLease(session: Session, device: string, { mode = 'shared', queues = 'shared', ringView, signal }: OpenOptions): Promise<Opening> {
  await session.domain(signal);
  return session.calls.call(
    'openDevice',
    { device, mode, queues, ...(ringView === true ? { ringViews: true } : {}) },
    (answer) => {
      const opening = new Opening(readLease(answer));
      session.own(opening.info.lease, opening);
      return opening;
    },
    { signal, undo: ({ info }) => giveBack(session, info.lease) },
  );
}

/** Opens a lease, unless the launcher has, and its queue; gives the lease back when anything of it fails, or when the signal is aborted. */
export async function openDevice(session: Session, name: string, options: OpenOptions): Promise<Device> {
  const { poll = 'adaptive', signal } = options;
  const transport = transportOf(`open ${name}`, options.transport, session.transport);
  if (!POLL_MODES.includes(poll)) throw invalidArgument(`open ${name}`, 'poll', poll, `one of ${POLL_MODES.join(', ')}`);
  const entries = entriesOf(name, options.queueEntries, session.info.limits.ringEntries);
  signal?.throwIfAborted();
  const opening = session.takeLaunched(name, options) ?? (await openLease(session, name, options));
  const opened = opening.info;
  const openQueue = (): Promise<QueueInfo> => session.calls.call('openQueue', { lease: opened.lease, entries }, readQueue, { signal });
  const begin = (device: Device): Device => {
    session.own(opened.lease, device);
    const { end } = session.link;
    if (end !== undefined) device.ended(end);
    else if (signal?.aborted === true) device.ended(new RefusedError('closed', `open ${name}: given up`));
    signal?.throwIfAborted();
    if (end !== undefined) throw end;
    for (const message of opening.events) device.event(message);
    return device;
  };
  try {
    let queue = await openQueue();
    if (transport === 'shm' || (transport === 'auto' && session.noSharedMemory === undefined)) {
      const parts = await sharedParts(session, opened, queue, transport);
      if (typeof parts !== 'string') return begin(sharedDevice(session, opened, queue, poll, parts));
      if (parts === 'spoiled') {
        // Its rings were asked for: it takes no messages any more.
        await session.calls.call('closeQueue', { lease: opened.lease, queue: queue.queue }, readNothing, { signal });
        queue = await openQueue();
      }
    }
    return begin(socketDevice(session, opened, queue));
  } catch (error) {
    giveBack(session, opened.lease);
    throw error;
  }
}

/** A text: there is no shared memory here, and `auto` does without; whether the queue is still good for messages. */
async function sharedParts(
  session: Session,
  lease: LeaseInfo,
  queue: QueueInfo,
  transport: Transport,
): Promise<SharedParts | 'untouched' | 'spoiled'> {
  session.noSharedMemory ??= addonMissing();
  try {
    if (session.noSharedMemory !== undefined) throw handoverFailed(`open ${lease.device}`, session.noSharedMemory);
    return await shareMemory(session, lease, queue);
  } catch (error) {
    if (transport === 'shm' || !(error instanceof RingwardenError) || error instanceof ConnectionError) throw error;
    if (error.code === 'noHandover') session.noSharedMemory ??= error.message;
    return error.code === 'noHandover' && error.number !== 0 ? 'untouched' : 'spoiled';
  }
}

function socketDevice(session: Session, lease: LeaseInfo, queue: QueueInfo): Device {
  const { link, staging } = session;
  const { limits } = session.info;
  const carrier = new SocketCarrier({ link, staging, limits, lease: lease.lease, queue: queue.queue, depth: depthOf(lease, queue) });
  return new Device(session, lease, queue, 'socket', carrier);
}

function sharedDevice(session: Session, lease: LeaseInfo, queue: QueueInfo, mode: PollMode, parts: SharedParts): Device {
  const { ring, reaper, staging, giveBack } = parts;
  const carrier = new RingCarrier({
    ring,
    staging,
    depth: depthOf(lease, queue),
    outlives: lease.queues === 'shared',
    onSent: reaper.start,
    onRevoked: () => device.ringRevoked(),
    onEnd: () => {
      reaper.end();
      giveBack();
    },
  });
  const device = new Device(session, lease, queue, 'shm', carrier);
  reaper.attach(ring, { mode, reap: () => device.reap(), inFlight: () => device.inFlight });
  return device;
}
