/** Devices, leases and queues. */
import type { ShownEnd } from '../../../hw/dma/index.js';
import { type QueueKind, RING_VERSION, completionRingBytes, requestRingBytes } from '../../../protocol/index.js';
import { type EngineHost, type OpenLease, type OpenedLease, Refusal } from '../../engine/api.js';
import type { DeviceGrant } from '../../policy.js';
import { messageOf } from '../../text.js';
import { describeDevice, describeLease } from '../describe.js';
import { SessionLease } from '../lease.js';
import { reconcileLease } from '../policy.js';
import type { Session } from '../session.js';
import { type Handler, LATER } from './handler.js';
import { checkPeer, isPrivileged } from './tickets.js';

/** The device and what the tenant may do with it. A device that is not granted cannot be told from one that does not exist. */
function granted(session: Session, device: string): { engine: EngineHost; grant: DeviceGrant } {
  const grant = session.tenant.grants.get(device);
  const engine = session.services.engines.get(device);
  if (grant === undefined || engine === undefined) throw new Refusal('unknownDevice', 'device', device.slice(0, 32));
  return { engine, grant };
}

export const listDevices: Handler<'listDevices'> = {
  needs: 'nothing',
  isNewWork: false,
  async handle(session) {
    const { tenant, services } = session;
    const known = [...tenant.grants.values()].flatMap((grant) => {
      const engine = services.engines.get(grant.device);
      return engine === undefined ? [] : [describeDevice(engine, grant, tenant.name)];
    });
    const devices = await Promise.all(known);
    for (const { name, free } of devices) if (!free) session.waits.watch(name);
    return { devices };
  },
};

export const deviceState: Handler<'deviceState'> = {
  needs: 'nothing',
  isNewWork: false,
  async handle(session, { id, device, wait }) {
    const { engine, grant } = granted(session, device);
    // Before the question, so that the event cannot fall between the two.
    if (wait === true) session.waits.add(id, device);
    try {
      const info = await describeDevice(engine, grant, session.tenant.name);
      if (!info.free) session.waits.watch(device);
      if (wait !== true) return info;
      return info.free && session.waits.remove(id) ? info : LATER;
    } catch (error) {
      session.waits.remove(id);
      throw error;
    }
  },
};

export const openDevice: Handler<'openDevice'> = {
  needs: 'domain',
  isNewWork: true,
  async handle(session, { device, mode, queues, ringViews: asksForViews }) {
    const { engine, grant } = granted(session, device);
    const { tenant, services } = session;
    const { limits } = tenant;
    const domain = session.mustHaveDomain();
    if (!grant.modes.includes(mode)) throw new Refusal('notInGrant', 'mode', mode);
    if (!grant.queues.includes(queues)) throw new Refusal('notInGrant', 'queues', queues);
    const ringViews = asksForViews === true ? endOfViews(session, queues) : undefined;
    if (session.leases.size >= limits.leases) throw new Refusal('leaseLimit', 'device', session.leases.size);
    const opened = await openLease(session, engine, device, {
      tenant: tenant.index,
      tenantName: tenant.name,
      weight: tenant.weight,
      rates: tenant.rates,
      session: session.number,
      domain: domain.number,
      mode,
      queues,
      ringViews,
      shares: grant.shares,
      maxInFlight: limits.inFlight,
      maxQueues: limits.queuesPerLease,
    });
    if (session.leases.has(opened.lease)) {
      await engine.closeLease(opened.lease, 'its handle is in use');
      session.log.error('two devices gave out the same lease handle', { session: session.number, device, lease: opened.lease });
      throw new Refusal('deviceUnavailable', 'device', device);
    }
    domain.join();
    const onClosed = (): void => {
      session.leases.delete(lease.handle);
      services.leases.remove(lease);
      session.onRoom();
    };
    const lease: SessionLease = new SessionLease({
      opened,
      engine,
      domain,
      mode,
      queueKind: queues,
      shares: grant.shares,
      ringViews,
      maxQueues: limits.queuesPerLease,
      holder: session,
      onClosed,
    });
    session.leases.set(lease.handle, lease);
    services.leases.add(lease);
    try {
      await lease.attachDomain();
      // The configuration may have been loaded anew in the meantime.
      if (lease.closing || !(await reconcileLease(lease, session.tenant.grants.get(device)))) throw new Refusal('notInGrant', 'device', device);
    } catch (error) {
      await lease.close('it could not be made ready');
      if (error instanceof Refusal) throw error;
      session.log.error('a lease could not be made ready', { session: session.number, device, error: messageOf(error) });
      throw new Refusal('deviceUnavailable', 'device', device);
    }
    lease.announced = true;
    return describeLease(lease, device, limits.inFlight, opened.maxBlocks);
  },
};

/** How the views of the hardware's rings end for this peer. @throws {@link Refusal} `noHandover`, `overflowUser`, `viewsNeedOwn`. */
function endOfViews(session: Session, queues: QueueKind): ShownEnd {
  checkPeer(session);
  if (queues !== 'own') throw new Refusal('viewsNeedOwn', 'ringViews', queues);
  return isPrivileged(session.peer.uid) ? 'orphaned' : 'truncated';
}

async function openLease(session: Session, engine: EngineHost, device: string, request: OpenLease): Promise<OpenedLease> {
  try {
    return await engine.openLease(request);
  } catch (error) {
    if (error instanceof Refusal && (error.code === 'deviceBusy' || error.code === 'notFree')) session.waits.watch(device);
    if (error instanceof Error && error.name === 'HardwareError') throw new Refusal('deviceUnavailable', 'device', device);
    throw error;
  }
}

export const closeDevice: Handler<'closeDevice'> = {
  needs: 'lease',
  isNewWork: false,
  async handle(session, { lease }) {
    await session.lease(lease).close('closed by the client');
    return {};
  },
};

export const openQueue: Handler<'openQueue'> = {
  needs: 'lease',
  isNewWork: true,
  async handle(session, { lease: handle, entries }) {
    const lease = session.lease(handle);
    if (entries > session.tenant.limits.ringEntries) throw new Refusal('outOfRange', 'entries', entries);
    const { queue, vector, hardware } = await lease.openQueue(entries, session.nextQueueKey(), session.tenant.limits.pinBytes);
    return {
      queue,
      entries,
      ringVersion: RING_VERSION,
      requestBytes: requestRingBytes(entries),
      completionBytes: completionRingBytes(entries),
      vector,
      hardware,
    };
  },
};

export const closeQueue: Handler<'closeQueue'> = {
  needs: 'lease',
  isNewWork: false,
  async handle(session, { lease, queue }) {
    await session.lease(lease).closeQueue(queue);
    return {};
  },
};

export const resetLease: Handler<'resetLease'> = {
  needs: 'lease',
  isNewWork: false,
  async handle(session, { lease: handle }) {
    const lease = session.lease(handle);
    const generation = await lease.engine.resetLease(handle);
    lease.generation = generation;
    // What the reset ended comes before the answer to it.
    lease.deliver();
    return { generation };
  },
};
