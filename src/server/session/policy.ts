/** What becomes of leases when the configuration is loaded anew. */
import type { ShareGrant } from '../engine/api.js';
import type { DeviceGrant } from '../policy.js';
import type { SessionLease } from './lease.js';

const isSameWindow = (one: ShareGrant, other: ShareGrant): boolean =>
  one.name === other.name && one.namespace === other.namespace && one.firstBlock === other.firstBlock && one.blocks === other.blocks;

const hasSameRights = (one: ShareGrant, other: ShareGrant): boolean => one.access === other.access && one.operations === other.operations;

/**
 * The shares that a lease goes on with under a new grant: the windows that it knows, at the indices that it knows, with the rights of now. Undefined
 * when a window is gone or lies elsewhere: an index never comes to mean other blocks.
 */
export function continuedShares(
  lease: Pick<SessionLease, 'shares' | 'mode' | 'queueKind'>,
  grant: DeviceGrant | undefined,
): ShareGrant[] | undefined {
  if (grant === undefined || !grant.modes.includes(lease.mode) || !grant.queues.includes(lease.queueKind)) return undefined;
  const continued: ShareGrant[] = [];
  for (const share of lease.shares) {
    const now = grant.shares.find((candidate) => isSameWindow(candidate, share));
    if (now === undefined) return undefined;
    continued.push(now);
  }
  return continued;
}

/** Makes the engine judge the lease by the new grant. False when the grant no longer covers it: it is then without any share, and has to end. */
export async function reconcileLease(lease: SessionLease, grant: DeviceGrant | undefined): Promise<boolean> {
  const shares = continuedShares(lease, grant);
  if (shares === undefined) {
    await lease.engine.replaceGrant(lease.handle, []);
    return false;
  }
  if (!shares.every((share, index) => hasSameRights(share, lease.shares[index]))) {
    await lease.engine.replaceGrant(lease.handle, shares);
    lease.shares = shares;
  }
  return true;
}
