import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEmulated, prepareEmulated } from '../../src/hw/emulated/index.js';
import { SHAPES, nvmeDriverContract } from './nvme-driver.js';

const shapes = [...SHAPES, { name: 'doorbell stride 3', namespaces: [{ bytes: 16 * 1_048_576, blockBytes: 4096 as const }], doorbellStride: 3 }];

for (const mode of ['stepped', 'thread'] as const) {
  nvmeDriverContract(
    `the embedded controller (${mode})`,
    async (shape) => {
      const folder = mkdtempSync(join(tmpdir(), 'ringwarden-'));
      const { name: _name, namespaces, ...given } = shape;
      const prepared = await prepareEmulated({
        mode,
        ...given,
        namespaces: namespaces.map((namespace, index) => ({ ...namespace, image: join(folder, `image-${index}`) })),
      });
      return {
        backing: openEmulated(prepared.handle),
        end: async () => {
          await prepared.dispose();
          rmSync(folder, { recursive: true });
        },
      };
    },
    shapes,
  );
}
