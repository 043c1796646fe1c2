/** Programs that are given memory as another user of the machine, and try what they may not do with it: `test/system/programs`. */
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, cpSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { ROOT, type Workspace } from './processes.js';
import { Server, configuration, tenant } from './server.js';
import { asUser } from './users.js';

/** What the attacker needs, where every user can read it. */
export function open(space: Workspace): void {
  chmodSync(space.folder, 0o755);
  for (const folder of ['dist/native', 'build/shm.node', 'node_modules/ws', 'node_modules/msgpackr', 'package.json']) {
    cpSync(join(ROOT, folder), space.path(folder), { recursive: true });
  }
  for (const program of ['session.mjs', 'attacker.mjs', 'view-attacker.mjs'])
    cpSync(join(ROOT, 'test/system/programs', program), space.path(program));
  const built = spawnSync('g++', ['-O1', '-o', space.path('attack'), join(ROOT, 'test/system/programs/attack.cc')], { encoding: 'utf8' });
  expect(built.stderr).toBe('');
}

/** A user of its own for a server. */
const OWNER = 4300;
/** Who could open the server's files for writing. */
export const MIGHTY = [
  ['root', 0],
  ["the server's own user", OWNER],
] as const;

/** A server that runs as {@link OWNER}, with one tenant, alice, of the user `uid`. */
export async function serveAsOwner(space: Workspace, uid: number): Promise<Server> {
  open(space);
  chownSync(space.folder, OWNER, OWNER);
  const change = { listen: { unix: { path: 'server.sock' } }, tenants: [tenant('alice', 0, { uid })] };
  return Server.start(space, configuration(change), { under: asUser(OWNER) });
}

export async function attackAs<Result>(space: Workspace, program: string, uid: number, name: string, stolen: string[] = []): Promise<Result> {
  const [command, ...rest] = asUser(uid);
  const { stdout, stderr } = await space.run(command, [
    ...rest,
    process.execPath,
    program,
    space.path('server.sock'),
    name,
    space.path('attack'),
    ...stolen,
  ]);
  expect(stderr).toBe('');
  return JSON.parse(stdout) as Result;
}

/** Lines of attack.cc. */
export const attempts = (of: string, results: Readonly<Record<string, string>>): string[] =>
  Object.entries(results).map(([name, result]) => `${of} ${name} ${result}`);
/** What a sealed file says to a descriptor that writes; and, opened once more for writing. */
export const SEALED = { map: 'EPERM', protect: 'EACCES', remove: 'EACCES', write: 'EPERM', truncate: 'EPERM', grow: 'EPERM', punch: 'EPERM' };
export const REOPENED = { map: 'EPERM', write: 'EPERM', truncate: 'EPERM', punch: 'EPERM', seal: 'EPERM' };
/** What it says to a descriptor that only reads. */
export const READ_ONLY = { map: 'EACCES', protect: 'EACCES', remove: 'EACCES', write: 'EBADF', truncate: 'EINVAL', grow: 'EINVAL', punch: 'EBADF' };
