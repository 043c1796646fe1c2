import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

import { shm } from '../../../src/native/shm.js';

const run = promisify(execFile);
const path = (relative: string) => fileURLToPath(new URL(`../../../${relative}`, import.meta.url));

test('getppid is the parent, however often it is asked', () => {
  expect([shm().getppid(1), shm().getppid(1000)]).toEqual([process.ppid, process.ppid]);
});

test('forbidDump makes the process undumpable: its /proc entries belong to root', async () => {
  // PR_GET_DUMPABLE has no place in /proc but this one: the owner of the files in it (proc(5)). Asked as an ordinary user.
  const code = `if (process.getuid() === 0) { process.setgid(65534); process.setuid(65534); }
    const shm = require(${JSON.stringify(path('build/shm.node'))}); shm.forbidDump();
    console.log(require('node:fs').statSync('/proc/self/environ').uid);`;
  const { stdout } = await run(process.execPath, ['-e', code]);
  expect(stdout).toBe('0\n');
});

test('without a compiler the build says which package to install', async () => {
  const build = run(process.execPath, [path('scripts/build-native.mjs'), '--force'], { env: { ...process.env, CXX: 'no-such-compiler' } });
  await expect(build).rejects.toThrow(expect.objectContaining({ code: 1, stderr: expect.stringMatching(/no-such-compiler.*package "g\+\+"/s) }));
});

test('a build of what is built already does nothing', async () => {
  await run(process.execPath, [path('scripts/build-native.mjs')]);
  expect((await run(process.execPath, [path('scripts/build-native.mjs')])).stdout).toBe('');
});

test('execute puts a program in the place of the process, with one descriptor more and what signals usually do', async () => {
  const shell = 'echo $$; read line <&3; echo "$line"; ls /proc/$$/fd; echo "$KEPT$PATH"; exec grep -E "^Sig(Ign|Blk)" /proc/self/status';
  const code = `const shm = require(${JSON.stringify(path('build/shm.node'))});
    console.log(process.pid);
    for (let i = 0; i < 40; i++) shm.eventfd();
    const [left, right] = shm.socketpair();
    shm.send(left, Buffer.from('through it\\n'), 0, 11);
    for (const name of ['no-such-program', '/etc/passwd']) {
      try { shm.execute(name, ['x'], [], right); } catch (error) { console.log(error.code, error.syscall); }
    }
    setTimeout(() => shm.execute('sh', ['sh', '-c', process.argv[1]], ['KEPT=kept'], right), 10);`;
  const { stdout } = await run(process.execPath, ['-e', code, shell]);
  const [pid, ...lines] = stdout.trimEnd().split('\n');
  expect(lines.slice(0, 4)).toEqual(['ENOENT execve', 'EACCES execve', pid, 'through it']);
  expect(lines.slice(4, 8)).toEqual(['0', '1', '2', '3']);
  expect(stdout).toMatch(/\nkept.*\nSigBlk:\s0+\nSigIgn:\s0+\n/);
});
