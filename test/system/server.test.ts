/** The server as a process: how it ends, reloads, and knows who is at the other end of a connection. */
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT, eventually, workspace, type Result, type Workspace } from '../support/processes.js';
import { MIB, Server, WINDOW_BYTES, configuration, device, freePort, sdk, tenant, type Client } from '../support/server.js';
import { Workload } from '../support/workload.js';

const ORDERLY = { status: 0, signal: null };

type Device = Awaited<ReturnType<Client['openDevice']>>;
type Share = ReturnType<Device['share']>;

const dataOf = async (client: Client): Promise<Share> => (await client.openDevice('nvme0')).share('data');

/** Resolves when the server has requests of a tenant in flight. */
async function inFlight(server: Server, name: string): Promise<void> {
  await eventually(`requests of ${name} are in flight`, async () => {
    const sessions = await server.admin<{ tenant: string; leases: { inFlight: number }[] }[]>('/sessions');
    return sessions.some((each) => each.tenant === name && each.leases.some((lease) => lease.inFlight > 0)) ? true : undefined;
  });
}

const logged = (server: Server, message: string): Promise<true> =>
  eventually(`"${message}" in the log`, () => (server.log.some((line) => line.message === message) ? true : undefined));

async function eventsOf(lease: Device): Promise<string[]> {
  const seen: string[] = [];
  try {
    for await (const event of lease.events()) seen.push(event.type);
  } catch (error) {
    seen.push(error instanceof Error ? error.name : String(error));
  }
  return seen;
}

describe('SIGTERM', () => {
  /** Alice has to wait for her bytes: there is always something in flight for her. */
  const slow = (bytes: number, change: object = {}) =>
    configuration({ tenants: [tenant('alice', 0, { rates: { bytes } }), tenant('bob', WINDOW_BYTES)], ...change });

  it('lets requests in flight end, takes no new ones, and ends with status 0', async () => {
    const space = workspace();
    const server = await Server.start(space, slow(MIB, { drain: '1 h' }));
    const client = await server.connect('alice');
    const lease = await client.openDevice('nvme0');
    const events = eventsOf(lease);
    const writing = lease.share('data').write(0, Buffer.alloc(2 * MIB, 'drained '));
    writing.catch(() => undefined);
    await inFlight(server, 'alice');
    server.process.kill('SIGTERM');
    await eventually('it takes nobody in any more', async () => {
      const outcome = await server.connect('bob').catch((error: unknown) => error);
      return outcome instanceof sdk.RingwardenError ? outcome : (outcome as Client).close().then(() => undefined);
    });
    await expect(client.allocate(4096)).rejects.toMatchObject({ code: 'draining' });
    await writing;
    expect(await server.process.ended).toEqual(ORDERLY);
    expect(await events).toEqual(['draining', 'ConnectionError']);
    expect(server.log.filter(({ level }) => level === 'error')).toEqual([]);
    expect(readdirSync(space.folder).toSorted()).toEqual(['ringwarden.json', 'state']);
  });

  it('waits for them no longer than "drain" says', async () => {
    const server = await Server.start(workspace(), slow(1, { drain: '200 ms' }));
    const share = await dataOf(await server.connect('alice'));
    const outcome = Promise.allSettled([share.read(0, MIB), share.write(0, Buffer.alloc(MIB))]);
    await inFlight(server, 'alice');
    expect(await server.stop()).toEqual(ORDERLY);
    for (const each of await outcome) expect(each).toMatchObject({ status: 'rejected', reason: { name: /Error$/ } });
  });

  it('for a second time ends it at once, and the next server goes on from there', async () => {
    const space = workspace();
    const devices = [device({}, { image: 'nvme0.img' })];
    const server = await Server.start(space, slow(1, { drain: '1 h', devices }));
    const client = await server.connect('alice');
    const share = await dataOf(client);
    const reading = share.read(0, MIB).catch((error: unknown) => error);
    await inFlight(server, 'alice');
    server.process.kill('SIGTERM');
    await logged(server, 'stopping');
    expect(server.process.isRunning).toBe(true);
    server.process.kill('SIGTERM');
    expect(await reading).toMatchObject({ name: 'ConnectionError' });
    expect((await server.process.ended).signal).toBeNull();
    const next = await Server.start(space, configuration({ devices }));
    const again = await next.connect('alice');
    await (await dataOf(again)).read(0, MIB);
    await again.close();
    expect(await next.stop()).toEqual(ORDERLY);
  });
});

