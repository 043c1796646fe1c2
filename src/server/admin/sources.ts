/** What administration reads and what it may do; the server as a whole provides it. */
import type { Configuration } from '../config/index.js';
import type { EngineHost } from '../engine/api.js';
import type { MappingReport } from '../handover/index.js';
import type { TenantDirectory } from '../policy.js';
import type { Privileges } from '../privileges.js';
import type { AuditLog } from './audit.js';

/** One connected session, as far as the administrator is told. */
export interface SessionReport {
  readonly session: number;
  readonly tenant: string;
  readonly isolation: string;
}

/** A window whose former tenant's data are being wiped, or wait for it. */
export interface WipeReport {
  readonly device: string;
  readonly namespace: number;
  readonly firstBlock: number;
  readonly blocks: number;
  /** Blocks that are wiped. */
  readonly done: number;
  readonly tenants: readonly string[];
  readonly state: 'waiting' | 'wiping' | 'failed';
  /** Why it failed; empty otherwise. */
  readonly reason: string;
}

export interface ReloadResult {
  readonly applied: boolean;
  /** What is wrong with the new configuration, or what of it needs a restart. */
  readonly messages: readonly string[];
}

export interface AdminSources {
  readonly version: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly engines: ReadonlyMap<string, EngineHost>;
  readonly audit: AuditLog;
  configuration(): Configuration;
  directory(): TenantDirectory;
  sessions(): readonly SessionReport[];
  /** Bytes that a tenant has pinned now. */
  pinnedBytes(tenant: string): number;
  wipes(): readonly WipeReport[];
  /** The memory files that a process maps, and what this server gave them out as. Rejects with an Error of the system. */
  mappings(pid: number): Promise<readonly MappingReport[]>;
  /** Whole state of sessions and domains, for `inspect`. */
  inspectSessions(): unknown;
  reload(): Promise<ReloadResult>;
  /** What the process may still do. */
  privileges(): Privileges;
}
