// npm run check: everything that can be said about the source without running it. Each step runs; the exit status is 1 if any failed.
import { spawnSync } from 'node:child_process';

const STEPS = [
  ['types', 'tsc', '-p', 'tsconfig.json'],
  ['lint', 'oxlint', '--type-aware', '--deny-warnings', 'src', 'test', 'examples', 'bench', 'scripts'],
  ['format', 'oxfmt', '--check', '.'],
  ['import directions', process.execPath, 'scripts/check-imports.mjs'],
  ['dead code', 'knip'],
  ['package', 'publint', '--strict'],
  ['package types', 'attw', '--pack', '.', '--profile', 'esm-only'],
];

const failed = [];
for (const [name, command, ...args] of STEPS) {
  console.log(`\n== ${name}`);
  const { status, error } = spawnSync(command, args, { stdio: 'inherit', env: { ...process.env, PATH: `node_modules/.bin:${process.env.PATH}` } });
  if (status !== 0) failed.push(name);
  if (error) console.error(error.message);
}
console.log(failed.length === 0 ? `\ncheck: ${STEPS.length} steps passed` : `\ncheck: failed: ${failed.join(', ')}`);
process.exitCode = failed.length === 0 ? 0 : 1;
