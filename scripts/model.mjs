// npm run model: checks the models of test/model with Spin, exhaustively: each variant must pass, and each mutant must fail in the way that it says.
// Exit status 0 only then. Without Spin the models are skipped, and with --require that is a failure.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Table from 'cli-table3';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const MODELS = ['rings.pml', 'channel.pml', 'memory.pml'];
/** Steps of the longest path. A search that is cut off there proves nothing, and fails. */
const DEPTH = 8_000_000;
const DEADLINE_MS = 300_000;

const missing = ['spin', 'gcc'].filter((program) => spawnSync(program, [program === 'spin' ? '-V' : '--version']).error);
if (missing.length > 0) {
  console.log(`model: SKIPPED, ${missing.join(' and ')} not found: apt-get install ${missing.join(' ')}`);
  process.exit(process.argv.includes('--require') ? 1 : 0);
}

const folder = mkdtempSync(join(tmpdir(), 'ringwarden-model-'));
const table = new Table({ head: ['model', 'run', 'what', 'expected', 'found', 'states', 's'], style: { head: [], border: [] } });
let failures = 0;
try {
  for (const model of MODELS) check(model);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(table.toString());
console.log(failures === 0 ? 'model: every variant passed, and every mutant was found' : `model: ${failures} not as expected`);
process.exitCode = failures === 0 ? 0 : 1;

function check(model) {
  const file = join(ROOT, 'test/model', model);
  const text = readFileSync(file, 'utf8');
  for (const complaint of references(text)) report([model, '', complaint, 'there', 'not there', '', ''], false);
  const variants = [...text.matchAll(/^ \* variant: (.*?) \| (.*)$/gm)].map(([, words, what]) => ({ words: words.split(' '), what }));
  const mutants = [...text.matchAll(/^#ifn?def (\w+) \/\/ mutant: (.*?) \| ([\w=]+): (.*)$/gm)];
  if (mutants.length !== text.match(/\/\/ mutant:/g).length) throw new Error(`${model}: a mutant that cannot be read`);
  for (const { words, what } of variants) expect(model, file, words.join(' '), words, what, 'nothing', false);
  for (const [, name, what, variant, finding] of mutants) {
    const of = variants.find(({ words }) => words.includes(variant));
    if (of === undefined) throw new Error(`${model}: ${name} is a mutant of no variant`);
    expect(model, file, name, [...of.words, name], what, finding, true);
  }
}

/** What the model says that it models, and is not there. */
function references(text) {
  return [...text.matchAll(/((?:src|docs|examples)\/[\w/.-]+\.\w+): ([#\w]+)/g)]
    .filter(([, path, name]) => {
      try {
        return !new RegExp(`(?<![\\w#])${name}(?!\\w)`).test(readFileSync(join(ROOT, path), 'utf8'));
      } catch {
        return true;
      }
    })
    .map(([reference]) => reference);
}

function expect(model, file, run, words, what, expected, shortest) {
  const began = performance.now();
  const { found, states } = search(file, words, shortest);
  report([model, run, what, expected, found, states, ((performance.now() - began) / 1000).toFixed(1)], found.includes(expected));
}

/** What Spin finds in the model with these definitions. By breadth first the path to an error is the shortest, and found at once. */
function search(file, words, shortest) {
  const eventually = words.includes('LIVENESS');
  const at = { cwd: folder, encoding: 'utf8', maxBuffer: 2 ** 26 };
  execFileSync('spin', ['-a', ...words.map((word) => `-D${word}`), file], at);
  const kind = eventually ? [] : shortest ? ['-DSAFETY', '-DBFS'] : ['-DSAFETY'];
  execFileSync('gcc', [shortest ? '-O0' : '-O2', '-w', '-DCOLLAPSE', ...kind, '-o', 'pan', 'pan.c'], at);
  const args = [`-m${DEPTH}`, ...(eventually ? ['-a', '-f'] : [])];
  const { stdout, error } = spawnSync(join(folder, 'pan'), args, { ...at, timeout: DEADLINE_MS });
  if (error) return { found: error.message, states: '' };
  const states = /(\d+) states, stored/.exec(stdout)?.[1] ?? '';
  return { found: finding(stdout), states };
}

function finding(output) {
  const [, error] = /^pan:1: (.*) \(at depth \d+\)$/m.exec(output) ?? [];
  // A property stands in its assertion by name, so that the table need not show the condition.
  if (error !== undefined) return /!\((\w+)\)\)$/.exec(error)?.[1] ?? error;
  if (/max search depth too small|out of memory/.test(output)) return 'search not complete';
  return /errors: 0$/m.test(output) ? 'nothing' : 'no result';
}

function report(row, isExpected) {
  if (!isExpected) failures++;
  table.push(isExpected ? row : row.map((cell, index) => (index === 1 ? `FAILED ${cell}` : cell)));
}
