/** Who is who, and what each one may do: the configuration as sessions use it. Replaced as a whole on reload. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { MAX_TENANTS } from './config/index.js';
import type { Configuration, Environment, ShareConfig, TenantConfig } from './config/index.js';
import type { Credentials, DeviceGrant, Isolation, Tenant, TenantDirectory } from './policy.js';

/**
 * Gives each name its index, the same one for as long as the server runs. Names that the configuration dropped keep theirs, so that they find
 * their counters when they come back, until all are taken; then the index that was dropped first goes to the next new name.
 */
export class TenantIndices {
  readonly #indices = new Map<string, number>();
  readonly #most: number;

  constructor(most = MAX_TENANTS) {
    this.#most = most;
  }

  /** Indices of these names, which are all that the configuration has. */
  assign(names: readonly string[]): ReadonlyMap<string, number> {
    const current = new Set(names);
    const dropped = [...this.#indices.keys()].filter((name) => !current.has(name));
    for (const name of names) {
      const index = this.#indices.get(name) ?? this.#next(dropped);
      // Taken out and put in again, so that names stand in the order of their last use.
      this.#indices.delete(name);
      this.#indices.set(name, index);
    }
    return new Map(names.map((name) => [name, this.#indices.get(name) ?? 0]));
  }

  #next(dropped: string[]): number {
    if (this.#indices.size < this.#most) return this.#indices.size;
    const name = dropped.shift();
    const index = name === undefined ? undefined : this.#indices.get(name);
    if (name === undefined || index === undefined) throw new RangeError(`more than ${this.#most} tenants`);
    this.#indices.delete(name);
    return index;
  }
}

interface Entry {
  readonly config: TenantConfig;
  readonly tenant: Tenant;
}

const hashOf = (token: string): Buffer => createHash('sha256').update(token).digest();

export interface DirectoryOptions {
  readonly configuration: Pick<Configuration, 'tenants' | 'isolation'>;
  readonly indices: TenantIndices;
  readonly environment: Environment;
  /** Whether a share may not be leased now: its blocks are still those of an earlier tenant. */
  readonly withheld: (share: ShareConfig) => boolean;
}

export function createDirectory({ configuration, indices, environment, withheld }: DirectoryOptions): TenantDirectory {
  const assigned = indices.assign(configuration.tenants.map(({ name }) => name));
  const entries = configuration.tenants.map((config): Entry => ({ config, tenant: toTenant(config, assigned.get(config.name) ?? 0, withheld) }));
  const byName = new Map(entries.map(({ tenant }) => [tenant.name, tenant]));

  const isPeer = ({ config }: Entry, peer: { uid: number; gid: number }): boolean => {
    if (peer.uid === environment.overflowUid || (config.uids.length === 0 && config.gid === undefined)) return false;
    const uidFits = config.uids.length === 0 || config.uids.includes(peer.uid);
    const gidFits = config.gid === undefined || (peer.gid !== environment.overflowGid && config.gid === peer.gid);
    return uidFits && gidFits;
  };

  /** Every hash is compared, whatever the earlier comparisons said: the time tells nothing about any of them. */
  const byToken = (token: string): Entry[] => {
    const hash = hashOf(token);
    return entries.filter(({ config }) => config.tokenHash !== undefined && timingSafeEqual(hash, config.tokenHash));
  };

  const isolationOf = (entry: Entry, credentials: Credentials): Isolation => {
    const proof = credentials.token === undefined ? 'uid' : 'token';
    const { peer } = credentials;
    if (peer === undefined) return proof;
    if (peer.uid === 0 || peer.uid === environment.uid) return 'none';
    // Whoever runs under this user id can reach the memory of this process: if another tenant does, nothing keeps the two apart.
    return entries.some((other) => other !== entry && (isPeer(other, peer) || other.config.uids.includes(peer.uid))) ? 'none' : proof;
  };

  return {
    all: entries.map(({ tenant }) => tenant),
    byName: (name) => byName.get(name),
    authenticate(credentials) {
      const { peer, token, tenant: name } = credentials;
      if (peer === undefined && token === undefined) return undefined;
      const proved = token !== undefined ? byToken(token) : entries.filter((entry) => peer !== undefined && isPeer(entry, peer));
      const chosen = name === undefined ? proved : proved.filter(({ tenant }) => tenant.name === name);
      if (chosen.length !== 1) return undefined;
      const isolation = isolationOf(chosen[0], credentials);
      // A user id that fits several tenants is let in only where the configuration gave up isolation (DESIGN, memory rule 8).
      if (proved.length > 1 && configuration.isolation !== 'none') return undefined;
      return { tenant: chosen[0].tenant, isolation };
    },
  };
}

function toTenant(config: TenantConfig, index: number, withheld: DirectoryOptions['withheld']): Tenant {
  const { name, weight, rates, dma, limits, modes, queues } = config;
  const grants = new Map<string, DeviceGrant>();
  for (const share of config.shares) {
    if (withheld(share)) continue;
    const { device, namespace, firstBlock, blocks, access, operations } = share;
    const earlier = grants.get(device)?.shares ?? [];
    grants.set(device, { device, modes, queues, shares: [...earlier, { name: share.name, namespace, firstBlock, blocks, access, operations }] });
  }
  return { index, name, weight, rates, dma, limits, grants };
}
