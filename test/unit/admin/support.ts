/** An engine that is none: what administration asks of a device, answered from plain values. */
import { EventEmitter } from 'node:events';
import type {
  CounterView,
  DeviceFacts,
  DeviceReport,
  EngineEvents,
  EngineHost,
  HardwareView,
  OpenedLease,
  OpenedQueue,
  VectorState,
  TenantCounters,
  TraceRecord,
} from '../../../src/server/engine/api.js';
import { AuditLog } from '../../../src/server/admin/index.js';
import type { AdminSources, ReloadResult, SessionReport, WipeReport } from '../../../src/server/admin/index.js';
import { silentLog } from '../../../src/server/log.js';
import { TenantIndices, createDirectory } from '../../../src/server/tenants.js';
import { environment, parse, text } from '../config/support.js';

export const FACTS: DeviceFacts = {
  class: 'nvme',
  model: 'Model',
  serial: 'RW-nvme0',
  firmware: '1',
  vectors: 4,
  queuePairs: 4,
  queueEntries: 64,
  maxTransferBytes: 4096,
  namespaces: [{ id: 1, blocks: 2048, blockBytes: 512 }],
  backing: 'emulated',
  description: 'no IOMMU',
};

export const REPORT: DeviceReport = {
  state: 'open',
  free: false,
  heldBy: ['lease 1 of tenant alice'],
  leases: [{ lease: 1, tenant: 'alice', session: 1, mode: 'shared', queues: 'own', generation: 5, inFlight: 2 }],
  quarantineBytes: 8192,
  resets: 3,
  lost: '',
};

export const counters = (scale: number): TenantCounters => ({
  requests: [0, 10 * scale, 20 * scale, 0, 0, 0, 0, 0],
  bytesRead: 1000 * scale,
  bytesWritten: 2000 * scale,
  byCode: new Map([[15, 7 * scale]]),
  inFlight: scale,
  resets: scale,
  latency: { bounds: [1e-6, 2e-6, Infinity], counts: [1 * scale, 2 * scale, 3 * scale], sum: 0.5 * scale },
});

export const TRACE: TraceRecord = {
  time: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
  lease: 1,
  queue: 0,
  operation: 1,
  share: 0,
  lba: 9,
  blocks: 8,
  region: 1,
  code: 15,
  microseconds: 12.6,
};

const refuse = (what: string): never => {
  throw new Error(`not expected in this test: ${what}`);
};

export class EngineDouble extends EventEmitter<EngineEvents> implements EngineHost {
  readonly name: string;
  facts = FACTS;
  readonly resets: string[] = [];
  readonly wipes: string[] = [];
  pages = new Map<string, Uint8Array>();
  /** What the next wipes do, in place of ending well. */
  onWipe: (firstBlock: number, blocks: number) => Promise<void> = async () => undefined;
  reportNow: () => Promise<DeviceReport> = async () => REPORT;
  onReset: () => Promise<void> = async () => undefined;
  counters: CounterView = { tenant: (index) => counters(index + 1), trace: (index) => (index === 0 ? [TRACE] : []) };

  constructor(name = 'nvme0') {
    super();
    this.name = name;
  }

  report = (): Promise<DeviceReport> => this.reportNow();
  inspect = async (): Promise<unknown> => ({ queues: [{ id: 1, head: 2 }] });
  logPage = async (page: string): Promise<Uint8Array> => this.pages.get(page) ?? refuse(page);
  async resetController(reason: string): Promise<void> {
    this.resets.push(reason);
    await this.onReset();
  }
  async wipe(namespace: number, firstBlock: number, blocks: number, progress: (done: number) => void): Promise<void> {
    this.wipes.push(`${namespace}:${firstBlock}+${blocks}`);
    await this.onWipe(firstBlock, blocks);
    progress(blocks);
  }

  openLease = async (): Promise<OpenedLease> => refuse('openLease');
  closeLease = async (): Promise<void> => refuse('closeLease');
  openQueue = async (): Promise<OpenedQueue> => refuse('openQueue');
  closeQueue = async (): Promise<void> => refuse('closeQueue');
  shareQueue = async (): Promise<void> => refuse('shareQueue');
  hardwareView = async (): Promise<HardwareView> => refuse('hardwareView');
  resetLease = async (): Promise<number> => refuse('resetLease');
  bindVector = async (): Promise<void> => refuse('bindVector');
  bindVectorDescriptor = async (): Promise<void> => refuse('bindVectorDescriptor');
  vectorState = async (): Promise<VectorState> => refuse('vectorState');
  ringViewBytes = (): number => refuse('ringViewBytes');
  readPciConfig = async (): Promise<number> => refuse('readPciConfig');
  writePciConfig = async (): Promise<boolean> => refuse('writePciConfig');
  listPciRegions = async (): Promise<readonly []> => refuse('listPciRegions');
  readPciRegister = async (): Promise<number> => refuse('readPciRegister');
  readPciRom = async (): Promise<Uint8Array> => refuse('readPciRom');
  setTenant = async (): Promise<void> => {};
  replaceGrant = async (): Promise<void> => refuse('replaceGrant');
  attachRegion = async (): Promise<void> => refuse('attachRegion');
  holdRegion = async (): Promise<void> => refuse('holdRegion');
  detachRegion = async (): Promise<void> => refuse('detachRegion');
  regionInFlight = async (): Promise<number> => refuse('regionInFlight');
  gone = undefined;
  restart = async (): Promise<void> => refuse('restart');
  close = async (): Promise<void> => undefined;
}

export interface World {
  readonly sources: AdminSources;
  readonly engine: EngineDouble;
  readonly audit: AuditLog;
  sessions: SessionReport[];
  wipes: WipeReport[];
  reload: ReloadResult;
}

/** A server with one device and two tenants (more with `tenants`), for the administrator to look at. */
export function createWorld(
  tenants = '{ "name": "alice", "uid": 1000, "shares": [{ "name": "data", "device": "nvme0", "size": 512 }] }, { "name": "bob", "uid": 1001 }',
): World {
  const configuration = parse(text({ tenants }));
  const directory = createDirectory({ configuration, indices: new TenantIndices(), environment, withheld: () => false });
  const engine = new EngineDouble();
  const audit = new AuditLog(silentLog);
  const world: World = {
    engine,
    audit,
    sessions: [
      { session: 1, tenant: 'alice', isolation: 'uid' },
      { session: 2, tenant: '', isolation: 'none' },
    ],
    wipes: [],
    reload: { applied: true, messages: [] },
    sources: {
      version: '1.2.3',
      startedAt: Date.now() - 5_000,
      engines: new Map([['nvme0', engine]]),
      audit,
      configuration: () => configuration,
      directory: () => directory,
      sessions: () => world.sessions,
      pinnedBytes: (tenant) => (tenant === 'alice' ? 4096 : 0),
      wipes: () => world.wipes,
      mappings: async () => [],
      inspectSessions: () => ({ sessions: world.sessions }),
      reload: async () => world.reload,
      privileges: () => ({ uid: 4242, capabilities: ['CAP_IPC_LOCK'], noNewPrivileges: true, filter: true, unreached: 1 }),
    },
  };
  return world;
}
