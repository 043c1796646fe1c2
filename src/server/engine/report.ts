/** What is told of a device: its state, who holds it, and what is left of those who did. */
import type { DeviceReport } from './api.js';
import type { Holders } from './holders.js';
import type { Lifecycle } from './lifecycle.js';

/** `commands`: those that the device has not ended. */
export function reportOf(life: Lifecycle, holders: Holders, commands: number): DeviceReport {
  const heldBy: string[] = [];
  for (const lease of holders.leases.values()) heldBy.push(`lease ${lease.handle} of tenant ${lease.tenant.name}${lease.closing ? ', closing' : ''}`);
  let regions = 0;
  let quarantineBytes = 0;
  for (const domain of holders.domains.values()) {
    regions += domain.count;
    quarantineBytes += domain.closedBytes;
  }
  if (regions > 0) heldBy.push(`${regions} memory regions, ${quarantineBytes} bytes of them in quarantine`);
  if (commands > 0 && holders.leases.size === 0) heldBy.push(`${commands} commands of ended leases`);
  if (life.users > 0) heldBy.push('the server itself, wiping a window');
  return {
    state: life.state,
    free: heldBy.length === 0,
    heldBy,
    leases: [...holders.leases.values()].map((lease) => ({
      lease: lease.handle,
      tenant: lease.tenant.name,
      session: lease.session,
      mode: lease.mode,
      queues: lease.kind,
      generation: lease.generation,
      inFlight: lease.inFlight,
    })),
    quarantineBytes,
    resets: life.resets,
    lost: life.lostReason,
  };
}
