/** What can be wrong around the server: it says what, says what to do, ends with status 1 or 2, and damages nothing. */
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { expectFailure, failed } from '../support/failure.js';
import { eventually, workspace } from '../support/processes.js';
import { asUser, canChangeUser, whyNotUser } from '../support/users.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { MIB, Server, WINDOW_BYTES, childrenOf, configuration, device, freePort, tenant } from '../support/server.js';
import { Workload } from '../support/workload.js';

const IMAGE = 'nvme0.img';
const onImage = device({}, { image: IMAGE });

describe('a configuration that cannot be used', () => {
  const text = JSON.stringify(configuration(), undefined, 2);
  const cases: readonly (readonly [name: string, text: string, key: string, what: RegExp])[] = [
    ['broken JSON', text.replace('"state": "state",', '"state": "state"'), '', /,|comma/i],
    ['a key that there is not', text.replace('"uid"', '"uidd"'), 'tenants[0].uidd', /uid/],
    ['a wrong type', text.replace('"server"', 'true'), 'tenants[0].uid', /user id/],
    ['a wrong unit', text.replace(/"size": \d+/, '"size": "64 apples"'), 'devices[0].backing.namespaces[0].size', /apples|size|MiB/],
    ['windows that overlap', text.replace(`"first": ${WINDOW_BYTES}`, `"first": ${WINDOW_BYTES / 2}`), 'tenants[1].shares[0]', /belong to .*alice/],
    ['a window outside the namespace', text.replace(`"first": ${WINDOW_BYTES}`, `"first": ${2 * WINDOW_BYTES}`), 'tenants[1].shares[0]', /namespace/],
    ['a device that there is not', text.replace('"device": "nvme0"', '"device": "nvme7"'), 'tenants[0].shares[0].device', /nvme0/],
    ['tenants of one user', text.replace('"isolation": "none",', ''), 'tenants[1].uid', /user id/],
    ['no tenants', text.replace(/"tenants": [^]*$/, '"tenants": 7}'), 'tenants', /list/],
    [
      'TCP beyond loopback without TLS',
      text.replace('"unix": {', '"tcp": { "host": "0.0.0.0", "port": 7979 }, "unix": {'),
      'listen.tcp',
      /tls|certificate/i,
    ],
    [
      'a token file that there is not',
      text.replace('"name": "bob",', '"name": "bob", "token": { "file": "no.token" },'),
      'tenants[1].token.file',
      /no\.token/,
    ],
  ];

  it.each(cases)('%s: is told with file, line, column and key', async (_name, bad, key, what) => {
    expect(bad).not.toBe(text);
    const space = workspace();
    const file = space.file('bad.json', bad);
    const result = await failed(space, file);
    expectFailure(result, 2, what, /correct|write|name|give|remove|put|make|shorten|choose|add|say|use/i);
    const place = new RegExp(`${file.replaceAll('.', '\\.')}:(\\d+):(\\d+): ([^ ]*)`).exec(result.stderr);
    expect(place, result.stderr).not.toBeNull();
    if (key !== '') expect(place?.[3].startsWith(key), place?.[3]).toBe(true);
    const line = bad.split('\n')[Number(place?.[1]) - 1];
    expect(line.length).toBeGreaterThanOrEqual(Number(place?.[2]) - 1);
    expect(readdirSync(space.folder), 'nothing was made').toEqual(['bad.json']);
  });

  it('is found by "config check" as well', async () => {
    const space = workspace();
    const file = space.file('bad.json', text.replace('"uid"', '"uidd"'));
    const checked = await space.ringwarden(['config', 'check', file, '--output', 'json']);
    expect(checked.status).toBe(2);
    const { ok, problems } = JSON.parse(checked.stdout) as { ok: boolean; problems: unknown[] };
    expect(ok).toBe(false);
    expect(problems).toContainEqual(expect.objectContaining({ file, path: 'tenants[0].uidd', line: expect.any(Number), column: expect.any(Number) }));
    const good = space.file('good.json', text);
    expect(await space.ringwarden(['config', 'check', good])).toMatchObject({ status: 0, stderr: '' });
    expect(readdirSync(space.folder), 'nothing was made').toEqual(['bad.json', 'good.json']);
  });

  it('is not there', async () => {
    const space = workspace();
    expectFailure(await failed(space, space.path('missing.json')), 2, /missing\.json cannot be read \(ENOENT\)/, /name a file/);
  });

  it.skipIf(existsSync('/etc/ringwarden/ringwarden.jsonc'))('is not named', async () => {
    expectFailure(await workspace().ringwarden(['serve']), 2, /there is no \/etc\/ringwarden/, /--config.*--sample/);
  });
});

