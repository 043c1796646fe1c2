/** Memory that a client maps: shareQueue, shareRegion, sealRegion. */
import { Refusal } from '../../engine/api.js';
import { type Gift, QueueFiles, type Visit } from '../../handover/index.js';
import { shm } from '../../../native/shm.js';
import type { SessionLease } from '../lease.js';
import type { SessionQueue } from '../queue.js';
import type { Session } from '../session.js';
import type { Handler } from './handler.js';
import { checkPeer, isPrivileged, issue } from './tickets.js';

export const shareQueue: Handler<'shareQueue'> = {
  needs: 'lease',
  isNewWork: true,
  handle(session, { lease: handle, queue: index }) {
    checkPeer(session);
    const lease = session.lease(handle);
    const queue = lease.queue(index);
    if (queue.files !== undefined || queue.used) throw new Refusal('notFresh', 'queue', index);
    const info = issue(session, (visit) => giveRings(session, lease, queue, visit));
    queue.offered = true;
    return info;
  },
};

/** Makes the rings, moves the engine's end of the queue to them, and seals what the client must not write. The connection is the doorbell. */
async function giveRings(session: Session, lease: SessionLease, queue: SessionQueue, visit: Visit): Promise<Gift> {
  if (lease.closing || queue.closing) throw new Refusal('unknownQueue', 'queue', queue.index);
  if (queue.files !== undefined) throw new Refusal('notFresh', 'queue', queue.index);
  const doorbell = visit.keep();
  let files: QueueFiles | undefined;
  try {
    // Where the kernel can keep descriptors off the doorbell, it does.
    shm().refuseDescriptors(doorbell);
    files = new QueueFiles(queue.channel.entries, isPrivileged(visit.recipient.uid));
    // From now on the end of the queue is the end of the files, too.
    queue.files = files;
    await lease.engine.shareQueue(lease.handle, queue.index, { requests: files.requests, completions: files.completions, doorbell });
  } catch (error) {
    shm().closeConnection(doorbell, true);
    queue.files = undefined;
    files?.revoke(true);
    throw error;
  }
  const completions = files.seal();
  const { handedOver } = session.services;
  handedOver.add(files.requests, lease.describeFile('request ring', queue));
  handedOver.add(completions, lease.describeFile('completion ring', queue));
  return { descriptors: [files.requests, completions], done: () => shm().close(completions) };
}

export const shareRegion: Handler<'shareRegion'> = {
  needs: 'domain',
  isNewWork: true,
  async handle(session, { region: handle }) {
    checkPeer(session);
    const domain = session.mustHaveDomain();
    await domain.offer(handle);
    return issue(session, () => {
      const region = domain.region(handle);
      const fd = region.handOver();
      session.services.handedOver.add(fd, {
        describe: () => ({
          what: 'region',
          tenant: domain.tenant,
          leases: session.services.leases.ofDomain(domain),
          domain: domain.number,
          region: handle,
        }),
        inUse: () => !region.freed,
      });
      return { descriptors: [fd], done: () => undefined };
    });
  },
};

export const sealRegion: Handler<'sealRegion'> = {
  needs: 'domain',
  isNewWork: false,
  async handle(session, { region }) {
    await session.mustHaveDomain().seal(region);
    return {};
  },
};
