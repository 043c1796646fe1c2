/**
 * That memory keeps the order on which the rings rely, between threads of JavaScript, and between JavaScript and a program in C: nothing of this is said by a
 * specification for memory that two processes have mapped. Half a million rounds of each shape; ten million with RINGWARDEN_FULL=1.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { shm } from '../../src/native/shm.js';
import { ROOT, workspace, type Workspace } from '../support/processes.js';

const FULL = process.env['RINGWARDEN_FULL'] === '1';
/** Rounds in one memory, whose results fit into it. */
const ROUNDS = 250_000;
const TIMES = FULL ? 40 : 2;
/** How often the control may find nothing. On x86 one in fifty rounds does; where memory is stronger than that, nothing ever would. */
const CONTROLS = 20;
const RESULTS = 4_096;
const BYTES = 4 * (RESULTS + 2 * ROUNDS);
const hasGcc = spawnSync('gcc', ['--version']).status === 0;

type Shape = 'sb' | 'sb-plain' | 'mp';
type Side = 0 | 1;
/** Runs one side to its end. */
type Party = (fd: number, shape: Shape, side: Side) => Promise<void>;

const inThread: Party = async (fd, shape, side) => {
  const workerData = { fd, bytes: BYTES, shape, side, rounds: ROUNDS };
  const worker = new Worker(join(ROOT, 'test/system/programs/litmus.mjs'), { workerData });
  // Both at once: the exit can come right behind the message.
  const [[said]] = await Promise.all([once(worker, 'message'), once(worker, 'exit')]);
  expect(said).toBe('done');
};

function inC(space: Workspace): Party {
  const source = join(ROOT, 'test/system/programs/litmus.c');
  const made = spawnSync('gcc', ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-o', space.path('litmus'), source], { encoding: 'utf8' });
  expect([made.status, made.stderr]).toEqual([0, '']);
  return async (fd, shape, side) => {
    const child = spawn(space.path('litmus'), [shape, String(side), String(ROUNDS), String(BYTES)], { stdio: ['ignore', 'ignore', 'inherit', fd] });
    const [status] = (await once(child, 'exit')) as unknown[];
    expect(status).toBe(0);
  };
}

/** Both sides at once, in fresh memory. Returns in how many rounds neither saw what the other had stored; for `mp` that is none. */
async function meet(first: Party, second: Party, shape: Shape): Promise<number> {
  const fd = shm().memfdCreate('litmus', BYTES);
  try {
    await Promise.all([first(fd, shape, 0), second(fd, shape, 1)]);
    const buffer = shm().map(fd, 0, BYTES, false);
    const results = new Uint32Array(buffer, 4 * RESULTS);
    let blind = 0;
    if (shape !== 'mp') for (let round = 1; round <= ROUNDS; round++) if (results[round - 1] < round && results[ROUNDS + round - 1] < round) blind++;
    shm().unmap(buffer);
    return blind;
  } finally {
    shm().close(fd);
  }
}

async function meetOften(first: Party, second: Party, shape: Shape): Promise<number> {
  let blind = 0;
  for (let time = 0; time < TIMES; time++) blind += await meet(first, second, shape);
  return blind;
}

const title = `${(TIMES * ROUNDS).toLocaleString('en')} rounds`;

describe(`the order of memory, ${title}`, { timeout: FULL ? 1_800_000 : 180_000 }, () => {
  test('an index is stored, then the flag of the other is loaded: JavaScript and JavaScript', async () => {
    expect(await meetOften(inThread, inThread, 'sb')).toBe(0);
  });

  test('entries are there when the index is, and are read before their slot is used again: JavaScript to JavaScript', async () => {
    expect(await meetOften(inThread, inThread, 'mp')).toBe(0);
  });

  test.skipIf(!hasGcc)(`the same with C${hasGcc ? '' : ' (skipped: apt-get install gcc)'}`, async () => {
    const c = inC(workspace());
    expect(await meetOften(inThread, c, 'sb')).toBe(0);
    expect(await meetOften(inThread, c, 'mp')).toBe(0);
    expect(await meetOften(c, inThread, 'mp')).toBe(0);
  });

  const canReorder = availableParallelism() > 1;
  test.skipIf(!canReorder)(`plain accesses do lose sight of stores${canReorder ? '' : ' (skipped: one processor)'}`, async () => {
    let blind = 0;
    for (let time = 0; blind === 0 && time < CONTROLS; time++) blind = await meet(inThread, inThread, 'sb-plain');
    expect(blind, 'the test would see it').toBeGreaterThan(0);
  });
});
