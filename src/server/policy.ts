/** What the server knows of its tenants, as the configuration says it and as sessions use it. Replaced as a whole on reload. */
import type { LeaseMode, QueueKind } from '../protocol/index.js';
import type { Rates, RegionDma, ShareGrant } from './engine/api.js';

export interface TenantLimits {
  /** Connections at a time. */
  readonly sessions: number;
  /** Bytes of memory pinned over all domains of the tenant, staging included. */
  readonly pinBytes: number;
  /** Regions in one domain. */
  readonly regions: number;
  readonly regionBytes: number;
  /** Leases of one session. */
  readonly leases: number;
  readonly queuesPerLease: number;
  readonly ringEntries: number;
  /** Requests in flight over all queues of one lease. */
  readonly inFlight: number;
  /** Bytes of the staging region of a session: data of inline requests in flight. */
  readonly stagingBytes: number;
  /** Control messages a second, averaged over ten seconds. */
  readonly messagesPerSecond: number;
}

/** What a tenant may do with one device. */
export interface DeviceGrant {
  readonly device: string;
  readonly shares: readonly ShareGrant[];
  readonly modes: readonly LeaseMode[];
  readonly queues: readonly QueueKind[];
}

export interface Tenant {
  /** 0 and up, kept over reloads for a name that stays: the key of counters and scheduling. */
  readonly index: number;
  readonly name: string;
  readonly weight: number;
  readonly rates: Rates;
  /** Of domains that are made from now on. */
  readonly dma: RegionDma;
  readonly limits: TenantLimits;
  readonly grants: ReadonlyMap<string, DeviceGrant>;
}

/** How a connection proved who it is. `none`: uid 0, the server's own uid, or a tenant that shares its uid (DESIGN, memory rule 8). */
export type Isolation = 'uid' | 'token' | 'none';

export interface Credentials {
  /** Of the peer of a Unix socket; undefined over TCP. */
  readonly peer?: { readonly uid: number; readonly gid: number };
  /** What hello carried. */
  readonly token?: string;
  /** The name that hello asked for. */
  readonly tenant?: string;
}

export interface TenantDirectory {
  /** The one tenant that these credentials prove; undefined when there is none, or when they fit several and no name says which. Constant time in the token. */
  authenticate(credentials: Credentials): { tenant: Tenant; isolation: Isolation } | undefined;
  byName(name: string): Tenant | undefined;
  readonly all: readonly Tenant[];
}

/** Limits of the server as a whole. */
export interface ServerLimits {
  readonly connections: number;
  /** Connections that have not said hello yet, and how long they may take for it. */
  readonly unauthenticated: number;
  readonly helloMilliseconds: number;
  /** Bytes waiting to be sent to one session before the server stops reading from it, and before it ends it. */
  readonly sendPauseBytes: number;
  readonly sendCloseBytes: number;
  /** A session that neither sends nor answers a ping for so long is ended. */
  readonly keepaliveMilliseconds: number;
}

/** One refusal, as the administrator may see it later. */
export interface RefusalRecord {
  readonly time: number;
  readonly tenant: string;
  readonly session: number;
  readonly code: string;
  readonly field: string;
  readonly value: string;
}
/** Counts refusals per tenant and code, keeps the last ones, and logs them at a bounded rate. */
export interface Audit {
  refusal(record: RefusalRecord): void;
}
