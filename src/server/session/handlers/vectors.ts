/** Interrupt vectors of a lease: told to the session, to an event descriptor, or to both. */
import { shm } from '../../../native/shm.js';
import { type Coalescing, Refusal } from '../../engine/api.js';
import { checkCoalescing } from '../../engine/vector-descriptor.js';
import type { Gift, Visit } from '../../handover/index.js';
import type { SessionLease } from '../lease.js';
import type { Session } from '../session.js';
import type { Handler } from './handler.js';
import { checkPeer, issue } from './tickets.js';

/** @throws {@link Refusal} `unknownLease`, `unknownVector`. */
function leaseWith(session: Session, handle: number, vector: number): SessionLease {
  const lease = session.lease(handle);
  if (vector >= lease.vectors) throw new Refusal('unknownVector', 'vector', vector);
  return lease;
}

export const bindVector: Handler<'bindVector'> = {
  needs: 'lease',
  isNewWork: false,
  async handle(session, { lease: handle, vector, enable }) {
    const lease = leaseWith(session, handle, vector);
    // Bound before the engine may tell of it, and until the engine agreed to tell no more.
    if (enable) lease.boundVectors.add(vector);
    await lease.engine.bindVector(handle, vector, enable);
    if (!enable) lease.boundVectors.delete(vector);
    return {};
  },
};

export const bindEventfd: Handler<'bindEventfd'> = {
  needs: 'lease',
  isNewWork: false,
  handle(session, { lease: handle, vector, source, microseconds = 0, events = 0 }) {
    checkPeer(session);
    const lease = leaseWith(session, handle, vector);
    const coalescing = checkCoalescing({ microseconds, events });
    return issue(session, (visit) => (source === 'client' ? takeEventfd(lease, vector, coalescing, visit) : giveEventfd(lease, vector, coalescing)));
  },
};

/** Binds the descriptor that came with the ticket. From here on it is the engine's, whatever it is. */
async function takeEventfd(lease: SessionLease, vector: number, coalescing: Coalescing, visit: Visit): Promise<Gift> {
  checkOpen(lease);
  await lease.engine.bindVectorDescriptor(lease.handle, vector, visit.takeDescriptor(), coalescing, visit.recipient.uid);
  return { descriptors: [], done: () => undefined };
}

/** Makes an event descriptor, binds it, and hands it over: the client then holds it as well, as it would one of its own. */
async function giveEventfd(lease: SessionLease, vector: number, coalescing: Coalescing): Promise<Gift> {
  checkOpen(lease);
  const fd = shm().eventfd();
  const done = (): void => shm().close(fd);
  try {
    await lease.engine.bindVectorDescriptor(lease.handle, vector, shm().duplicate(fd), coalescing);
    return { descriptors: [fd], done };
  } catch (error) {
    done();
    throw error;
  }
}

function checkOpen(lease: SessionLease): void {
  if (lease.closing) throw new Refusal('unknownLease', 'lease', lease.handle);
}

export const unbindEventfd: Handler<'unbindEventfd'> = {
  needs: 'lease',
  isNewWork: false,
  async handle(session, { lease: handle, vector }) {
    await leaseWith(session, handle, vector).engine.bindVectorDescriptor(handle, vector, -1);
    return {};
  },
};

export const vectorState: Handler<'vectorState'> = {
  needs: 'lease',
  isNewWork: false,
  async handle(session, { lease: handle, vector }) {
    return { ...(await leaseWith(session, handle, vector).engine.vectorState(handle, vector)) };
  },
};
