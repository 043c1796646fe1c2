/**
 * Eight tenants that do everything a client can do, in random order, by messages and with rings, while leases are reset, closed, opened again and taken away and
 * the controller is reset: every byte that is read is what was written. 8,000 requests; with RINGWARDEN_FULL=1 1,800,000 on the embedded controller, which is
 * what two hours at 250 requests a second come to, and 360,000 on QEMU's. The seed is printed; RINGWARDEN_SEED=<number> makes the same choices again.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { Random } from '../oracle/random.js';
import { workspace } from '../support/processes.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { RandomTenant } from '../support/random-tenant.js';
import { MIB, Server, configuration } from '../support/server.js';

const FULL = process.env['RINGWARDEN_FULL'] === '1';
const GIVEN = process.env['RINGWARDEN_SEED'];
const SEED = GIVEN === undefined || GIVEN === '' ? randomBytes(3).readUIntLE(0, 3) : Number(GIVEN) >>> 0;

const NAMES = ['alice', 'bob', 'carol', 'dave', 'erin', 'frank', 'grace', 'heidi'];
const LANES = 4;
const BLOCK_BYTES = 512;
/** Milliseconds: the long run is to have more requests than disturbances, the short one some of each. */
const CALM_MS = FULL ? 2_000 : 100;
/** Each kind of request comes up, in every run. */
const KINDS = ['read', 'write', 'zeroes', 'deallocate', 'flush', 'compare', 'map', 'unmap', 'readInto', 'writeFrom', 'compareWith'];

/** The tenants in `without` have nothing for a moment. */
function settings(kind: 'emulated' | 'qemu', without?: string): ReturnType<typeof configuration> {
  const namespace = { size: NAMES.length * MIB, blockBytes: BLOCK_BYTES, ...(kind === 'qemu' ? { image: 'nvme0.img' } : {}) };
  return configuration({
    devices: [{ name: 'nvme0', backing: { kind, namespaces: [namespace] } }],
    tenants: NAMES.map((name, index) => ({
      name,
      uid: 'server',
      // What maps, fills and looks at memory is as busy as what reads and writes.
      limits: { messagesPerSecond: 100_000 },
      shares: name === without ? [] : [{ name: 'data', device: 'nvme0', first: index * MIB, size: MIB }],
    })),
  });
}

function sumOf(maps: readonly ReadonlyMap<string, number>[]): Map<string, number> {
  const sum = new Map<string, number>();
  for (const map of maps) for (const [name, count] of map) sum.set(name, (sum.get(name) ?? 0) + count);
  return sum;
}

const worlds = [
  ['the embedded controller', 'emulated', FULL ? 1_800_000 : 8_000],
  [qemuName, 'qemu', FULL ? 360_000 : 4_000],
] as const;

describe('random work of eight tenants', { timeout: FULL ? 3_600_000 : 180_000 }, () => {
  test.for(worlds)('on %s: %s, %i requests', async ([, kind, requests], context) => {
    if (kind === 'qemu' && !hasQemu) return context.skip('needs the package qemu-system-x86');
    const space = workspace();
    const server = await Server.start(space, settings(kind));
    const random = new Random(SEED);
    const setup = { lanes: LANES, blockBytes: BLOCK_BYTES, calm: CALM_MS };
    const tenants = NAMES.map((name, index) => new RandomTenant(server, name, { ...setup, seed: (SEED * NAMES.length + index) >>> 0 }));
    let isOver = false;
    const counts = { controllerResets: 0, revocations: 0 };
    const reload = async (without?: string): Promise<void> => {
      space.file('ringwarden.json', settings(kind, without));
      await server.admin('/reload', 'POST');
    };
    const others = (async () => {
      while (!isOver) {
        await sleep(CALM_MS + random.below(3 * CALM_MS));
        if (isOver) return;
        if (random.once(3)) {
          counts.controllerResets++;
          await tenants.reduce<() => Promise<void>>(
            (inner, tenant) => () => tenant.disturbed(inner),
            () => server.admin('/devices/nvme0/reset', 'POST'),
          )();
        } else {
          counts.revocations++;
          const tenant = random.pick(tenants);
          await tenant.disturbed(() => reload(tenant.name));
          await reload();
        }
      }
    })();
    const began = performance.now();
    const working = Promise.all(tenants.map((tenant) => tenant.run(requests / NAMES.length))).finally(() => {
      isOver = true;
    });
    await Promise.all([working, others]);
    await Promise.all(tenants.map((tenant) => tenant.verify()));
    const seconds = (performance.now() - began) / 1_000;
    const kinds = sumOf(tenants.map((tenant) => tenant.kinds));
    const failures = sumOf(tenants.map((tenant) => tenant.failures));
    const upsets = tenants
      .map(({ upsets: of }) => of)
      .reduce((sum, of) => ({ reset: sum.reset + of.reset, reopened: sum.reopened + of.reopened, revoked: sum.revoked + of.revoked }));
    const transports = new Set(tenants.flatMap((tenant) => [...tenant.transports]));
    console.log(
      `RINGWARDEN_SEED=${SEED}: ${requests} requests in ${seconds.toFixed(1)} s`,
      Object.fromEntries(kinds),
      Object.fromEntries(failures),
      upsets,
      counts,
      [...transports],
    );
    expect(
      tenants.flatMap(({ mismatches }) => mismatches),
      `RINGWARDEN_SEED=${SEED}`,
    ).toEqual([]);
    expect([...kinds.keys()].toSorted()).toEqual(KINDS.toSorted());
    expect(upsets.reset).toBeGreaterThan(0);
    expect(transports.size).toBe(4);
    expect(server.log.filter(({ level }) => level === 'error')).toEqual([]);
    expect(await server.stop()).toEqual({ status: 0, signal: null });
  });
});
