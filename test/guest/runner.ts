/** Runs in the guest: one row after the other, each told to the machine as it begins and ends. Exit status 0 if every row passed. */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ended, tell } from './events.js';
import { finish } from './finish.js';
import { SHARE, guest, type ProgramRow } from './guest.js';

const here = (name: string): string => join(import.meta.dirname, name);
const VITEST = ['node_modules/vitest/vitest.mjs', 'run', '--config', here('vitest.config.js'), '--configLoader', 'native'];
const REPORTERS = ['--reporter', 'verbose', '--reporter', here('reporter.js')];

async function withLog<T>(name: string, work: (log: number) => Promise<T>): Promise<T> {
  const log = openSync(`${SHARE}/logs/${name}.log`, 'w');
  try {
    return await work(log);
  } finally {
    closeSync(log);
  }
}

/** A program: its status counts, and a line of its output that begins with `result:` is for the table. */
async function runProgram(index: number, row: ProgramRow): Promise<void> {
  tell({ index, state: 'begun' });
  const began = performance.now();
  const failure = await withLog(`${index}`, (log) => finish([here(row.program)], log, row.seconds));
  const result = /^result: (.*)/m.exec(readFileSync(`${SHARE}/logs/${index}.log`, 'utf8'))?.[1] ?? '';
  tell({ index, state: 'ended', seconds: (performance.now() - began) / 1000, result, failure });
}

/** All the files of tests, in one run of Vitest, whose reporter tells of the rows. */
async function runTests(): Promise<void> {
  const indices = [...guest.rows.keys()].filter((index) => 'tests' in guest.rows[index]);
  if (indices.length === 0) return;
  const seconds = indices.reduce((sum, index) => sum + guest.rows[index].seconds, 0);
  const failure = await withLog('vitest', (log) => finish([...VITEST, ...REPORTERS], log, seconds));
  if (failure === undefined) return;
  const done = new Set(ended().map(({ index }) => index));
  for (const index of indices) if (!done.has(index)) tell({ index, state: 'ended', seconds: 0, failure: `Vitest: ${failure}` });
}

for (const [index, row] of guest.rows.entries()) if ('program' in row) await runProgram(index, row);
await runTests();
process.exitCode = ended().filter(({ failure }) => failure === undefined).length === guest.rows.length ? 0 : 1;
