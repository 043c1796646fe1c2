/** How Vitest runs in the guest: compiled files as they are, each in a process of its own, one after the other. */
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import { compiled, guest } from './guest.js';

const files = guest.rows.flatMap((row) => ('tests' in row ? [compiled(row.tests)] : []));
const root = join(import.meta.dirname, '../..');

class RowByRow extends BaseSequencer {
  override async sort(modules: TestSpecification[]): Promise<TestSpecification[]> {
    return files.flatMap((file) => modules.filter(({ moduleId }) => moduleId === join(root, file)));
  }
}

export default defineConfig({
  root,
  test: {
    include: files,
    sequence: { sequencer: RowByRow },
    env: { RINGWARDEN_GUEST: '1' },
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    experimental: { viteModuleRunner: false, nodeLoader: false },
  },
});
