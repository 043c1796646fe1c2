/** The example clients in C and Python: what docs/protocol.md says is enough to write one. */
import { spawnSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT, workspace, type Workspace } from '../support/processes.js';
import { Server, WINDOW_BYTES, configuration, device, tenant } from '../support/server.js';
import { asUser, canChangeUser, whyNotUser } from '../support/users.js';

const ALICE = 4201;
const hasGcc = spawnSync('gcc', ['--version']).status === 0;
const hasPython = spawnSync('python3', ['--version']).status === 0;

/** The C example, with every warning an error, and under the sanitizers. */
async function compile(space: Workspace): Promise<string> {
  const warnings = ['-Wall', '-Wextra', '-Wpedantic', '-Wconversion', '-Wshadow', '-Werror'];
  const sanitizers = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'];
  const source = join(ROOT, 'examples/c/copy.c');
  const made = await space.run('gcc', ['-std=c11', '-O2', '-g', ...warnings, ...sanitizers, '-o', 'copy', source]);
  expect(made, made.stderr).toMatchObject({ status: 0, stderr: '' });
  return space.path('copy');
}

const COPIED = ['copied 64 blocks through messages', 'compared: the same', 'copied 64 blocks through rings', 'compared: the same', ''].join('\n');

describe(hasGcc ? 'C' : 'C (skipped: apt-get install gcc)', () => {
  it.skipIf(!hasGcc)('copies blocks through messages and through rings', async () => {
    const space = workspace();
    const copy = await compile(space);
    const server = await Server.start(space);
    const result = await space.run(copy, [server.ready.socket ?? '', 'alice', 'nvme0']);
    expect(result, result.stderr).toMatchObject({ status: 0, stdout: COPIED, stderr: '' });
    await server.stop();
  });

  it.skipIf(!hasGcc)('finds the session that it was started with', async () => {
    const space = workspace();
    const copy = await compile(space);
    const server = await Server.start(space);
    const options = ['--socket', server.ready.socket ?? '', '--user', String(process.getuid?.()), '--tenant', 'alice', '--device', 'nvme0'];
    const result = await space.ringwarden(['run', ...options, '--', copy]);
    expect(result, result.stderr).toMatchObject({ status: 0, stdout: COPIED, stderr: '' });
    expect(await space.run(copy, [])).toMatchObject({ status: 2, stderr: expect.stringMatching(/^usage: /) });
    await server.stop();
  });

  it.skipIf(!hasGcc || !canChangeUser)(`does so as a user that the server protects itself from${whyNotUser}`, async () => {
    const space = workspace();
    const copy = await compile(space);
    chmodSync(space.folder, 0o755);
    const listen = { unix: { path: 'server.sock', mode: '0666' } };
    const server = await Server.start(space, configuration({ isolation: undefined, listen, tenants: [tenant('alice', 0, { uid: ALICE })] }));
    const [setpriv, ...ids] = asUser(ALICE);
    const result = await space.run(setpriv, [...ids, copy, server.ready.socket ?? '', 'alice', 'nvme0']);
    expect(result, result.stderr).toMatchObject({ status: 0, stdout: COPIED, stderr: '' });
    await server.stop();
  });

  it.skipIf(!hasGcc)('says why it was refused', async () => {
    const space = workspace();
    const copy = await compile(space);
    const server = await Server.start(space);
    const refused = await space.run(copy, [server.ready.socket ?? '', 'alice', 'nvme7']);
    expect(refused).toMatchObject({
      status: 1,
      stdout: '',
      stderr: expect.stringMatching(/refused with 114 unknownDevice: .* \(device: nvme7\)\n$/),
    });
    expect(await space.run(copy, ['nowhere', 'alice', 'nvme0'])).toMatchObject({ status: 1, stderr: expect.stringMatching(/nowhere: No such file/) });
    await server.stop();
  });
});

describe(hasPython ? 'Python' : 'Python (skipped: apt-get install python3)', () => {
  it.skipIf(!hasPython)('writes and reads a block', async () => {
    const space = workspace();
    const server = await Server.start(space, configuration({ devices: [device({}, { blockBytes: 512 })] }));
    const run = (name: string) =>
      space.run('python3', ['-W', 'error', join(ROOT, 'examples/python/hello.py'), server.ready.socket ?? '', 'alice', name]);
    const result = await run('nvme0');
    const blocks = WINDOW_BYTES / 512;
    expect(result, result.stderr).toMatchObject({ status: 0, stderr: '' });
    expect(result.stdout).toBe(
      `block 3 of ${blocks} says: hello, ring, says Python\n` +
        `one block further than there are: request 4 ended with code 15 (field 6, value ${blocks}, status 0x0)\n`,
    );
    expect(await run('nvme7')).toMatchObject({ status: 1, stderr: expect.stringMatching(/^hello\.py: unknownDevice: /) });
    await server.stop();
  });
});
