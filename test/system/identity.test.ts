/** Who is at the other end of a connection: by TLS and tokens over TCP, by the credentials of the process on Unix sockets. */
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT, workspace, type Result, type Workspace } from '../support/processes.js';
import { MIB, Server, WINDOW_BYTES, configuration, freePort, sdk, tenant } from '../support/server.js';
import { asUser, canChangeUser, whyNotUser } from '../support/users.js';
import { Workload } from '../support/workload.js';

const ORDERLY = { status: 0, signal: null };

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

describe('TCP', () => {
  const name = hasOpenssl ? 'TLS and a token' : 'TLS and a token (skipped: apt-get install openssl)';

  function certify(space: Workspace): void {
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost', '-days', '2'];
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', 'server.key', '-out', 'server.crt'];
    const made = spawnSync('openssl', ['req', '-x509', ...key, ...subject], { cwd: space.folder });
    expect(made.status, String(made.stderr)).toBe(0);
  }

  it.skipIf(!hasOpenssl)(`needs ${name}`, async () => {
    const space = workspace();
    certify(space);
    const made = await space.ringwarden(['token', '--file', 'alice.token', '--output', 'json']);
    const { sha256 } = JSON.parse(made.stdout) as { sha256: string };
    const token = readFileSync(space.path('alice.token'), 'utf8').trim();
    const port = await freePort();
    const listen = { tcp: { port, tls: { cert: 'server.crt', key: 'server.key' } } };
    const tenants = [tenant('alice', 0, { uid: undefined, token: { sha256 } }), tenant('bob', WINDOW_BYTES)];
    const server = await Server.start(space, configuration({ listen, tenants }));
    const url = `wss://127.0.0.1:${port}`;
    const ca = readFileSync(space.path('server.crt'));

    const alice = await sdk.connect({ url, ca, token });
    expect([alice.tenant, alice.isolation]).toEqual(['alice', 'token']);
    const workload = new Workload((await alice.openDevice('nvme0')).share('data'));
    await workload.filled;
    const refused = { name: 'RefusedError', code: 'authenticationFailed' };
    await expect(sdk.connect({ url, ca, token: `${token}x` })).rejects.toMatchObject(refused);
    await expect(sdk.connect({ url, ca })).rejects.toMatchObject(refused);
    await expect(sdk.connect({ url, ca, tenant: 'bob' })).rejects.toMatchObject(refused);
    await expect(sdk.connect({ url, ca, tenant: 'bob', token })).rejects.toMatchObject(refused);
    await expect(sdk.connect({ url, token })).rejects.toMatchObject({ code: 'connectFailed', message: expect.stringMatching(/self-signed/) });
    await expect(sdk.connect({ url: `ws://127.0.0.1:${port}`, token })).rejects.toMatchObject({ code: 'connectFailed' });

    const content = Buffer.alloc(3 * MIB + 5, 'over TLS ');
    space.file('content', content.toString());
    const where = ['--url', url, '--ca-file', 'server.crt', '--token-file', 'alice.token'];
    const place = `nvme0/data@${8 * MIB}`;
    expect(await space.ringwarden(['copy', 'content', place, ...where])).toMatchObject({ status: 0 });
    expect(await space.ringwarden(['copy', place, 'back', '--length', String(content.length), ...where])).toMatchObject({ status: 0 });
    expect(readFileSync(space.path('back')).equals(content)).toBe(true);
    await workload.stop();
    expect(workload.mismatches).toEqual([]);
    await alice.close();
    expect(server.process.stderr).not.toContain(token);
    expect(await server.stop()).toEqual(ORDERLY);
  });
});

/** A program that connects as whoever runs it, in a folder that everybody may read. Prints what became of it. */
const STRANGER = `import { connect } from './dist/client/index.js';
const [socket, tenant] = process.argv.slice(2);
try {
  const client = await connect({ socket, ...(tenant && { tenant }) });
  const device = await client.openDevice('nvme0');
  const share = device.share('data');
  await share.write(0, Buffer.alloc(share.blockBytes, 'mine'));
  console.log(JSON.stringify({ tenant: client.tenant, isolation: client.isolation, size: share.size, transport: device.transport }));
  await client.close();
} catch (error) {
  console.log(JSON.stringify({ code: error.code }));
}
`;

