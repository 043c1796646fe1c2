/** Reads a configuration file and judges it whole: either it can be used, or every problem is told at once. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { OPERATIONS, Operation, Right } from '../../protocol/index.js';
import type { OperationName } from '../../protocol/index.js';
import { systemCode } from '../text.js';
import { systemEnvironment } from './environment.js';
import type { Environment } from './environment.js';
import { checkCredentials, checkRights, duplicateNames, duplicateTokens, readToken, uidsOf } from './identities.js';
import { checkDevices, checkLimits, checkListeners } from './machine.js';
import { ConfigError, ConfigProblem } from './problems.js';
import type { ParsedConfig, ParsedDevice, ParsedTenant } from './schema.js';
import { Source } from './source.js';
import type { Configuration, DeviceConfig, ModelBackingConfig, ShareConfig, TenantConfig } from './types.js';
import { parseShape, wellFormed } from './validate.js';
import { namespaceBytes, overlaps, resolveWindows } from './windows.js';
import type { Window } from './windows.js';

/** Reads `file`. Throws a {@link ConfigError} with everything that is wrong with it. */
export function loadConfiguration(file: string, environment: Environment = systemEnvironment()): Configuration {
  let text: string;
  try {
    // A byte order mark is no part of the text (RFC 8259, 8.1).
    text = readFileSync(file, 'utf8').replace(/^\ufeff/, '');
  } catch (error) {
    const what = `the configuration cannot be read (${systemCode(error)})`;
    throw new ConfigError([new ConfigProblem(file, { line: 1, column: 1 }, '', what, 'name a file that is there, and that you may read')]);
  }
  return parseConfiguration(file, text, environment);
}

/** The same from text; relative paths begin at the folder of `file`. */
export function parseConfiguration(file: string, text: string, environment: Environment = systemEnvironment()): Configuration {
  const source = new Source(file, text);
  if (source.value === undefined) throw new ConfigError(source.problems);
  const folder = dirname(resolve(file));
  const shape = parseShape(source);
  const parts = wellFormed(source);
  const { windows, problems: windowProblems } = resolveWindows(source, folder, parts);
  const tokens = parts.tenants.map((each) => ({ tenant: each.value.name, path: each.path, ...readToken(source, folder, each) }));
  const hashes = tokens.flatMap(({ tenant, path, hash }) => (hash === undefined ? [] : [{ tenant, path, hash }]));
  const problems = [
    ...source.problems,
    ...shape.problems,
    ...duplicateNames(source, parts),
    ...checkCredentials(source, parts, environment),
    ...tokens.flatMap(({ problem }) => problem ?? []),
    ...duplicateTokens(source, hashes),
    ...checkDevices(source, folder, parts),
    ...checkRights(source, parts),
    ...windowProblems,
    ...overlaps(source, windows),
  ];
  const group = shape.config?.admin.group;
  const groupId = typeof group === 'string' ? environment.groupId(group) : group;
  if (shape.config !== undefined) {
    problems.push(...checkListeners(source, folder, shape.config), ...checkLimits(source, shape.config));
    if (group !== undefined && groupId === undefined) {
      problems.push(source.problem(['admin', 'group'], `there is no group "${group}"`, 'name a group of this machine, or write its id'));
    }
  }
  if (problems.length > 0 || shape.config === undefined) throw new ConfigError(problems);
  const { config } = shape;
  return {
    file: resolve(file),
    state: resolve(folder, config.state),
    isolation: config.isolation,
    ...listeners(config, folder),
    admin: { path: resolve(folder, config.admin.path), group: groupId, metrics: config.admin.metrics },
    log: config.log,
    limits: {
      connections: config.limits.connections,
      unauthenticated: config.limits.unauthenticated,
      helloMilliseconds: config.limits.helloTime,
      sendPauseBytes: config.limits.sendPause,
      sendCloseBytes: config.limits.sendClose,
      keepaliveMilliseconds: config.limits.keepalive,
    },
    drainMilliseconds: config.drain,
    devices: config.devices.map((device) => resolveDevice(device, folder)),
    tenants: config.tenants.map((tenant, index) => {
      const uids = uidsOf(tenant, ['tenants', index], environment).map(({ uid }) => uid);
      return resolveTenant(tenant, [...new Set(uids)], tokens[index].hash, windows);
    }),
    problem: (path, what, remedy) => source.problem(path, what, remedy),
  };
}