describe('a device that cannot be had', () => {
  it.each([
    ['anything of it', [], /setpriv.*"util-linux"/],
    ['QEMU', ['setpriv'], /qemu-system-x86_64.*"qemu-system-x86"/],
  ] as const)('without %s, the package to install is named', async (_name, tools, what) => {
    const space = workspace();
    mkdirSync(space.path('bin'));
    for (const tool of tools) symlinkSync('/bin/true', space.path(`bin/${tool}`));
    const options = { args: ['--backing', 'qemu'], env: { PATH: space.path('bin') } };
    expectFailure(await failed(space, configuration({ devices: [onImage] }), options), 1, what, /install/);
    expect(existsSync(space.path(IMAGE))).toBe(false);
  });

  it('a busy image: the second server does not start, the first one is unharmed', async () => {
    const space = workspace();
    const first = await Server.start(space, configuration({ devices: [onImage] }));
    const client = await first.connect('alice');
    const workload = new Workload((await client.openDevice('nvme0')).share('data'));
    const other = { devices: [onImage], state: 'other-state', listen: { unix: { path: 'other.sock' } }, admin: { path: 'other-admin.sock' } };
    const file = space.file('other.json', configuration(other));
    expectFailure(await failed(space, file), 1, /nvme0.*image .*nvme0\.img.* in use/, /stop whoever holds it/);
    expect(existsSync(space.path('other.sock'))).toBe(false);
    if (hasQemu) expectFailure(await failed(space, file, { args: ['--backing', 'qemu'] }), 1, /image .*nvme0\.img.* in use/, /stop whoever holds it/);
    await workload.stop();
    expect(workload.mismatches).toEqual([]);
    await client.close();
    expect(await first.stop()).toEqual({ status: 0, signal: null });
    const second = await Server.start(space, configuration({ devices: [onImage] }));
    const again = await second.connect('alice');
    await workload.verify((await again.openDevice('nvme0')).share('data'));
    expect(workload.mismatches).toEqual([]);
    await again.close();
    expect(await second.stop()).toEqual({ status: 0, signal: null });
  });

  it('an image that is a folder, or lies in one that is not there', async () => {
    const space = workspace();
    mkdirSync(space.path('folder'));
    const folder = configuration({ devices: [device({}, { image: 'folder' })] });
    const nowhere = configuration({ devices: [device({}, { image: 'nowhere/image' })] });
    expectFailure(await failed(space, folder), 2, /namespaces\[0\]\.image: .*folder is not a plain file/, /name a file/);
    expectFailure(await failed(space, nowhere), 2, /namespaces\[0\]\.image: the folder .*nowhere is not there/, /make it/);
    expect(existsSync(space.path('nowhere'))).toBe(false);
  });
});

