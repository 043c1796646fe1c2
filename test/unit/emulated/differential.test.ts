/** Random commands against the controller and against a model of the disk that a child could write: an array of blocks. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NvmOpcode, Sqe, Status } from '../../../src/hw/nvme/spec/index.js';
import { blocks, buildPrps, putAddress } from '../../support/raw-nvme.js';
import { PAGE, pattern, startHost } from './world.js';

const BLOCKS = 300;

const command = fc.oneof(
  fc.record({
    kind: fc.constantFrom('read', 'write', 'compare', 'writeZeroes'),
    lba: fc.integer({ min: 0, max: BLOCKS + 4 }),
    count: fc.integer({ min: 1, max: 40 }),
    offset: fc.integer({ min: 0, max: 2047 }).map((n) => 4 * n),
    seed: fc.nat(),
    equal: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant('deallocate'),
    ranges: fc.array(fc.tuple(fc.integer({ min: 0, max: BLOCKS + 1 }), fc.integer({ min: 0, max: 50 })), { minLength: 1, maxLength: 5 }),
  }),
);

describe.each([
  ['memory', 512],
  ['memory', 4096],
  ['image', 512],
  ['image', 4096],
] as const)('%s with blocks of %i bytes', (where, blockBytes) => {
  test('does what the naive disk does', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ringwarden-'));
    try {
      const image = where === 'image' ? join(folder, 'image') : undefined;
      const { host } = await startHost({ namespaces: [{ bytes: BLOCKS * blockBytes, blockBytes, image }] });
      const pair = await host.createPair(1);
      const data = await host.allocate(64 * PAGE);
      const lists = await host.allocate(2 * PAGE);
      const disk = Buffer.alloc(BLOCKS * blockBytes);
      const inside = (lba: number, count: number): boolean => lba <= BLOCKS && count <= BLOCKS - lba;
      const property = fc.asyncProperty(fc.array(command, { minLength: 1, maxLength: 30 }), async (commands) => {
        for (const one of commands) {
          if ('ranges' in one) {
            for (const [index, [lba, count]] of one.ranges.entries()) {
              lists.u32[4 * index + 1] = count;
              putAddress(lists.u32, 4 * index + 2, BigInt(lba));
            }
            const words = { [Sqe.cdw10]: one.ranges.length - 1, [Sqe.cdw11]: 4 };
            const { status } = await host.io(pair, { opcode: NvmOpcode.datasetManagement, nsid: 1, prp1: lists.at(0), words });
            const good = one.ranges.every(([lba, count]) => inside(lba, count));
            expect(status).toBe(good ? 0 : Status.lbaOutOfRange);
            if (good) for (const [lba, count] of one.ranges) disk.fill(0, lba * blockBytes, (lba + count) * blockBytes);
            continue;
          }
          const { lba, count, offset } = one;
          const bytes = count * blockBytes;
          const memory = Buffer.from(data.memory.buffer, offset, bytes);
          const stored = disk.subarray(lba * blockBytes, lba * blockBytes + bytes);
          pattern(memory, one.seed);
          if (one.kind === 'compare' && one.equal && inside(lba, count)) stored.copy(memory);
          const given = Buffer.from(memory);
          const opcode = NvmOpcode[one.kind as 'read'];
          const { status } = await host.io(pair, { opcode, nsid: 1, ...buildPrps(data, offset, bytes, lists), words: blocks(lba, count) });
          if (!inside(lba, count)) {
            expect(status).toBe(Status.lbaOutOfRange);
            expect(memory.equals(given)).toBe(true);
          } else if (one.kind === 'compare') {
            expect(status).toBe(stored.equals(given) ? 0 : Status.compareFailure);
          } else {
            expect(status).toBe(0);
            if (one.kind === 'read') expect(memory.equals(stored)).toBe(true);
            if (one.kind === 'write') given.copy(stored);
            if (one.kind === 'writeZeroes') stored.fill(0);
          }
        }
      });
      await fc.assert(property, { numRuns: 40 });
      for (let lba = 0; lba < BLOCKS; lba += 30) {
        expect(
          (await host.io(pair, { opcode: NvmOpcode.read, nsid: 1, ...buildPrps(data, 0, 30 * blockBytes, lists), words: blocks(lba, 30) })).status,
        ).toBe(0);
        expect(Buffer.from(data.memory.buffer, 0, 30 * blockBytes).equals(disk.subarray(lba * blockBytes, (lba + 30) * blockBytes))).toBe(true);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
