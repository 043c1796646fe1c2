/** From the shares of a lease to what the validator judges by, on the device as it is. */
import { MAX_BLOCKS, Right } from '../../protocol/index.js';
import type { NvmeFacts } from '../../hw/nvme/index.js';
import { Refusal, type ShareGrant } from './api.js';
import type { Lease } from './lease.js';

/** A share that does not fit its namespace has no blocks and no rights. @throws {@link Refusal} `notInGrant` for a namespace that is not there. */
export function grantOf(facts: NvmeFacts, shares: readonly ShareGrant[], maxInFlight: number): Pick<Lease, 'grant' | 'windows'> {
  const judged = shares.map((share) => {
    const namespace = facts.namespaces.find((candidate) => candidate.id === share.namespace);
    if (namespace === undefined) throw new Refusal('notInGrant', 'device', share.name);
    const fits = share.blocks <= namespace.blocks && share.firstBlock <= namespace.blocks - share.blocks;
    const { compare, writeZeroes, datasetManagement } = facts.controller;
    const unsupported = (compare ? 0 : 1 << 5) | (writeZeroes ? 0 : 1 << 4) | (datasetManagement ? 0 : 1 << 6);
    return {
      blocks: fits ? share.blocks : 0,
      blockShift: Math.log2(namespace.blockBytes),
      access: fits ? share.access : Right.none,
      operations: share.operations & ~unsupported,
      maxBlocks: Math.min(MAX_BLOCKS, facts.maxTransferBytes / namespace.blockBytes),
    };
  });
  return {
    grant: { shares: judged, maxInFlight },
    windows: shares.map((share) => ({ namespace: share.namespace, firstBlock: share.firstBlock })),
  };
}
