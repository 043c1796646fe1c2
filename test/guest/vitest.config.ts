/** How Vitest runs in the guest: compiled files as they are, each in a process of its own, one after the other. */
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { compiled, guest } from './guest.js';

export default defineConfig({
  root: join(import.meta.dirname, '../..'),
  test: {
    include: guest.rows.flatMap((row) => ('tests' in row ? [compiled(row.tests)] : [])),
    env: { RINGWARDEN_GUEST: '1' },
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    experimental: { viteModuleRunner: false, nodeLoader: false },
  },
});
