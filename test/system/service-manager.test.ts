/** The server under a service manager: it says when it is ready, and takes over sockets that are open already. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { MAIN, ROOT, eventually, workspace } from '../support/processes.js';
import { Server, configuration, sdk, serve } from '../support/server.js';

const has = (program: string): boolean => spawnSync(program, ['--version']).error === undefined;
const why = (program: string, debianPackage: string): string => (has(program) ? '' : ` (skipped: apt-get install ${debianPackage})`);
const PYTHON = why('python3', 'python3');
const ANALYZE = why('systemd-analyze', 'systemd');
const ACTIVATE = why('systemd-socket-activate', 'systemd');

/** Node has no datagram sockets of this family: prints what comes, a line each. */
const RECEIVER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace('@', '\\0', 1) if sys.argv[1].startswith('@') else sys.argv[1])
print('bound', flush=True)
while True: print(repr(s.recv(4096).decode()), flush=True)
`;

describe('sd_notify', () => {
  it.skipIf(PYTHON !== '').each(['a path', 'an abstract socket'])(`tells of readiness, reloads and the end, at %s${PYTHON}`, async (kind) => {
    const space = workspace();
    const path = kind === 'a path' ? space.path('notify') : `@ringwarden-test-${process.pid}`;
    const receiver = space.spawn('python3', ['-c', RECEIVER, path]);
    await receiver.says(/bound/);
    const server = await Server.start(space, configuration(), { env: { NOTIFY_SOCKET: path } });
    await receiver.says(/'READY=1\\nSTATUS=1 devices, 2 tenants at the start'/);
    server.process.kill('SIGHUP');
    await receiver.says(/'RELOADING=1\\nMONOTONIC_USEC=\d+'\n'READY=1/);
    expect(await server.stop()).toEqual({ status: 0, signal: null });
    await receiver.says(/'STOPPING=1'/);
  });

  it('is nothing to fail for when nobody listens', async () => {
    const space = workspace();
    const server = await Server.start(space, configuration(), { env: { NOTIFY_SOCKET: space.path('nobody') } });
    expect(server.log.some(({ message }) => message === 'the service manager cannot be told')).toBe(true);
    expect(await server.stop()).toEqual({ status: 0, signal: null });
  });
});

describe('sockets that are open already', () => {
  it.skipIf(ACTIVATE !== '')(`are taken over, and stay the manager's${ACTIVATE}`, async () => {
    const space = workspace();
    const file = space.file('ringwarden.json', configuration());
    const socket = space.path('server.sock');
    const args = ['-l', socket, '-l', `${socket}.fds`, process.execPath, MAIN, 'serve', '--config', file, '-o', 'json'];
    const manager = space.spawn('systemd-socket-activate', args);
    await eventually('the socket', () => (existsSync(`${socket}.fds`) ? true : undefined));
    // The first client is there before the server.
    const client = await sdk.connect({ tenant: 'alice', socket });
    const share = (await client.openDevice('nvme0')).share('data');
    await share.write(0, Buffer.alloc(4096, 7));
    expect((await share.read(0, 4096)).every((byte) => byte === 7)).toBe(true);
    await client.close();
    manager.kill('SIGTERM');
    expect(await manager.ended).toEqual({ status: 0, signal: null });
    expect([existsSync(socket), existsSync(`${socket}.fds`), existsSync(space.path('admin.sock'))]).toEqual([true, true, false]);
  });

  it('for another process are none', async () => {
    const space = workspace();
    const server = serve(space, configuration(), { env: { LISTEN_PID: '1', LISTEN_FDS: '2' } });
    await server.says(/"ready":true/);
    server.kill('SIGTERM');
    expect(await server.ended).toEqual({ status: 0, signal: null });
  });
});

describe('the units in examples/systemd', () => {
  const folder = join(ROOT, 'examples/systemd');
  const units = readdirSync(folder).filter((name) => /\.(service|socket)$/.test(name));

  it.skipIf(ANALYZE !== '').each(units)(`%s is a sound unit${ANALYZE}`, (name) => {
    const space = workspace();
    cpSync(folder, space.folder, { recursive: true });
    for (const unit of units.filter((each) => each.endsWith('.service'))) {
      // The program has to be there.
      writeFileSync(space.path(unit), readFileSync(space.path(unit), 'utf8').replaceAll('/usr/bin/ringwarden', process.execPath));
    }
    const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', space.path(name)], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });

  it('are told of in docs/deploy.md', () => {
    const page = readFileSync(join(ROOT, 'docs/deploy.md'), 'utf8');
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => /\.(service|socket|conf)$/.test(name));
    expect(files.filter((name) => !page.includes(`examples/systemd/${name}`))).toEqual([]);
  });
});
