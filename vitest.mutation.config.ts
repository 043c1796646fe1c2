/**
 * What Stryker runs against each mutant of the validator: the tests that name what they prove, not the long random runs.
 *
 * Mutants that survive because they are the same program:
 * - `at - RangeWord.lbaLow` for `at + RangeWord.lbaLow` (three places): the index is 0.
 * - `memoryRule` without `slot < handles.length`, or with `<=`: a word behind the end of an array is undefined, which equals no handle. The check
 *   says what is meant, and keeps clients from reading behind the end on the hot path.
 * - `liesInside` without `count <= size`: `size - count` is then negative, and no start is below it. Both halves of the check stay together.
 * - `TagSet` with `clz32(2 * capacity + 1)`: some tables become twice as large as they need to be, and hold the same.
 */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: { include: ['test/unit/validator/**/*.test.ts'], exclude: ['test/unit/validator/{differential,properties}.test.ts'] },
});
