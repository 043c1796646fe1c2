import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'vitest';
import { openQemu, prepare } from '../../src/hw/qemu/index.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { nvmeDriverContract } from './nvme-driver.js';

describe.skipIf(!hasQemu)(qemuName, () => {
  nvmeDriverContract('QEMU', async (shape) => {
    const folder = mkdtempSync(join(tmpdir(), 'ringwarden-'));
    const prepared = await prepare({
      drives: shape.namespaces.map(({ bytes, blockBytes }, index) => ({ file: join(folder, `image-${index}`), bytes, blockBytes })),
      mdts: shape.mdts ?? 7,
      queuePairs: shape.queuePairs ?? 64,
      vectors: 65,
      serial: 'contract',
    });
    return {
      backing: openQemu(prepared.handle),
      end: async () => {
        await prepared.dispose();
        rmSync(folder, { recursive: true });
      },
    };
  });
});