describe.skipIf(!canChangeUser)(`peer credentials${whyNotUser}`, () => {
  /** What a stranger's program needs, where every user can read it. */
  function open(space: Workspace): void {
    chmodSync(space.folder, 0o755);
    for (const folder of [
      'dist/client',
      'dist/protocol',
      'dist/native',
      'build/shm.node',
      'node_modules/ws',
      'node_modules/msgpackr',
      'package.json',
    ]) {
      cpSync(join(ROOT, folder), space.path(folder), { recursive: true });
    }
    space.file('stranger.mjs', STRANGER);
  }

  const run = (space: Workspace, uid: number, ...args: string[]): Promise<Result> => {
    const [command, ...rest] = asUser(uid);
    return space.run(command, [...rest, process.execPath, ...args]);
  };
  const stranger = async (space: Workspace, uid: number, ...args: string[]): Promise<unknown> => {
    const { stdout, stderr } = await run(space, uid, 'stranger.mjs', space.path('server.sock'), ...args);
    expect(stderr).toBe('');
    return JSON.parse(stdout);
  };

  it('tell which tenant a user is; a name alone proves nothing', async () => {
    const space = workspace();
    open(space);
    const tenants = [tenant('alice', 0, { uid: 4242 }), tenant('bob', WINDOW_BYTES, { uid: 4243 })];
    const listen = { unix: { path: 'server.sock' } };
    const server = await Server.start(space, configuration({ isolation: 'required', listen, tenants }));
    expect(await stranger(space, 4242)).toEqual({ tenant: 'alice', isolation: 'uid', size: WINDOW_BYTES, transport: 'shm' });
    expect(await stranger(space, 4243, 'bob')).toEqual({ tenant: 'bob', isolation: 'uid', size: WINDOW_BYTES, transport: 'shm' });
    expect(await stranger(space, 4242, 'bob')).toEqual({ code: 'authenticationFailed' });
    expect(await stranger(space, 4244)).toEqual({ code: 'authenticationFailed' });
    // Root could be anybody, and is nobody here.
    await expect(sdk.connect({ socket: space.path('server.sock'), tenant: 'alice' })).rejects.toMatchObject({ code: 'authenticationFailed' });
    expect(await server.stop()).toEqual(ORDERLY);
  });

  /** Prints the status of the answer, or why there is none. */
  const ASK = `require('node:http')
    .get({ socketPath: process.argv[1], path: '/status', agent: false }, (response) => console.log(response.resume().statusCode))
    .on('error', (error) => console.log(error.code));`;

  it('keep others from the admin socket, whatever the mode of its file', async () => {
    const space = workspace();
    chmodSync(space.folder, 0o755);
    const server = await Server.start(space);
    const ask = async (uid: number): Promise<string> => (await run(space, uid, '-e', ASK, server.ready.admin)).stdout.trim();
    expect(await ask(4242)).toBe('EACCES');
    chmodSync(server.ready.admin, 0o666);
    expect(await ask(4242)).toBe('403');
    expect(await ask(0)).toBe('200');
    expect(await server.stop()).toEqual(ORDERLY);
  });

  it('let the members of the admin group in', async () => {
    const space = workspace();
    chmodSync(space.folder, 0o755);
    const server = await Server.start(space, configuration({ admin: { path: 'admin.sock', group: 4242 } }));
    const ask = async (uid: number): Promise<string> => (await run(space, uid, '-e', ASK, server.ready.admin)).stdout.trim();
    expect(await ask(4242)).toBe('200');
    expect(await ask(4243)).toBe('EACCES');
    expect(await server.stop()).toEqual(ORDERLY);
  });
});
