/** Memory that a client maps: shareQueue, shareRegion, sealRegion. */
import { Refusal } from '../../engine/api.js';
import { type Gift, type Offer, QueueFiles, type Recipient } from '../../handover/index.js';
import { shm } from '../../../native/shm.js';
import type { TicketInfo } from '../../../protocol/index.js';
import type { SessionLease } from '../lease.js';
import type { SessionQueue } from '../queue.js';
import type { Session } from '../session.js';
import type { Handler } from './handler.js';

/** Whether this session is told of memory at all. @throws {@link Refusal} `noHandover`, `overflowUser`. */
function checkPeer({ peer, services }: Session): void {
  if (peer.transport !== 'unix' || services.tickets.path === undefined) throw new Refusal('noHandover', 'type', peer.transport);
  if (peer.uid === services.overflowUid) throw new Refusal('overflowUser', '', peer.uid);
}

function issue(session: Session, give: Offer['give']): TicketInfo {
  const { tickets } = session.services;
  const { path } = tickets;
  if (path === undefined) throw new Refusal('noHandover');
  return { ticket: tickets.issue(session, { admits: (recipient) => isSameTenant(session, recipient), give }), path };
}

/** The second connection proves by itself that it is of the same tenant: as the session's user, if a token proved that one, or as a user of the tenant. */
function isSameTenant(session: Session, recipient: Recipient): boolean {
  const { peer, services } = session;
  if (session.ended || recipient.uid === services.overflowUid) return false;
  if (session.credentials.token !== undefined) return recipient.uid === peer.uid;
  return services.directory().authenticate({ peer: recipient, tenant: session.tenantName }) !== undefined;
}

/** Users that could undo what is done to a file, or do the same to this process. */
const isPrivileged = ({ uid }: Recipient): boolean => uid === 0 || uid === process.getuid?.();

export const shareQueue: Handler<'shareQueue'> = {
  needs: 'lease',
  isNewWork: true,
  handle(session, { lease: handle, queue: index }) {
    checkPeer(session);
    const lease = session.lease(handle);
    const queue = lease.queue(index);
    if (queue.files !== undefined || queue.used) throw new Refusal('notFresh', 'queue', index);
    const info = issue(session, (recipient, keep) => giveRings(lease, queue, isPrivileged(recipient), keep));
    queue.offered = true;
    return info;
  },
};

/** Makes the rings, moves the engine's end of the queue to them, and seals what the client must not write. `keep` gives the doorbell. */
async function giveRings(lease: SessionLease, queue: SessionQueue, privileged: boolean, keep: () => number): Promise<Gift> {
  if (lease.closing || queue.closing) throw new Refusal('unknownQueue', 'queue', queue.index);
  if (queue.files !== undefined) throw new Refusal('notFresh', 'queue', queue.index);
  const doorbell = keep();
  let files: QueueFiles | undefined;
  try {
    files = new QueueFiles(queue.channel.entries, privileged);
    // From now on the end of the queue is the end of the files, too.
    queue.files = files;
    await lease.engine.shareQueue(lease.handle, queue.index, { requests: files.requests, completions: files.completions, doorbell });
  } catch (error) {
    shm().close(doorbell);
    queue.files = undefined;
    files?.revoke(true);
    throw error;
  }
  const completions = files.seal();
  return { descriptors: [files.requests, completions], done: () => shm().close(completions) };
}

export const shareRegion: Handler<'shareRegion'> = {
  needs: 'domain',
  isNewWork: true,
  async handle(session, { region: handle }) {
    checkPeer(session);
    const domain = session.mustHaveDomain();
    await domain.offer(handle);
    return issue(session, () => ({ descriptors: [domain.region(handle).handOver()], done: () => undefined }));
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
