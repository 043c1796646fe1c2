/** What all sessions share. */
import type { HandedOver, Tickets } from '../handover/index.js';
import type { DomainRegistry } from '../domains/index.js';
import type { EngineHost } from '../engine/api.js';
import type { Log } from '../log.js';
import type { Audit, ServerLimits, TenantDirectory } from '../policy.js';
import type { LeaseRegistry } from './lease-registry.js';

export interface SessionServices {
  /** By the names that the configuration gives to devices. */
  readonly engines: ReadonlyMap<string, EngineHost>;
  /** The configuration of the moment. */
  readonly directory: () => TenantDirectory;
  readonly limits: ServerLimits;
  readonly domains: DomainRegistry;
  readonly leases: LeaseRegistry;
  /** Hears of every refusal; it alone counts, keeps and logs them. */
  readonly audit: Audit;
  readonly tickets: Tickets;
  /** What clients were given, for the administrator. */
  readonly handedOver: HandedOver;
  /** The user id that the kernel shows for everybody whom it cannot name. */
  readonly overflowUid: number;
  readonly log: Log;
  /** Name and version of the server, for the hello answer. */
  readonly serverVersion: string;
  /** New work is refused. */
  readonly isDraining: () => boolean;
  /** @throws Refusal `sessionLimit` when the tenant may not have one more session. */
  readonly checkSessionLimit: (tenant: string, most: number) => void;
}
