/**
 * Hostile requests end to end, with the DMA audit on: three tenants send a mix of random and nearly valid entries, and afterwards every access that the
 * device made for a queue must lie in the memory of that queue's tenant or of the server.
 */
import { expect, test } from 'vitest';
import { violations } from '../../../src/hw/emulated/index.js';
import { ENTRY_WORDS, EntryWord, LAST_OPERATION, packEntry } from '../../../src/protocol/index.js';
import { EngineWorld, REGION_BYTES, type Tenant } from '../../support/engine-world.js';
import { Random } from '../../oracle/random.js';

const FULL = process.env['RINGWARDEN_FULL'] === '1';
const REQUESTS = FULL ? 100_000 : 20_000;
const BATCH = 64;
const SHARE_BLOCKS = 1000;

const EDGES = [0, 1, 3, 4, 511, 512, 513, 4095, 4096, 4097, SHARE_BLOCKS - 1, SHARE_BLOCKS, REGION_BYTES - 512, REGION_BYTES, 2 ** 31, 2 ** 32 - 1];

/** An entry of `tenant`: valid, or with a few words changed, or noise; sometimes with the names of another tenant. */
function hostileEntry(world: EngineWorld, random: Random, tenant: Tenant, others: readonly Tenant[], words: Uint32Array): void {
  const operation = 1 + random.below(LAST_OPERATION);
  const blocks = 1 + random.below(16);
  const lba = BigInt(random.below(SHARE_BLOCKS - blocks));
  const offset = BigInt(4 * random.below((REGION_BYTES - blocks * 512) / 4));
  const plain = [3, 4, 6].includes(operation);
  const fields = world.request(tenant, {
    operation,
    blocks: operation === 4 || !plain ? blocks : 0,
    lba: operation === 3 || operation === 6 ? 0n : lba,
    region: operation === 3 || operation === 4 ? 0 : tenant.region,
    offset: operation === 3 || operation === 4 ? 0n : offset,
    length: operation === 6 ? 16 * (1 + random.below(4)) : plain ? 0 : blocks * 512,
  });
  packEntry(words, 0, fields);
  const kind = random.below(10);
  if (kind < 3) return;
  if (kind === 9) {
    for (let word = 0; word < ENTRY_WORDS; word++) words[word] = random.word();
    words[EntryWord.lease] = tenant.lease.lease;
    words[EntryWord.generation] = tenant.lease.generation;
    return;
  }
  for (let change = 1 + random.below(2); change > 0; change--) {
    const word = random.below(ENTRY_WORDS);
    const how = random.below(4);
    const other = random.pick(others);
    if (how === 0) words[word] = random.word();
    else if (how === 1) words[word] = random.pick(EDGES);
    else if (how === 2) words[word] ^= 1 << random.below(32);
    else words[EntryWord.region] = other.region;
  }
}

test.each(['direct', 'copied'] as const)(
  `%s DMA, ${REQUESTS} hostile requests: no access outside the tenant's memory, no block outside its share`,
  async (dma) => {
    const seed = Number(process.env['RINGWARDEN_SEED'] ?? Date.now() % 2 ** 31);
    console.log(`seed ${seed} (RINGWARDEN_SEED=${seed} repeats it)`);
    const random = new Random(seed);
    const world = await EngineWorld.create({ audit: true });
    const tenants = [1, 2, 3].map((index) => world.tenant(index, { dma }));
    const guard = world.tenant(0);
    guard.memory.fill(0x77);
    const owners = new Map(
      tenants.map((tenant) => [
        world.engine.device.lease(tenant.lease.lease).queues[tenant.queue]?.pair?.id,
        `${dma === 'copied' ? 'copy of ' : ''}tenant${tenant.index}`,
      ]),
    );
    // The block after the last of each share belongs to the next tenant: fill the guard's, and look at it at the end.
    for (let lba = 0; lba < SHARE_BLOCKS; lba += 100) {
      world.execute(guard, world.request(guard, { operation: 2, lba: BigInt(lba), blocks: 100 }));
    }
    world.run(world.backing.clearAudit());
    const words = new Uint32Array(ENTRY_WORDS);
    const histogram = new Map<number, number>();
    for (let sent = 0; sent < REQUESTS; sent += BATCH * tenants.length) {
      for (const tenant of tenants) {
        for (let index = 0; index < BATCH; index++) {
          hostileEntry(world, random, tenant, [...tenants, guard], words);
          // Tags of noise may repeat; that is part of it. The cookie is the test's.
          tenant.channel.push(new BigUint64Array(words.buffer), 0, index);
        }
        tenant.channel.commit();
      }
      for (const tenant of tenants) for (const { code } of world.expect(tenant, BATCH)) histogram.set(code, (histogram.get(code) ?? 0) + 1);
      for (const record of world.run(world.backing.audit())) {
        if (record.queue <= 0) continue;
        const allowed = ['server', owners.get(record.queue) ?? 'nobody'];
        expect(violations([record], allowed)).toEqual([]);
      }
      world.run(world.backing.clearAudit());
    }
    expect(histogram.get(0) ?? 0).toBeGreaterThan(REQUESTS / 10);
    expect(histogram.size).toBeGreaterThan(15);
    for (let lba = 0; lba < SHARE_BLOCKS; lba += 100) {
      guard.memory.fill(0);
      world.execute(guard, world.request(guard, { lba: BigInt(lba), blocks: 100 }));
      expect(guard.memory.subarray(0, 51_200).every((byte) => byte === 0x77)).toBe(true);
    }
    await world.end();
  },
  FULL ? 600_000 : 60_000,
);
