/** Copied DMA: the device reaches copies in the server's memory, and never what a client maps. On both backings. */
import { afterEach, describe, expect, test } from 'vitest';
import type { Backing } from '../../../src/hw/backing.js';
import { Code, Operation } from '../../../src/protocol/index.js';
import { createMemoryFile } from '../../../src/hw/dma/index.js';
import type { EmulatedOptions } from '../../../src/hw/emulated/index.js';
import { HardwareError } from '../../../src/hw/task.js';
import { shm } from '../../../src/native/shm.js';
import { EngineWorld, REGION_BYTES, type Tenant } from '../../support/engine-world.js';
import { hasQemu, qemuName } from '../../support/qemu.js';
import { QemuWorld } from '../../support/qemu-world.js';
import { descriptorCount, mappingsOf } from '../native/support.js';

const BLOCK = 512;
const { read, write, compare, deallocate } = Operation;

let world: EngineWorld<Backing> | undefined;
afterEach(async () => {
  await world?.end();
  world = undefined;
});

async function emulated(options: EmulatedOptions = {}): Promise<EngineWorld> {
  const made = await EngineWorld.create({ audit: true, ...options });
  world = made as unknown as EngineWorld<Backing>;
  return made;
}

async function onQemu(): Promise<EngineWorld<Backing>> {
  const qemu = await QemuWorld.start({ drives: [{ bytes: 64 * 2 ** 20, blockBytes: BLOCK, content: 'memory' }] });
  world = EngineWorld.over(qemu.backing, {}, () => qemu.end());
  return world;
}

function run(on: EngineWorld<Backing>, tenant: Tenant, operation: number, lba: number, blocks: number, offset: number): number {
  return on.execute(tenant, on.request(tenant, { operation, lba: BigInt(lba), blocks, offset: BigInt(offset) }))[0].code;
}

const pattern = (bytes: number, seed: number): Buffer =>
  Buffer.from(Uint8Array.from({ length: bytes }, (_, at) => (at * 31 + (at >> 8) + seed) & 0xff));

const BACKINGS: readonly (readonly [string, boolean, () => Promise<EngineWorld<Backing>>])[] = [
  ['the embedded controller', true, () => emulated()],
  [qemuName, hasQemu, onQemu],
];

describe.each(BACKINGS)('on %s', (_name, isThere, make) => {
  test.skipIf(!isThere)('data arrive whole, and bytes beside them stay', async () => {
    const on = await make();
    const tenant = on.tenant(1, { dma: 'copied' });
    const data = pattern(64 * BLOCK, 5);
    // From the middle of a page to the middle of another.
    data.copy(tenant.memory, 2_052);
    expect(run(on, tenant, write, 7, 64, 2_052)).toBe(Code.ok);
    tenant.memory.fill(0xee);
    expect(run(on, tenant, read, 7, 64, 100_004)).toBe(Code.ok);
    expect(tenant.memory.subarray(100_004, 100_004 + data.length).equals(data)).toBe(true);
    const beside = [tenant.memory.subarray(0, 100_004), tenant.memory.subarray(100_004 + data.length)];
    expect(beside.every((part) => part.every((byte) => byte === 0xee))).toBe(true);
    expect(run(on, tenant, compare, 7, 64, 100_004)).toBe(Code.ok);
    tenant.memory[100_004] ^= 1;
    expect(run(on, tenant, compare, 7, 64, 100_004)).toBe(Code.compareFailed);
  });

  test.skipIf(!isThere)('many at once, each its own', async () => {
    const on = await make();
    const tenants = [on.tenant(1, { dma: 'copied' }), on.tenant(2, { dma: 'direct' })];
    for (const tenant of tenants) {
      for (let block = 0; block < 32; block++) tenant.memory.fill(tenant.index * 64 + block, block * BLOCK, (block + 1) * BLOCK);
      const requests = Array.from({ length: 32 }, (_, block) =>
        on.request(tenant, { operation: write, lba: BigInt(block), offset: BigInt(block * BLOCK) }),
      );
      expect(on.execute(tenant, ...requests).every(({ code }) => code === Code.ok)).toBe(true);
      tenant.memory.fill(0);
    }
    for (const tenant of tenants) {
      const requests = Array.from({ length: 32 }, (_, block) => on.request(tenant, { lba: BigInt(31 - block), offset: BigInt(block * BLOCK) }));
      expect(on.execute(tenant, ...requests).every(({ code }) => code === Code.ok)).toBe(true);
      for (let block = 0; block < 32; block++) expect(tenant.memory[block * BLOCK + 17]).toBe(tenant.index * 64 + 31 - block);
    }
  });
});

test('no access of the device hits what a client maps', async () => {
  const on = await emulated();
  const tenant = on.tenant(1, { dma: 'copied' });
  on.run(on.backing.clearAudit());
  for (let round = 0; round < 20; round++) {
    expect(run(on, tenant, write, round, 1 + round * 4, 4 * round)).toBe(Code.ok);
    expect(run(on, tenant, read, round, 1 + round * 4, 4_096 + 4 * round)).toBe(Code.ok);
    expect(run(on, tenant, compare, round, 1 + round * 4, 4_096 + 4 * round)).toBe(Code.ok);
  }
  const owners = new Map<string, number>();
  for (const { owner, target } of on.run(on.backing.audit())) if (target === 'memory') owners.set(owner, (owners.get(owner) ?? 0) + 1);
  expect([...owners.keys()].toSorted()).toEqual(['copy of tenant1', 'server']);
  expect(owners.get('copy of tenant1')).toBeGreaterThan(60);
});