function listeners(config: ParsedConfig, folder: string): Pick<Configuration, 'unix' | 'tcp'> {
  const { unix, tcp } = config.listen;
  const tls = tcp?.tls && { cert: resolve(folder, tcp.tls.cert), key: resolve(folder, tcp.tls.key) };
  return {
    unix: unix && { path: resolve(folder, unix.path), mode: Number.parseInt(unix.mode, 8) },
    tcp: tcp && { host: tcp.host, port: tcp.port, tls },
  };
}

function resolveDevice(device: ParsedDevice, folder: string): DeviceConfig {
  const { backing, name, vectorsCeiling } = device;
  if (backing.kind === 'pci') {
    const { kind, address, path } = backing;
    const namespaces = backing.namespaces.map(({ size, blockBytes }, index) => ({ id: index + 1, bytes: size, blockBytes }));
    return { name, class: device.class, backing: { kind, address, path, namespaces }, vectorsCeiling };
  }
  const common = {
    namespaces: backing.namespaces.map((namespace, index) => ({
      id: index + 1,
      bytes: namespaceBytes(folder, namespace) ?? 0,
      blockBytes: namespace.blockBytes,
      image: namespace.image === undefined ? undefined : resolve(folder, namespace.image),
    })),
    maxTransferBytes: backing.maxTransfer,
    queuePairs: backing.queuePairs,
    vectors: backing.vectors,
    serial: backing.serial,
    rom: backing.rom === undefined ? undefined : resolve(folder, backing.rom),
  };
  const resolved: ModelBackingConfig =
    backing.kind === 'emulated'
      ? { ...common, kind: 'emulated', mode: backing.mode, queueEntries: backing.queueEntries, doorbellStride: backing.doorbellStride }
      : { ...common, kind: 'qemu', binary: backing.binary };
  return { name, class: device.class, backing: resolved, vectorsCeiling };
}

const bit = (operation: OperationName): number => 1 << Operation[operation];

function resolveShare({ share, path, firstBlock, blocks, blockBytes }: Window): ShareConfig {
  const access = share.access.reduce((bits, right) => bits | Right[right], 0);
  const allowed = OPERATIONS.flatMap(({ name, right }) => (name === 'none' || (right & access) !== right ? [] : [name]));
  return {
    name: share.name,
    device: share.device,
    namespace: share.namespace,
    firstBlock,
    blocks,
    blockBytes,
    access,
    operations: (share.operations ?? allowed).reduce((bits, operation) => bits | bit(operation), 0),
    shared: share.shared,
    keepData: share.keepData,
    path,
  };
}

function resolveTenant(tenant: ParsedTenant, uids: readonly number[], tokenHash: Uint8Array | undefined, windows: readonly Window[]): TenantConfig {
  const { limits } = tenant;
  return {
    name: tenant.name,
    uids,
    gid: tenant.gid,
    tokenHash,
    weight: tenant.weight,
    rates: tenant.rates,
    limits: {
      sessions: limits.sessions,
      pinBytes: limits.pinned,
      regions: limits.regions,
      regionBytes: limits.regionSize,
      leases: limits.leases,
      queuesPerLease: limits.queuesPerLease,
      ringEntries: limits.ringEntries,
      inFlight: limits.inFlight,
      stagingBytes: limits.staging,
      messagesPerSecond: limits.messagesPerSecond,
    },
    dma: tenant.dma,
    modes: tenant.modes,
    queues: tenant.queues,
    shares: windows.filter((window) => window.tenant === tenant.name).map(resolveShare),
  };
}
