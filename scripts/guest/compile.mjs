/**
 * The sources and tests as JavaScript, and the C program, in build/guest: a processor that is emulated has better things to do than to strip types. The folder stands for the project's:
 * what the tests look for beside `src` and `test` is linked there.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { GuestFailure } from './progress.mjs';

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, '../..');
const LINKED = ['build', 'config', 'dist', 'docs', 'examples', 'package.json', 'scripts', 'test/system/programs'];

/** @throws GuestFailure with what the compiler says */
export async function compileTests() {
  const target = join(ROOT, 'build/guest');
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  for (const name of LINKED) {
    mkdirSync(dirname(join(target, name)), { recursive: true });
    symlinkSync(join(ROOT, name), join(target, name));
  }
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
  const args = [tsc, '-p', join(ROOT, 'tsconfig.json'), '--noEmit', 'false', '--noCheck', '--rootDir', ROOT, '--outDir', target];
  const c = join(ROOT, 'test/guest/nvme-queue.c');
  try {
    await run(process.execPath, args);
    await run('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', join(target, 'nvme-queue'), c]);
  } catch (error) {
    throw new GuestFailure(`the tests do not compile: ${error.stdout}${error.stderr}`);
  }
}
