/** How Vitest runs in the guest: compiled files as they are, each in a process of its own, one at a time. Each row is a project, named after its index. */
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { guest } from './guest.js';

const root = join(import.meta.dirname, '../..');

export default defineConfig({
  root,
  test: {
    fileParallelism: false,
    projects: guest.rows.flatMap((row, index) =>
      'tests' in row
        ? {
            root,
            test: {
              name: `${index}`,
              include: [row.tests.replace(/\.ts$/, '.js')],
              setupFiles: [join(import.meta.dirname, 'setup.js')],
              env: { RINGWARDEN_GUEST_ROW: `${index}`, ...row.env },
              pool: 'forks' as const,
              fileParallelism: false,
              testTimeout: 60_000,
              hookTimeout: 60_000,
              sequence: { groupOrder: index },
              experimental: { viteModuleRunner: false, nodeLoader: false },
            },
          }
        : [],
    ),
  },
});