describe('SIGHUP', () => {
  it('takes a tenant away: its lease is revoked, its session ends, and the others go on', async () => {
    const space = workspace();
    const server = await Server.start(space);
    const alice = await server.connect('alice');
    const lease = await alice.openDevice('nvme0');
    const events = eventsOf(lease);
    const bob = await server.connect('bob');
    const workload = new Workload(await dataOf(bob));
    space.file('ringwarden.json', configuration({ tenants: [tenant('bob', WINDOW_BYTES)] }));
    server.process.kill('SIGHUP');
    expect(await events).toEqual(['revoked']);
    await expect(lease.share('data').read(0, 4096)).rejects.toMatchObject({ code: /^(revoked|connectionClosed)$/ });
    await eventually('the session is over', () => (alice.connected ? undefined : true));
    await expect(server.connect('alice')).rejects.toMatchObject({ code: 'authenticationFailed' });
    await workload.stop();
    expect(workload.mismatches).toEqual([]);
    await bob.close();
    expect(await server.stop()).toEqual(ORDERLY);
  });

  it('narrows a right: requests that need it are refused from then on, in the same lease', async () => {
    const space = workspace();
    const server = await Server.start(space);
    const client = await server.connect('alice');
    const share = await dataOf(client);
    const data = Buffer.alloc(4096, 'while I may ');
    await share.write(0, data);
    space.file('ringwarden.json', configuration({ tenants: [tenant('alice', 0, {}, { access: ['read'] }), tenant('bob', WINDOW_BYTES)] }));
    expect(await server.admin('/reload', 'POST')).toEqual({ applied: true, messages: [] });
    await expect(share.write(0, Buffer.alloc(4096))).rejects.toMatchObject({ name: 'RefusedError', code: 'noWriteRight' });
    expect((await share.read(0, 4096)).equals(data)).toBe(true);
    await client.close();
    expect(await server.stop()).toEqual(ORDERLY);
  });

  it('with a configuration that cannot be used keeps the old one, and says why', async () => {
    const space = workspace();
    const server = await Server.start(space);
    const client = await server.connect('alice');
    const share = await dataOf(client);
    const file = space.file('ringwarden.json', configuration({ tenants: [tenant('bob', 0), tenant('eve', 0)] }));
    server.process.kill('SIGHUP');
    await logged(server, 'the new configuration is not used');
    const problems = server.log.filter(({ message }) => message === 'the new configuration is not used');
    expect(String(problems[0]['problem'])).toMatch(new RegExp(`^${file}:\\d+:\\d+: tenants\\[1\\]\\.shares\\[0\\]: `));
    await share.read(0, 4096);
    await (await server.connect('alice')).close();
    await expect(server.connect('eve')).rejects.toMatchObject({ code: 'authenticationFailed' });

    space.file('ringwarden.json', configuration({ drain: '7 s' }));
    const { applied, messages } = await server.admin<{ applied: boolean; messages: string[] }>('/reload', 'POST');
    expect([applied, messages]).toEqual([true, [expect.stringMatching(/^drain changed: .*started again/)]]);
    await share.read(0, 4096);
    await client.close();
    expect(await server.stop()).toEqual(ORDERLY);
  });
});

