/** Makes the shared memory of one queue: a region for its data, its rings, and who looks at them. */
import { shm } from '../native/shm.js';
import type { LeaseInfo, QueueInfo } from '../protocol/index.js';
import { readNothing, readRegion, readTicket } from './answers.js';
import { fetchDescriptors, mapRegion } from './handover.js';
import { Reaper } from './reaper.js';
import { SharedRing } from './shared-ring.js';
import type { Session } from './session.js';
import { StagingMemory } from './staging-memory.js';

/** What a device needs to work through shared memory. */
export interface SharedParts {
  readonly ring: SharedRing;
  readonly reaper: Reaper;
  readonly staging: StagingMemory;
  /** Gives the region back to the server; the rings go with their queue. */
  readonly giveBack: () => void;
}

/** Whether the addon is there. */
export function addonMissing(): string | undefined {
  try {
    shm();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Rejects with what the server said, or `noHandover`; then nothing is kept, but the queue may be of no use any more. */
export async function shareMemory(session: Session, lease: LeaseInfo, queue: QueueInfo): Promise<SharedParts> {
  const context = `open ${lease.device}`;
  // First of all: a server that hands over nothing says so here, before anything was taken.
  const ticket = await session.calls.call('shareQueue', { lease: lease.lease, queue: queue.queue }, readTicket);
  const region = await session.calls.call('mapMemory', { bytes: session.staging.total }, readRegion);
  const giveBack = (): void => void session.calls.call('unmapMemory', { region: region.region }, readNothing).catch(() => undefined);
  let buffer: ArrayBuffer | undefined;
  try {
    buffer = await mapRegion(session, context, region);
    const { descriptors, connection } = await fetchDescriptors(context, ticket, 2);
    const reaper = new Reaper(connection);
    try {
      const [requests, completions] = descriptors;
      const ring = new SharedRing(queue.entries, requests, completions, reaper.ring);
      return { ring, reaper, staging: new StagingMemory(region.region, buffer), giveBack };
    } catch (error) {
      reaper.end();
      throw error;
    } finally {
      for (const fd of descriptors) shm().close(fd);
    }
  } catch (error) {
    if (buffer !== undefined) shm().unmap(buffer);
    giveBack();
    throw error;
  }
}
