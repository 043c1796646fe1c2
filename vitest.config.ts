import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    // Two cores carry this suite; with Vitest's default of one less than there are, one would stand idle.
    maxWorkers: 2,
    // A loaded machine takes its time.
    expect: { poll: { timeout: 20_000 } },
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts', 'test/contract/**/*.test.ts'],
          pool: 'forks',
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'system',
          include: ['test/system/**/*.test.ts'],
          pool: 'forks',
          testTimeout: 120_000,
          hookTimeout: 60_000,
        },
      },
    ],
    coverage: { provider: 'v8', include: ['src/validator/**'], thresholds: { branches: 100 } },
  },
});
