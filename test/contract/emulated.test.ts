import { type EmulatedOptions, openEmulated, prepareEmulated } from '../../src/hw/emulated/index.js';
import { backingContract } from './backing.js';

const MIB = 1_048_576;

const shapes: Readonly<Record<string, EmulatedOptions>> = {
  plain: { namespaces: [{ bytes: 16 * MIB, blockBytes: 512 }] },
  'small and odd': {
    namespaces: [{ bytes: 4 * MIB, blockBytes: 4096 }, { bytes: MIB, blockBytes: 512 }, { bytes: 8192 }],
    mdts: 1,
    queuePairs: 2,
    mqes: 15,
    vectors: 3,
    doorbellStride: 5,
    seed: 7,
  },
};

for (const mode of ['stepped', 'thread'] as const) {
  for (const [name, options] of Object.entries(shapes)) {
    backingContract(
      `embedded controller, ${mode}, ${name}`,
      async () => {
        const prepared = await prepareEmulated({ mode, ...options });
        return { backing: openEmulated(prepared.handle), end: () => prepared.dispose() };
      },
      { autonomous: mode === 'thread' },
    );
  }
}