describe('a place that is taken', () => {
  it.each(['server.sock', 'admin.sock'])('%s: the second server does not start, and clients of the first go on', async (name) => {
    const space = workspace();
    const first = await Server.start(space);
    const client = await first.connect('alice');
    const workload = new Workload((await client.openDevice('nvme0')).share('data'));
    const other = {
      state: 'other-state',
      listen: { unix: { path: name === 'server.sock' ? name : 'other.sock' } },
      admin: { path: name === 'admin.sock' ? name : 'other-admin.sock' },
    };
    expectFailure(
      await failed(space, space.file('other.json', configuration(other))),
      1,
      new RegExp(`a server is listening at .*${name}`),
      /stop that server/,
    );
    expect(existsSync(space.path('other-state')), 'nothing was made').toBe(false);
    expectFailure(await failed(space, configuration()), 1, /listening at/, /stop|other/);
    await workload.stop();
    expect(workload.mismatches).toEqual([]);
    await client.close();
    const later = await first.connect('bob');
    await later.ping();
    await later.close();
    expect(await first.admin('/status')).toMatchObject({ devices: [{ name: 'nvme0' }] });
    expect(await first.stop()).toEqual({ status: 0, signal: null });
    expect(readdirSync(space.folder).filter((each) => each.endsWith('.sock'))).toEqual([]);
  });

  it('a state folder: it belongs to one server at a time', async () => {
    const space = workspace();
    const first = await Server.start(space);
    const other = { listen: { unix: { path: 'other.sock' } }, admin: { path: 'other-admin.sock' } };
    const result = await failed(space, space.file('other.json', configuration(other)));
    expectFailure(result, 1, new RegExp(`process ${first.ready.pid}.* uses the state folder`), /stop that server/);
    expect(await first.stop()).toEqual({ status: 0, signal: null });
  });

  it('a port', async () => {
    const space = workspace();
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
    const { port } = holder.address() as AddressInfo;
    const { sha256 } = JSON.parse((await space.ringwarden(['token', '--output', 'json'])).stdout) as { sha256: string };
    const tenants = [tenant('alice', 0, { token: { sha256 } }), tenant('bob', WINDOW_BYTES)];
    const result = await failed(space, configuration({ listen: { tcp: { port } }, tenants }));
    expectFailure(result, 1, new RegExp(`EADDRINUSE.*127\\.0\\.0\\.1:${port}`), /port|stop/);
    expect(existsSync(space.path('admin.sock'))).toBe(false);
    await new Promise<void>((resolve) => holder.close(() => resolve()));
  });

  const backings = [
    ['the embedded controller', 'emulated', true],
    [`the controller of ${qemuName}`, 'qemu', hasQemu],
  ] as const;
  for (const [name, kind, isThere] of backings) {
    it.skipIf(!isThere)(`the sockets and the image of a server that was killed are taken over, on ${name}`, async () => {
      const space = workspace();
      const config = configuration({ devices: [device({ kind }, { image: IMAGE })] });
      const first = await Server.start(space, config);
      const share = (await (await first.connect('alice')).openDevice('nvme0')).share('data');
      const data = Buffer.alloc(MIB, 'before the kill ');
      await share.write(0, data);
      await share.flush();
      const engines = childrenOf(first.ready.pid);
      expect(engines.length).toBe(kind === 'qemu' ? 1 : 0);
      first.process.kill('SIGKILL');
      expect(await first.process.ended).toEqual({ status: null, signal: 'SIGKILL' });
      await expect(share.read(0, MIB)).rejects.toMatchObject({ name: 'ConnectionError' });
      for (const socket of ['server.sock', 'admin.sock']) expect(statSync(space.path(socket)).isSocket()).toBe(true);
      await eventually('QEMU dies with its server', () => (engines.some((pid) => existsSync(`/proc/${pid}`)) ? undefined : true));
      const second = await Server.start(space, config);
      const again = await second.connect('alice');
      expect((await (await again.openDevice('nvme0')).share('data').read(0, MIB)).equals(data)).toBe(true);
      await again.close();
      expect(await second.stop()).toEqual({ status: 0, signal: null });
    });
  }

  it('something that is no socket is left alone', async () => {
    const space = workspace();
    space.file('server.sock', 'precious');
    expectFailure(await failed(space, configuration()), 1, /server\.sock.* not a socket/, /another path/);
    expect(readFileSync(space.path('server.sock'), 'utf8')).toBe('precious');
  });
});

