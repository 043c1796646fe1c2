import { openEmulated, prepareEmulated } from '../../src/hw/emulated/index.js';
import { backingContract } from './backing.js';

const MIB = 1_048_576;

for (const mode of ['stepped', 'thread'] as const) {
  backingContract(
    `embedded controller, ${mode}`,
    async () => {
      const prepared = await prepareEmulated({ mode, namespaces: [{ bytes: 16 * MIB, blockBytes: 512 }] });
      return { backing: openEmulated(prepared.handle), end: () => prepared.dispose() };
    },
    { autonomous: mode === 'thread' },
  );
}
