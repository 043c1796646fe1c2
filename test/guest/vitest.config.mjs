/** How Vitest runs in the guest: on compiled files, as they are, each in a process of its own, one at a time. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: new URL('../../build/guest', import.meta.url).pathname,
  test: {
    include: ['test/**/*.test.js'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    experimental: { viteModuleRunner: false, nodeLoader: false },
  },
});