describe('a state folder that cannot be used', () => {
  it('is a file', async () => {
    const space = workspace();
    space.file('state', 'precious');
    expectFailure(await failed(space, configuration()), 1, /EEXIST.*state|state.*not a folder/, /move|another path/);
    expect(readFileSync(space.path('state'), 'utf8')).toBe('precious');
  });

  it('has a damaged ledger: the server does not guess', async () => {
    const space = workspace();
    const config = configuration({ devices: [onImage] });
    const server = await Server.start(space, config);
    expect(await server.stop()).toEqual({ status: 0, signal: null });
    const ledger = space.path('state/ledger.json');
    const damaged = readFileSync(ledger, 'utf8').slice(0, 40);
    writeFileSync(ledger, damaged);
    expectFailure(await failed(space, config), 1, /the ledger cannot be read/, /backup|keepData/);
    expect(readFileSync(ledger, 'utf8')).toBe(damaged);
  });

  it.skipIf(!canChangeUser)(`may not be read${whyNotUser}`, async () => {
    const space = workspace();
    chmodSync(space.folder, 0o755);
    mkdirSync(space.path('state'), { mode: 0o700 });
    const file = space.file('ringwarden.json', configuration());
    const result = await failed(space, file, { under: asUser(4242) });
    expectFailure(result, 1, /EACCES.*\/state/, /rights|may/);
  });
});

describe('a command that cannot be carried out', () => {
  const cases: readonly (readonly [args: readonly string[], status: 1 | 2, what: RegExp, remedy: RegExp])[] = [
    [['list', '--tenant', 'alice', '--socket', 'none.sock'], 1, /none\.sock/, /serve/],
    [['status', '--admin-socket', 'none.sock'], 1, /no server listens at none\.sock/, /serve/],
    [['list', '--tenant', 'alice', '--token-file', 'none.token'], 2, /none\.token/, /name a file/],
    [['serve', '--device', 'nvme0'], 1, /"nvme0" is not the address of a PCI function/, /status --devices/],
    [['serve', '--sample', '--backing', 'vfio'], 2, /"nvme0" is no PCI function/, /--device ADDRESS/],
    [['bind', '0000:ff:1f.7'], 1, /there is no PCI function 0000:ff:1f\.7/, /status --devices/],
    [['bind', '01:00'], 1, /"01:00" is not the address/, /status --devices/],
    [['copy', 'a', 'b'], 2, /neither argument is a share/, /DEVICE\/SHARE/],
  ];
  it.each(cases)('ringwarden %j', async (args, status, what, remedy) => {
    expectFailure(await workspace().ringwarden(args), status, what, remedy);
  });

  it.each([[['frobnicate']], [['serve', '--frobnicate']], [['serve', '--backing', 'abacus', '--sample']]])(
    'ringwarden %j: status 2',
    async (args) => {
      const space = workspace();
      const result = await space.ringwarden(args);
      expect(result).toMatchObject({ status: 2, stdout: '' });
      expect(result.stderr).toMatch(/^error: /);
      expect(readdirSync(space.folder)).toEqual([]);
    },
  );

  it('as a tenant that there is not', async () => {
    const space = workspace();
    const server = await Server.start(space);
    await expect(server.connect('mallory')).rejects.toMatchObject({ name: 'RefusedError', code: 'authenticationFailed' });
    const socket = ['--socket', space.path('server.sock')];
    expectFailure(await space.ringwarden(['list', '--tenant', 'mallory', ...socket]), 1, /no tenant has these credentials/, /tenant name/);
    expectFailure(await space.ringwarden(['copy', '/etc/hostname', 'nvme7/data', '--tenant', 'alice', ...socket]), 1, /nvme7/, /nvme0\/data/);
    expect(await server.stop()).toEqual({ status: 0, signal: null });
  });

  it('a port that is free has nobody behind it', async () => {
    const port = await freePort();
    const token = workspace().file('alice.token', 'rwt_nothing\n');
    const result = await workspace().ringwarden(['list', '--url', `wss://127.0.0.1:${port}`, '--token-file', token]);
    expectFailure(result, 1, /cannot connect/, /serve/);
  });
});