describe('a window that another tenant is given', () => {
  const disk = { devices: [device({}, { image: 'nvme0.img' })] };
  const secret = Buffer.alloc(MIB, 'a secret of alice ');

  async function given(share: Readonly<Record<string, unknown>>, how: 'restart' | 'reload'): Promise<Buffer> {
    const space = workspace();
    let server = await Server.start(space, configuration(disk));
    const alice = await server.connect('alice');
    const hers = await dataOf(alice);
    await hers.write(0, secret);
    await hers.flush();
    await alice.close();
    const tenants = [tenant('carol', 0, {}, share), tenant('bob', WINDOW_BYTES)];
    if (how === 'restart') {
      expect(await server.stop()).toEqual(ORDERLY);
      server = await Server.start(space, configuration({ ...disk, tenants }));
    } else {
      space.file('ringwarden.json', configuration({ ...disk, tenants }));
      expect(await server.admin('/reload', 'POST')).toMatchObject({ applied: true });
    }
    const carol = await server.connect('carol');
    // The share is withheld until it is wiped.
    const hersNow = await eventually('carol has her share', () => dataOf(carol).catch(() => undefined));
    const found = await hersNow.read(0, MIB);
    await carol.close();
    expect(await server.stop()).toEqual(ORDERLY);
    const image = readFileSync(space.path('nvme0.img'));
    expect(image.includes('a secret of alice'), 'what the image holds is what carol reads').toBe(found.includes('a secret of alice'));
    return found;
  }

  it.each(['restart', 'reload'] as const)('is wiped, at a %s', async (how) => {
    expect((await given({}, how)).equals(Buffer.alloc(MIB))).toBe(true);
  });

  it.each(['restart', 'reload'] as const)('keeps its data where the configuration says so, at a %s', async (how) => {
    expect((await given({ keepData: true }, how)).equals(secret)).toBe(true);
  });
});

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
    const workload = new Workload(await dataOf(alice));
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
  const share = (await client.openDevice('nvme0')).share('data');
  await share.write(0, Buffer.alloc(share.blockBytes, 'mine'));
  console.log(JSON.stringify({ tenant: client.tenant, isolation: client.isolation, size: share.size }));
  await client.close();
} catch (error) {
  console.log(JSON.stringify({ code: error.code }));
}
`;

const as = (uid: number): string[] => ['setpriv', '--reuid', String(uid), '--regid', String(uid), '--clear-groups', '--'];
const [setpriv, ...ids] = as(4242);
const canChangeUser = process.getuid?.() === 0 && spawnSync(setpriv, [...ids, process.execPath, '--version']).status === 0;
const why = canChangeUser ? '' : ' (skipped: needs root, setpriv of util-linux, and a Node.js that every user may run)';

describe.skipIf(!canChangeUser)(`peer credentials${why}`, () => {
  /** What a stranger's program needs, where every user can read it. */
  function open(space: Workspace): void {
    chmodSync(space.folder, 0o755);
    for (const folder of ['dist/client', 'dist/protocol', 'node_modules/ws', 'node_modules/msgpackr', 'package.json']) {
      cpSync(join(ROOT, folder), space.path(folder), { recursive: true });
    }
    space.file('stranger.mjs', STRANGER);
  }

  const run = (space: Workspace, uid: number, ...args: string[]): Promise<Result> => {
    const [command, ...rest] = as(uid);
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
    expect(await stranger(space, 4242)).toEqual({ tenant: 'alice', isolation: 'uid', size: WINDOW_BYTES });
    expect(await stranger(space, 4243, 'bob')).toEqual({ tenant: 'bob', isolation: 'uid', size: WINDOW_BYTES });
    expect(await stranger(space, 4242, 'bob')).toEqual({ code: 'authenticationFailed' });
    expect(await stranger(space, 4244)).toEqual({ code: 'authenticationFailed' });
    // Root could be anybody, and is nobody here.
    await expect(sdk.connect({ socket: space.path('server.sock'), tenant: 'alice' })).rejects.toMatchObject({ code: 'authenticationFailed' });
    expect(await server.stop()).toEqual(ORDERLY);
  });

  const ASK = `const { get } = require('node:http');
get({ socketPath: process.argv[1], path: '/status', agent: false }, (response) => console.log(response.resume().statusCode)).on('error', (error) => console.log(error.code));`;

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
