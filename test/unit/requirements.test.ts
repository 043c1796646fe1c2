import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = resolve(import.meta.dirname, '../..');
const rows = readFileSync(resolve(ROOT, 'docs/requirements.md'), 'utf8')
  .split('\n')
  .filter((line) => /^\| R\d\d /.test(line))
  .map((line) => line.split('|').map((cell) => cell.trim()))
  .map(([, id, requirement, state, code, tests]) => ({ id, requirement, state, code, tests }));

test('every requirement from R01 to R41 has one row, in order', () => {
  expect(rows.map(({ id }) => id)).toEqual(Array.from({ length: 41 }, (_, index) => `R${String(index + 1).padStart(2, '0')}`));
});

test.each(rows)('$id names files that are there', ({ state, code, tests }) => {
  expect(['met', 'part', 'not yet']).toContain(state);
  const paths = [...`${code} ${tests}`.matchAll(/`((?:src|test|bench|scripts)\/[^` ]*)`/g)].map(([, path]) => path);
  for (const path of paths) expect(existsSync(resolve(ROOT, path)), path).toBe(true);
  if (state === 'met') expect(tests).toMatch(/`test\//);
});
