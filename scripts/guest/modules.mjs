/** Kernel modules from a Debian package: the ones that are wanted and those that they need, in the order in which they load. */
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { GuestFailure } from './progress.mjs';

const run = promisify(execFile);
/** Modules' names have either; the kernel takes them for the same. */
const canonical = (name) => name.replace(/\.ko(\.xz)?$/, '').replaceAll('-', '_');

/** The module's bytes, unpacked: newer releases compress them. */
async function contents(path) {
  if (!path.endsWith('.xz')) return readFileSync(path);
  return (await run('xz', ['-dc', path], { encoding: 'buffer', maxBuffer: 2 ** 28 })).stdout;
}

/** What a module says that it needs (`depends=` of its .modinfo section). */
function needs(bytes) {
  const at = bytes.indexOf('\0depends=');
  if (at < 0) return [];
  const start = at + '\0depends='.length;
  return bytes.toString('latin1', start, bytes.indexOf(0, start)).split(',').filter(Boolean);
}

/** Writes them into a folder, and returns the names of the first list's and of the second list's, each in the order of loading. */
export async function collectModules(source, [boot, later], target) {
  const paths = new Map();
  for (const entry of readdirSync(join(source, 'kernel'), { recursive: true, withFileTypes: true })) {
    if (/\.ko(\.xz)?$/.test(entry.name)) paths.set(canonical(entry.name), join(entry.parentPath, entry.name));
  }
  const builtin = new Set(
    readFileSync(join(source, 'modules.builtin'), 'utf8')
      .split('\n')
      .map((line) => canonical(basename(line))),
  );
  mkdirSync(target);
  const order = [];
  const add = async (name) => {
    if (builtin.has(name) || order.includes(name)) return;
    const path = paths.get(name);
    if (path === undefined) throw new GuestFailure(`the kernel's package has no module ${name}`);
    const bytes = await contents(path);
    for (const needed of needs(bytes)) await add(canonical(needed));
    order.push(name);
    writeFileSync(join(target, `${name}.ko`), bytes);
  };
  for (const name of boot) await add(name);
  const atBoot = order.length;
  for (const name of later) await add(name);
  return { boot: order.slice(0, atBoot), later: order.slice(atBoot) };
}
