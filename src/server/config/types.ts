/** A configuration that was checked whole, with absolute paths and plain numbers: what the rest of the server works with. */
import type { PciPath } from '../../hw/linux/options.js';
import type { LeaseMode, QueueKind } from '../../protocol/index.js';
import type { Rates, RegionDma } from '../engine/api.js';
import type { LogFormat, LogLevel } from '../log.js';
import type { ServerLimits, TenantLimits } from '../policy.js';
import type { ConfigProblem, KeyPath } from './problems.js';

export interface NamespaceConfig {
  /** Namespace identifier, from 1. */
  readonly id: number;
  readonly bytes: number;
  readonly blockBytes: 512 | 4096;
  /** Absolute path; undefined: the content lives in memory. */
  readonly image: string | undefined;
}

/** A namespace that the device brings along. */
export interface ExpectedNamespace {
  readonly id: number;
  /** Undefined: as many as the device has. */
  readonly bytes: number | undefined;
  /** Undefined: whatever the device has; windows are counted in its blocks once it is there. */
  readonly blockBytes: 512 | 4096 | undefined;
}

interface BackingCommon {
  readonly namespaces: readonly NamespaceConfig[];
  readonly maxTransferBytes: number;
  readonly queuePairs: number;
  readonly vectors: number;
  readonly serial: string | undefined;
  /** Absolute path; undefined: no expansion ROM. */
  readonly rom: string | undefined;
}
export interface EmulatedBackingConfig extends BackingCommon {
  readonly kind: 'emulated';
  readonly mode: 'stepped' | 'thread';
  readonly queueEntries: number;
  readonly doorbellStride: number;
}
export interface QemuBackingConfig extends BackingCommon {
  readonly kind: 'qemu';
  readonly binary: string | undefined;
}
export interface PciBackingConfig {
  readonly kind: 'pci';
  /** In full: `0000:01:00.0`. */
  readonly address: string;
  /** Undefined: the one that it is bound to. */
  readonly path: PciPath | undefined;
  readonly namespaces: readonly ExpectedNamespace[];
}
export type ModelBackingConfig = EmulatedBackingConfig | QemuBackingConfig;
export type BackingConfig = ModelBackingConfig | PciBackingConfig;
export type BackingKind = BackingConfig['kind'];

export interface DeviceConfig {
  readonly name: string;
  readonly class: 'nvme';
  readonly backing: BackingConfig;
  readonly vectorsCeiling: number;
}

/** A share, as a window of whole blocks. */
export interface ShareConfig {
  readonly name: string;
  readonly device: string;
  readonly namespace: number;
  readonly firstBlock: number;
  readonly blocks: number;
  readonly blockBytes: number;
  /** Bits of `Right`. */
  readonly access: number;
  /** Mask of `1 << operation`. */
  readonly operations: number;
  readonly shared: boolean;
  /** Undefined: wiped when it comes from another tenant, and refused when nobody knows whose data it holds. */
  readonly keepData: boolean | undefined;
  /** Place in the file, for {@link Configuration.problem}. */
  readonly path: KeyPath;
}

export interface TenantConfig {
  readonly name: string;
  readonly uids: readonly number[];
  readonly gid: number | undefined;
  /** SHA-256 of the token. */
  readonly tokenHash: Uint8Array | undefined;
  readonly weight: number;
  readonly rates: Rates;
  readonly limits: TenantLimits;
  readonly dma: RegionDma;
  readonly modes: readonly LeaseMode[];
  readonly queues: readonly QueueKind[];
  readonly shares: readonly ShareConfig[];
}

export interface TcpConfig {
  readonly host: string;
  readonly port: number;
  /** Absolute paths. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
}

export interface Configuration {
  readonly file: string;
  /** Absolute path of the state folder. */
  readonly state: string;
  readonly isolation: 'required' | 'none';
  readonly unix: { readonly path: string; readonly mode: number } | undefined;
  readonly tcp: TcpConfig | undefined;
  readonly admin: {
    readonly path: string;
    readonly group: number | undefined;
    readonly metrics: { readonly host: string; readonly port: number } | undefined;
  };
  readonly log: { readonly level: LogLevel; readonly format: LogFormat };
  readonly limits: ServerLimits;
  readonly drainMilliseconds: number;
  readonly devices: readonly DeviceConfig[];
  readonly tenants: readonly TenantConfig[];
  /** A problem that is found later, at its place in the file. */
  problem(path: KeyPath, what: string, remedy: string): ConfigProblem;
}