test('what a client changes after the copy does not reach the device', async () => {
  const on = await emulated();
  const tenant = on.tenant(1, { dma: 'copied' });
  tenant.memory.fill(1, 0, BLOCK);
  on.submit(tenant, on.request(tenant, { operation: write }));
  // One turn takes the request and rings; the device comes later.
  on.engine.turn();
  tenant.memory.fill(2, 0, BLOCK);
  expect(on.expect(tenant, 1)[0].code).toBe(Code.ok);
  expect(run(on, tenant, read, 0, 1, 8_192)).toBe(Code.ok);
  expect(tenant.memory.subarray(8_192, 8_192 + BLOCK).every((byte) => byte === 1)).toBe(true);
});

test('the ranges of a deallocate come from the client', async () => {
  const on = await emulated();
  const tenant = on.tenant(1, { dma: 'copied' });
  tenant.memory.fill(0x44, 0, BLOCK);
  expect(run(on, tenant, write, 9, 1, 0)).toBe(Code.ok);
  tenant.memory.writeBigUInt64LE(9n, 4_096);
  tenant.memory.writeUInt32LE(1, 4_104);
  const asked = on.request(tenant, { operation: deallocate, blocks: 0, offset: 4_096n, length: 16 });
  expect(on.execute(tenant, asked)[0].code).toBe(Code.ok);
  tenant.memory.writeBigUInt64LE(1_000n, 4_096);
  expect(on.execute(tenant, { ...asked, tag: 99_999n })[0].code).toBe(Code.rangeOutsideShare);
  expect(run(on, tenant, read, 9, 1, 0)).toBe(Code.ok);
  expect(tenant.memory.subarray(0, BLOCK).every((byte) => byte === 0)).toBe(true);
});

test('what was given up, or failed, never reaches the client', async () => {
  const slow = { match: { opcode: 2, nth: 1 }, action: { kind: 'delay', milliseconds: 200 } } as const;
  const failing = { match: { opcode: 2, nth: 2 }, action: { kind: 'status', type: 2, code: 0x81 } } as const;
  const on = await emulated({ faults: [slow, failing] });
  const tenant = on.tenant(1, { dma: 'copied', queues: 'shared' });
  tenant.memory.fill(0x55, 0, BLOCK);
  expect(run(on, tenant, write, 0, 1, 0)).toBe(Code.ok);
  tenant.memory.fill(0xee);
  on.submit(tenant, on.request(tenant, {}));
  on.engine.turn();
  // As the watchdog does on the pair that leases share; the device knows nothing of it.
  const { path } = on.engine;
  for (const [pair, table] of path.tables) {
    for (let slot = 0; slot < pair.capacity; slot++) if (table.waiting(slot) !== undefined) path.abandon(pair, slot, Code.timeout);
  }
  expect(on.expect(tenant, 1).map(({ code }) => code)).toEqual([Code.timeout]);
  on.until(() => on.run(on.methods.regionInFlight(1, tenant.region)) === 0);
  const writes = on.run(on.backing.audit()).filter(({ owner, direction }) => owner === 'copy of tenant1' && direction === 'write');
  expect(writes.length).toBeGreaterThan(0);
  expect(run(on, tenant, read, 0, 1, 0)).toBe(Code.deviceError);
  expect(tenant.memory.every((byte) => byte === 0xee)).toBe(true);
  expect(run(on, tenant, read, 0, 1, 0)).toBe(Code.ok);
  expect(tenant.memory.subarray(0, BLOCK).every((byte) => byte === 0x55)).toBe(true);
});

test('where pages cannot be pinned, the device gets a copy of what was to be direct', async () => {
  const on = await emulated();
  const { attach } = on.backing;
  on.backing.attach = function* (fd, bytes, options) {
    if (options?.owner === 'tenant1') throw new HardwareError('unpinned', 'pages cannot be pinned');
    return yield* attach.call(on.backing, fd, bytes, options);
  };
  const tenant = on.tenant(1, { dma: 'direct' });
  on.backing.attach = attach;
  tenant.memory.fill(0x5a, 0, BLOCK);
  expect(run(on, tenant, write, 3, 1, 0)).toBe(Code.ok);
  expect(run(on, tenant, read, 3, 1, 4_096)).toBe(Code.ok);
  expect(tenant.memory.subarray(4_096, 4_096 + BLOCK).every((byte) => byte === 0x5a)).toBe(true);
  const owners = new Set(on.run(on.backing.audit()).map(({ owner }) => owner));
  expect(owners.has('copy of tenant1')).toBe(true);
  expect(owners.has('tenant1')).toBe(false);
});

test('nothing is left when a region goes, or could not come', async () => {
  const on = await emulated();
  const tenant = on.tenant(1, { dma: 'copied' });
  const before = [descriptorCount(), mappingsOf('ringwarden:copy').length, mappingsOf('test').length];
  expect(before[1]).toBe(1);
  const handle = 0x0200_0005;
  const fd = createMemoryFile('test', REGION_BYTES);
  on.run(on.methods.attachRegion(1, handle, fd, REGION_BYTES, 'tenant1', 'client', 'copied'));
  expect(mappingsOf('ringwarden:copy')).toHaveLength(2);
  on.run(on.methods.detachRegion(1, handle, false));
  // The slot is taken: the copy and the mapping are given back.
  expect(() => on.run(on.methods.attachRegion(1, tenant.region, fd, REGION_BYTES, 'tenant1', 'client', 'copied'))).toThrow(/taken/);
  const { attach: original } = on.backing;
  on.backing.attach = function* () {
    throw new HardwareError('exhausted', 'no address is left');
  };
  expect(() => on.run(on.methods.attachRegion(1, handle, fd, REGION_BYTES, 'tenant1', 'client', 'copied'))).toThrow('no address is left');
  on.backing.attach = original;
  shm().close(fd);
  expect([descriptorCount(), mappingsOf('ringwarden:copy').length, mappingsOf('test').length]).toEqual(before);
});
