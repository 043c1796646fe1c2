/** `floor.c`, compiled into a folder and run. */
import { execFile, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { isThere } from './peers.mjs';

const SOURCE = fileURLToPath(new URL('floor.c', import.meta.url));
const runFile = promisify(execFile);

/** A function that runs it, and resolves to its percentiles in microseconds; undefined without gcc. */
export function compileFloor(folder) {
  if (!isThere('gcc')) return undefined;
  const program = `${folder}/floor`;
  const { status, stderr } = spawnSync('gcc', ['-O2', '-o', program, SOURCE], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`gcc: ${stderr}`);
  return async (...args) => JSON.parse((await runFile(program, args.map(String))).stdout);
}
