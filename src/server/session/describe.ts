/** What a tenant is told of devices and leases. Nothing of where its blocks lie, nor of who else is there. */
import {
  type DeviceInfo,
  type LeaseInfo,
  MAX_BLOCKS,
  MAX_BATCH,
  MAX_MESSAGE_BYTES,
  OPERATIONS,
  type OperationName,
  Right,
  type SessionLimits,
  type ShareInfo,
} from '../../protocol/index.js';
import type { DeviceFacts, DeviceReport, EngineHost, ShareGrant } from '../engine/api.js';
import type { DeviceGrant, Tenant } from '../policy.js';
import type { SessionLease } from './lease.js';

/** `maxBlocks` of a lease where there is one; otherwise what the device can do. */
function describeShares(shares: readonly ShareGrant[], facts: DeviceFacts, maxBlocks?: readonly number[]): ShareInfo[] {
  return shares.map((share, index) => {
    const blockBytes = facts.namespaces.find(({ id }) => id === share.namespace)?.blockBytes ?? 0;
    const most = blockBytes > 0 ? Math.min(MAX_BLOCKS, Math.floor(facts.maxTransferBytes / blockBytes)) : 0;
    const access: ('read' | 'write')[] = [];
    if ((share.access & Right.read) !== 0) access.push('read');
    if ((share.access & Right.write) !== 0) access.push('write');
    const operations: OperationName[] = [];
    OPERATIONS.forEach(({ name }, operation) => {
      if (name !== 'none' && (share.operations & (1 << operation)) !== 0) operations.push(name);
    });
    return { index, name: share.name, blocks: share.blocks, blockBytes, access, operations, maxBlocks: maxBlocks?.[index] ?? most };
  });
}

/** Why the device is not free, without a word about other tenants but that there are some. */
function describeHolders(report: DeviceReport, tenant: string): string[] {
  if (report.free) return [];
  const words = report.leases.filter((lease) => lease.tenant === tenant).map((lease) => `lease ${lease.lease} of this tenant`);
  if (report.leases.some((lease) => lease.tenant !== tenant)) words.push('another tenant');
  if (report.quarantineBytes > 0) words.push('memory in quarantine');
  return words.length > 0 ? words : ['the server itself'];
}

export async function describeDevice(engine: EngineHost, grant: DeviceGrant, tenant: string): Promise<DeviceInfo> {
  const report = await engine.report();
  return {
    name: grant.device,
    class: engine.facts.class,
    state: report.state,
    free: report.free,
    heldBy: describeHolders(report, tenant),
    shares: describeShares(grant.shares, engine.facts),
  };
}

export function describeLease(lease: SessionLease, device: string, maxInFlight: number, maxBlocks: readonly number[]): LeaseInfo {
  return {
    lease: lease.handle,
    generation: lease.generation,
    device,
    mode: lease.mode,
    queues: lease.queueKind,
    shares: describeShares(lease.shares, lease.engine.facts, maxBlocks),
    vectors: lease.vectors,
    maxInFlight,
  };
}

export const describeLimits = ({ limits }: Tenant): SessionLimits => ({
  messageBytes: MAX_MESSAGE_BYTES,
  batch: MAX_BATCH,
  regions: limits.regions,
  regionBytes: limits.regionBytes,
  pinBytes: limits.pinBytes,
  leases: limits.leases,
  queuesPerLease: limits.queuesPerLease,
  ringEntries: limits.ringEntries,
  stagingBytes: limits.stagingBytes,
});
