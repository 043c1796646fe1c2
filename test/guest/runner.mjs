/** Runs in the guest: one row after the other, each told to the machine as it begins and ends. Exit status 0 if every row passed. */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { SHARE, tell, told } from './events.mjs';
import { finish } from './finish.mjs';
import { bindTo } from './pci.mjs';
import { rowsOf } from './rows.mjs';

const VITEST = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/guest/vitest.config.mjs', '--configLoader', 'native'];
const REPORTERS = ['--reporter', 'verbose', '--reporter', `${import.meta.dirname}/reporter.mjs`];
const env = { RINGWARDEN_GUEST: '1', NO_COLOR: '1' };

const { values: options } = parseArgs({ options: { boot: { type: 'string' }, only: { type: 'string', multiple: true } } });
const rows = rowsOf(options.boot, options.only).map((row, index) => ({ ...row, index, log: `${SHARE}/logs/${index}.log` }));

async function withLog(file, work) {
  const log = openSync(file, 'w');
  try {
    return await work(log);
  } finally {
    closeSync(log);
  }
}

/** A program: its status counts, and the last line of its output that begins with `result:` is for the table. */
async function runProgram({ index, log, device, driver, command, seconds, ...row }) {
  tell({ index, state: 'begun' });
  const began = performance.now();
  let failure;
  try {
    if (device !== undefined) bindTo(device, driver);
    failure = await withLog(log, (descriptor) => finish(command, { ...env, ...row.env }, descriptor, seconds));
  } catch (error) {
    failure = error.message;
  }
  const result = /^result: (.*)/m.exec(readFileSync(log, 'utf8'))?.[1] ?? '';
  tell({ index, state: 'ended', seconds: (performance.now() - began) / 1000, result, failure });
}

/** All the files of tests, in one run of Vitest, whose reporter tells of the rows. */
async function runTests(rows) {
  if (rows.length === 0) return;
  const ours = JSON.stringify(Object.fromEntries(rows.map(({ tests, index, skips = 0 }) => [tests, { index, skips }])));
  const files = rows.map(({ tests }) => tests.replace(/\.ts$/, '.js'));
  const seconds = rows.reduce((sum, { seconds }) => sum + seconds, 0);
  const command = [process.execPath, ...VITEST, ...REPORTERS, ...files];
  const failure = await withLog(`${SHARE}/logs/vitest.log`, (log) => finish(command, { ...env, RINGWARDEN_GUEST_ROWS: ours }, log, seconds));
  if (failure === undefined) return;
  const ended = new Set(told().map(({ index, state }) => state === 'ended' && index));
  for (const { index } of rows) if (!ended.has(index)) tell({ index, state: 'ended', seconds: 0, failure: `Vitest: ${failure}` });
}

for (const row of rows) if (row.command !== undefined) await runProgram(row);
await runTests(rows.filter(({ tests }) => tests !== undefined));
const passed = told().filter(({ state, failure }) => state === 'ended' && failure === undefined);
process.exitCode = passed.length === rows.length ? 0 : 1;
