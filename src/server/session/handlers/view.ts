/** The hardware's rings, to read: viewQueue. */
import { shm } from '../../../native/shm.js';
import type { RingInfo } from '../../../protocol/index.js';
import { type HardwareView, Refusal, type ShownRing } from '../../engine/api.js';
import type { Gift, Visit } from '../../handover/index.js';
import type { SessionLease } from '../lease.js';
import type { SessionQueue } from '../queue.js';
import type { Session } from '../session.js';
import type { Handler } from './handler.js';
import { checkPeer, isPrivileged, issue } from './tickets.js';

export const viewQueue: Handler<'viewQueue'> = {
  needs: 'lease',
  isNewWork: true,
  async handle(session, { lease: handle, queue: index }) {
    checkPeer(session);
    const lease = session.lease(handle);
    const queue = lease.queue(index);
    // What there is to see is known now, and a "no" has its reason; the descriptors are made again when somebody comes for them.
    const view = await lease.engine.hardwareView(handle, index);
    closeView(view);
    const ticket = issue(session, (visit) => giveView(session, lease, queue, view.generation, visit));
    return { ...ticket, generation: view.generation, submission: ringInfo(view.submission), completion: ringInfo(view.completion) };
  },
};

async function giveView(session: Session, lease: SessionLease, queue: SessionQueue, generation: number, { recipient }: Visit): Promise<Gift> {
  if (lease.closing || queue.closing) throw new Refusal('unknownQueue', 'queue', queue.index);
  // Files that are cut short at their end are not for those who could cut them short themselves, and the server with them.
  if (isPrivileged(recipient.uid) && lease.ringViews !== 'orphaned') throw new Refusal('noRingView', 'queue', queue.index);
  const view = await lease.engine.hardwareView(lease.handle, queue.index);
  if (view.generation !== generation) {
    closeView(view);
    throw new Refusal('staleGeneration', 'generation', view.generation);
  }
  const inUse = (): boolean => lease.generation === generation;
  const { handedOver } = session.services;
  handedOver.add(view.submission.fd, lease.describeFile('submission queue, a mirror', queue, inUse));
  handedOver.add(view.completion.fd, lease.describeFile('completion queue of the hardware', queue, inUse));
  return { descriptors: [view.submission.fd, view.completion.fd], done: () => closeView(view) };
}

function closeView({ submission, completion }: HardwareView): void {
  shm().close(submission.fd);
  shm().close(completion.fd);
}

const ringInfo = ({ entries, entryBytes, bytes }: ShownRing): RingInfo => ({ entries, entryBytes, bytes });
