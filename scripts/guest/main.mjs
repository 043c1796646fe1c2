/**
 * `npm run test:guest`: boots Debian's kernel in QEMU and runs there, on PCI functions, what needs a real kernel. Prints a table; exit status 0 only if every row passed.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { boot, prepareFolder } from './boot.mjs';
import { compileTests } from './compile.mjs';
import { kernelFolder } from './kernel.mjs';
import { DEVICES } from './devices.mjs';
import { checkNeeds } from './needs.mjs';
import { GuestFailure, say, secondsSince, step } from './progress.mjs';
import { BOOTS, rowsOf } from './rows.mjs';

const HELP = `usage: npm run test:guest -- [--only WORDS]... [--keep]

  --only WORDS  only the rows whose path or description contain these words
  --keep        keep the folder with the console and the rows' output, also when all is well

RINGWARDEN_GUEST_CACHE is where the kernel is kept between runs (default: ~/.cache/ringwarden/guest).`;

const ROOT = join(import.meta.dirname, '../..');
/** Seconds for a boot beside those of its rows. */
const BOOT_SECONDS = 60;
const TAIL_LINES = 40;

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', multiple: true },
    keep: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

const table = new Table({
  head: ['boot', 'path', 'what', 'result', 's'],
  style: { head: [], border: [] },
  wordWrap: true,
  colWidths: [null, null, null, 60, null],
});
let failures = 0;

const tail = (file) =>
  existsSync(file) ? readFileSync(file, 'utf8').replaceAll('\r', '').trimEnd().split('\n').slice(-TAIL_LINES).join('\n') : '(nothing)';

/** Requirements that need a real function: each has a test here whose name has its number (docs/requirements.md). */
const REQUIREMENTS = [10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 31, 32, 33, 38, 39].map((number) => `R${number}`);
const shown = new Set();

function checkRequirements() {
  const missing = REQUIREMENTS.filter((id) => !shown.has(id));
  if (missing.length > 0) failures++;
  const result = missing.length === 0 ? `passed ${REQUIREMENTS.length} requirements` : `FAILED: no test passed for ${missing.join(', ')}`;
  table.push(['both', '-', 'each requirement on real functions has a test', result, '']);
}

/** Boots one machine and runs its rows. */
async function runBoot(kernel, folder, { name, hasIommu }) {
  const rows = rowsOf(name, options.only);
  if (rows.length === 0) return;
  const own = join(folder, name);
  const share = prepareFolder(own, ROOT, [process.execPath, 'build/guest/test/guest/runner.js'], { hasIommu, rows, devices: DEVICES });
  const ended = new Map();
  const began = performance.now();
  const heard = ({ index, state, ...outcome }) => {
    const { seconds, failure } = outcome;
    const { path, what } = rows[index];
    if (state === 'begun') return say(`${name}: ${path}: ${what} ...`);
    say(`${name}: ${path}: ${what}: ${failure === undefined ? 'passed' : `FAILED: ${failure}`}, ${seconds.toFixed(1)} s`);
    ended.set(index, outcome);
    for (const [id] of (outcome.titles ?? []).join().matchAll(/\bR\d\d\b/g)) shown.add(id);
  };
  say(`${name}: booting ...`);
  const deadline = BOOT_SECONDS + rows.reduce((sum, { seconds }) => sum + seconds, 0);
  const trouble = await boot({ kernel, folder: own, hasIommu, deadline, heard });
  say(`${name}: ended after ${secondsSince(began)} s`);
  for (const [index, { path, what, tests }] of rows.entries()) {
    const { seconds, failure, result, details } = ended.get(index) ?? { failure: 'not run to its end' };
    if (failure !== undefined) {
      failures++;
      const output = join(share, 'logs', tests === undefined ? `${index}.log` : 'vitest.log');
      console.error(`\n== ${name}: ${path}: ${what}: ${failure}\n${details?.join('\n') ?? `the end of its output:\n${tail(output)}`}`);
    }
    table.push([name, path, what, failure === undefined ? `passed ${result}`.trim() : `FAILED: ${failure}`, seconds?.toFixed(1) ?? '']);
  }
  // A row that failed is the reason for the guest's status, and has been told.
  if (trouble === undefined || (failures > 0 && ended.size === rows.length)) return;
  failures++;
  console.error(`\n== ${name}: ${trouble}; the end of its console:\n${tail(join(own, 'console'))}`);
  table.push([name, '-', 'the guest ends well', `FAILED: ${trouble}`, '']);
}

async function main() {
  if (BOOTS.every(({ name }) => rowsOf(name, options.only).length === 0)) throw new GuestFailure(`no row has the words ${options.only.join(' or ')}`);
  checkNeeds();
  if (!existsSync(join(ROOT, 'dist/program/ringwarden.js'))) throw new GuestFailure('the project is not built: npm run build');
  const kernel = await kernelFolder();
  await step('compiling the tests', compileTests);
  const folder = mkdtempSync(join(tmpdir(), 'ringwarden-guest-'));
  for (const machine of BOOTS) await runBoot(kernel, folder, machine);
  if (options.only === undefined) checkRequirements();
  console.log(table.toString());
  if (failures > 0 || options.keep) say(`consoles and output: ${folder}`);
  else rmSync(folder, { recursive: true });
  console.log(failures === 0 ? 'guest: every row passed' : `guest: ${failures} failed`);
  process.exitCode = failures === 0 ? 0 : 1;
}

try {
  if (options.help) console.log(HELP);
  else await main();
} catch (error) {
  if (!(error instanceof GuestFailure)) throw error;
  console.error(`guest: ${error.message}`);
  process.exitCode = 1;
}
