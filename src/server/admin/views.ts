/** Answers about the server as a whole, its devices and its tenants, in plain values. */
import { OPERATIONS, Right } from '../../protocol/index.js';
import type { OperationName } from '../../protocol/index.js';
import type { ShareConfig, TenantConfig } from '../config/index.js';
import { deviceRemedy } from './remedy.js';
import { inTime, namedCounters } from './snapshot.js';
import type { DeviceSnapshot, Snapshot } from './snapshot.js';
import type { AdminSources } from './sources.js';

/** Who may reach what, and how well tenants are kept apart: `dpdk-devbind --status` for this server. */
export function statusView({ sources, devices, tenants }: Snapshot): object {
  const configuration = sources.configuration();
  return {
    server: {
      version: sources.version,
      pid: process.pid,
      uptimeSeconds: Math.round((Date.now() - sources.startedAt) / 1000),
      configuration: configuration.file,
      state: configuration.state,
      listen: {
        unix: configuration.unix?.path ?? null,
        tcp: configuration.tcp === undefined ? null : `${configuration.tcp.host}:${configuration.tcp.port}`,
      },
      isolation: configuration.isolation,
      privileges: sources.privileges(),
    },
    devices: devices.map(({ name, engine: { facts }, report, silent }) => ({
      name,
      class: facts.class,
      state: report?.state ?? 'silent',
      why: report?.lost || silent,
      remedy: deviceRemedy(report),
      backing: facts.backing,
      description: facts.description,
      model: facts.model,
      free: report?.free ?? false,
      leases: report?.leases.length ?? 0,
      quarantineBytes: report?.quarantineBytes ?? 0,
    })),
    tenants: tenants.map(({ name, sessions, pinnedBytes }) => {
      const config = configuration.tenants.find((tenant) => tenant.name === name);
      const isolation = config === undefined ? 'none' : configuredIsolation(config, configuration.tenants);
      return { name, isolation, dma: config?.dma ?? 'direct', sessions, pinnedBytes };
    }),
    sessions: sources.sessions().length,
    refusals: sources.audit.total,
    wipes: sources.wipes(),
  };
}

/** How the configuration keeps a tenant apart from the others. What a session really has depends on its peer: see `/sessions`. */
export function configuredIsolation(tenant: TenantConfig, all: readonly TenantConfig[]): 'uid' | 'token' | 'none' {
  if (tenant.uids.length === 0 && tenant.gid === undefined) return 'token';
  const sharesUid = all.some((other) => other !== tenant && other.uids.some((uid) => tenant.uids.includes(uid)));
  return sharesUid || tenant.uids.includes(0) || tenant.uids.includes(process.getuid?.() ?? 0) ? 'none' : 'uid';
}

export const operationsOf = (mask: number): OperationName[] =>
  OPERATIONS.flatMap(({ name }, code) => (name !== 'none' && (mask & (1 << code)) !== 0 ? [name] : []));

export const accessOf = (bits: number): ('read' | 'write')[] => (['read', 'write'] as const).filter((right) => (bits & Right[right]) !== 0);

const shareView = ({ name, device, namespace, firstBlock, blocks, blockBytes, access, operations, shared }: ShareConfig): object => ({
  name,
  device,
  namespace,
  firstBlock,
  blocks,
  blockBytes,
  bytes: blocks * blockBytes,
  access: accessOf(access),
  operations: operationsOf(operations),
  shared,
});

export function tenantsView({ sources, devices, tenants }: Snapshot): object[] {
  const configuration = sources.configuration();
  return tenants.map(({ name, index, sessions, pinnedBytes }) => {
    const config = configuration.tenants.find((tenant) => tenant.name === name);
    const counters = devices.map((device) => [device.name, namedCounters(device.engine.counters.tenant(index))] as const);
    if (config === undefined) return { name, index, sessions, pinnedBytes };
    const { uids, gid, weight, rates, dma, limits, modes, queues, shares } = config;
    return {
      name,
      index,
      sessions,
      pinnedBytes,
      credentials: { uids, gid: gid ?? null, token: config.tokenHash !== undefined },
      isolation: configuredIsolation(config, configuration.tenants),
      weight,
      rates,
      dma,
      limits,
      modes,
      queues,
      shares: shares.map(shareView),
      counters: Object.fromEntries(counters),
    };
  });
}

export function deviceView({ name, engine, report, silent }: DeviceSnapshot, sources: AdminSources): object {
  const shares = sources
    .configuration()
    .tenants.flatMap((tenant) =>
      tenant.shares.filter(({ device }) => device === name).map((share) => ({ tenant: tenant.name, ...shareView(share) })),
    );
  return { name, ...engine.facts, ...(report ?? { state: 'silent', why: silent }), remedy: deviceRemedy(report), shares };
}

/** One tree of everything with state. */
export async function inspectView(snapshot: Snapshot): Promise<object> {
  const { sources, devices } = snapshot;
  const engines = await Promise.allSettled(devices.map(({ name, engine }) => inTime(engine.inspect(), `device ${name}`)));
  const trees = engines.map((result, index) => [
    devices[index].name,
    result.status === 'fulfilled' ? result.value : { silent: String(result.reason) },
  ]);
  return {
    ...statusView(snapshot),
    devices: devices.map((device) => deviceView(device, sources)),
    engines: Object.fromEntries(trees) as object,
    sessions: sources.inspectSessions(),
    tenants: tenantsView(snapshot),
    refusals: sources.audit.counts(),
    process: { memory: process.memoryUsage(), uptimeSeconds: process.uptime(), node: process.version },
  };
}
