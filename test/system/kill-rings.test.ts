/**
 * Clients in C, with rings in shared memory, that are killed at random points: while they attach, while they work, while they let go. Nothing of theirs is left
 * in the server, and another client notices nothing. 50 of them; 1,000 with RINGWARDEN_FULL=1. The seed is printed; RINGWARDEN_SEED=<number> draws the
 * same points again.
 */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Random } from '../oracle/random.js';
import { killMany } from '../support/killing.js';
import { ROOT, eventually, workspace, type Workspace } from '../support/processes.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { Server, configuration, device } from '../support/server.js';

const FULL = process.env['RINGWARDEN_FULL'] === '1';
const TIMEOUT_MS = FULL ? 1_800_000 : 180_000;
const GIVEN = process.env['RINGWARDEN_SEED'];
const SEED = GIVEN === undefined || GIVEN === '' ? randomBytes(4).readUInt32LE() : Number(GIVEN) >>> 0;
const hasGcc = spawnSync('gcc', ['--version']).status === 0;
/** A client is killed so many milliseconds after it was started, or after so many steps of its own; nine are one life, from attaching to letting go. */
const MOST_STEPS = 14;
const MOST_MILLISECONDS = 40;
/** Blocks of one worker (programs/worker.c); all of alice's are enough for 1,024 of them. */
const WORKER_BLOCKS = 8;

function compile(space: Workspace): string {
  const source = join(ROOT, 'test/system/programs/worker.c');
  const args = ['-std=c11', '-O2', '-Wall', '-Wextra', '-Werror', '-I', join(ROOT, 'examples/c'), '-o', space.path('worker'), source];
  const { status, stderr } = spawnSync('gcc', args, { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return space.path('worker');
}

async function killWorkers(space: Workspace, server: Server, kills: number, together: number): Promise<void> {
  const worker = compile(space);
  const random = new Random(SEED);
  const told = { a: 0, w: 0, r: 0, x: 0 };
  const reasons = new Set<string>();
  /** How many workers had just done what. */
  const last = new Map<string, number>();
  await killMany(server, {
    kills,
    together,
    queues: 'shared',
    kill: async (count, killed) => {
      const workers = Array.from({ length: count }, (_, index) => {
        const first = String((killed + index) * WORKER_BLOCKS);
        return {
          child: space.spawn(worker, [server.ready.socket ?? '', 'alice', 'nvme0', first]),
          steps: random.once(2) ? 0 : random.below(MOST_STEPS),
          milliseconds: random.below(MOST_MILLISECONDS),
        };
      });
      await Promise.all(
        workers.map(async ({ child, steps, milliseconds }) => {
          await eventually('a worker makes its steps', () => (child.stdout.length >= steps || !child.isRunning ? true : undefined));
          await sleep(milliseconds);
          child.kill('SIGKILL');
          expect(await child.ended, child.words).toEqual({ status: null, signal: 'SIGKILL' });
          for (const letter of child.stdout) told[letter as keyof typeof told]++;
          for (const reason of child.stderr.split('\n').filter(Boolean)) reasons.add(reason);
          const at = child.stdout.at(-1) ?? 'nothing yet';
          last.set(at, (last.get(at) ?? 0) + 1);
        }),
      );
    },
  });
  console.log(`RINGWARDEN_SEED=${SEED}: ${kills} killed`, told, Object.fromEntries(last), [...reasons]);
  expect(told.x, 'data that were not what was written').toBe(0);
  expect(told.a, 'attached').toBeGreaterThan(kills / 4);
  expect(told.w, 'worked').toBeGreaterThan(kills);
}

describe(`clients in C killed at random points${hasGcc ? '' : ' (skipped: apt-get install gcc)'}`, { timeout: TIMEOUT_MS }, () => {
  const kills = FULL ? 1_000 : 50;
  it.skipIf(!hasGcc)(`leave nothing behind on the embedded controller, ${kills} times`, async () => {
    const space = workspace();
    const server = await Server.start(space, configuration({ devices: [device()] }));
    await killWorkers(space, server, kills, FULL ? 50 : 25);
  });

  const few = FULL ? 100 : 10;
  it.skipIf(!hasGcc || !hasQemu)(`leave nothing behind on the controller of ${qemuName}, ${few} times`, async () => {
    const space = workspace();
    const server = await Server.start(space, configuration({ devices: [device({ kind: 'qemu' }, { image: 'nvme0.img' })] }));
    await killWorkers(space, server, few, 10);
  });
});
