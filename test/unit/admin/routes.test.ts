import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mayAdminister } from '../../../src/server/admin/access.js';
import { AdminServer, SocketInUse } from '../../../src/server/admin/index.js';
import { Refusal } from '../../../src/server/engine/api.js';
import { ROUTES, createRouter } from '../../../src/server/admin/routes.js';
import { silentLog } from '../../../src/server/log.js';
import { systemEnvironment } from '../../../src/server/config/index.js';
import { environment } from '../config/support.js';
import { REPORT, createWorld } from './support.js';
import type { World } from './support.js';

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(() => world.audit.close());

const get = async (path: string, method = 'GET'): Promise<unknown> => JSON.parse((await createRouter(world.sources).answer(method, path)).text);

describe('what the administrator is told', () => {
  it('/status', async () => {
    expect(await get('/status')).toMatchObject({
      server: { version: '1.2.3', pid: process.pid, uptimeSeconds: 5, listen: { unix: '/nowhere/s.sock', tcp: null }, isolation: 'required' },
      devices: [
        { name: 'nvme0', class: 'nvme', state: 'open', free: false, leases: 1, quarantineBytes: 8192, description: 'no IOMMU', why: '', remedy: '' },
      ],
      tenants: [
        { name: 'alice', isolation: 'uid', sessions: 1, pinnedBytes: 4096 },
        { name: 'bob', isolation: 'uid', sessions: 0, pinnedBytes: 0 },
      ],
      sessions: 2,
      refusals: 0,
      wipes: [],
    });
  });

  it('of a device that does not answer, that it does not', async () => {
    world.engine.reportNow = () => Promise.reject(new Error('the engine has ended'));
    expect(await get('/status')).toMatchObject({
      devices: [{ state: 'silent', why: 'the engine has ended', free: false, remedy: expect.stringContaining('restart the server') }],
    });
    expect(await get('/devices/nvme0')).toMatchObject({ name: 'nvme0', state: 'silent', why: 'the engine has ended' });
  });

  it('/devices and /devices/:name', async () => {
    const shares = [{ tenant: 'alice', name: 'data', firstBlock: 0, blocks: 1, bytes: 512, access: ['read', 'write'] }];
    const device = { name: 'nvme0', serial: 'RW-nvme0', ...REPORT, remedy: '', shares };
    expect(await get('/devices')).toMatchObject([device]);
    expect(await get('/devices/nvme0')).toMatchObject(device);
  });

  it('/tenants, without anything that proves who they are', async () => {
    const text = JSON.stringify(await get('/tenants'));
    expect(JSON.parse(text)).toMatchObject([
      {
        name: 'alice',
        index: 0,
        credentials: { uids: [1000], gid: null, token: false },
        weight: 100,
        counters: { nvme0: { requests: { read: 10, write: 20 } } },
      },
      { name: 'bob', index: 1 },
    ]);
    expect(text).not.toContain('tokenHash');
  });

  it('/sessions', async () => expect(await get('/sessions')).toEqual(world.sessions));

  it('/stats, with names in place of numbers', async () => {
    expect(await get('/stats')).toMatchObject([
      {
        device: 'nvme0',
        tenant: 'alice',
        requests: { read: 10, write: 20, flush: 0, writeZeroes: 0, compare: 0, deallocate: 0 },
        bytesRead: 1000,
        codes: { lbaOutsideShare: 7 },
        latency: { count: 6, sumSeconds: 0.5, p50Seconds: 2e-6, p99Seconds: 2e-6 },
      },
      { device: 'nvme0', tenant: 'bob', requests: { read: 20 } },
    ]);
  });

  it('/trace/:tenant', async () => {
    expect(await get('/trace/alice')).toEqual([
      {
        device: 'nvme0',
        time: '2026-01-02T03:04:05.678Z',
        operation: 'read',
        lease: 1,
        queue: 0,
        share: 0,
        lba: 9,
        blocks: 8,
        region: 1,
        code: 'lbaOutsideShare',
        microseconds: 12.6,
      },
    ]);
    expect(await get('/trace/bob')).toEqual([]);
    await expect(get('/trace/zoe')).rejects.toMatchObject({ status: 404, message: 'there is no tenant "zoe"', remedy: 'the tenants are alice, bob' });
  });

  it('/refusals', async () => {
    world.audit.refusal({ time: 1, tenant: 'alice', session: 1, code: 'pinLimit', field: 'bytes', value: '9' });
    expect(await get('/refusals')).toEqual({
      total: 1,
      counts: [{ tenant: 'alice', code: 'pinLimit', count: 1 }],
      recent: [{ time: 1, tenant: 'alice', session: 1, code: 'pinLimit', field: 'bytes', value: '9' }],
    });
  });

  it('/inspect: one tree of everything', async () => {
    expect(await get('/inspect')).toMatchObject({
      server: { version: '1.2.3' },
      engines: { nvme0: { queues: [{ id: 1, head: 2 }] } },
      sessions: { sessions: world.sessions },
      tenants: [{ name: 'alice' }, { name: 'bob' }],
      process: { node: process.version },
    });
  });

  it('log pages, decoded', async () => {
    const smart = new Uint8Array(512);
    smart.set([0x04, 0x2c, 0x01, 100, 10, 3]);
    smart[64] = 0xff;
    smart[65] = 1;
    world.engine.pages.set('smart', smart);
    expect(await get('/devices/nvme0/smart')).toMatchObject({
      critical_warning: ['reliability'],
      temperature_celsius: 27,
      available_spare_percent: 100,
      percentage_used: 3,
      host_read_commands: 511,
    });
    const errors = new Uint8Array(128);
    const view = new DataView(errors.buffer, 64);
    view.setUint32(0, 9, true);
    view.setUint16(8, 2, true);
    view.setUint16(12, (0x281 << 1) | 1, true);
    view.setUint32(16, 77, true);
    world.engine.pages.set('error', errors);
    expect(await get('/devices/nvme0/errors')).toEqual([
      { error_count: 9, sqid: 2, cmdid: 0, status: '0x281', parm_error_location: 0, lba: 77, nsid: 0 },
    ]);
    const firmware = new Uint8Array(512);
    firmware[0] = 0x21;
    firmware.set(Buffer.from('1.0     '), 8);
    world.engine.pages.set('firmware', firmware);
    expect(await get('/devices/nvme0/firmware')).toMatchObject({ active_slot: 1, next_slot: 2, slots: ['1.0', '', '', '', '', '', ''] });
  });

  it('of a log page that is too short, that it is', async () => {
    world.engine.pages.set('smart', new Uint8Array(5));
    await expect(get('/devices/nvme0/smart')).rejects.toThrow(/5 bytes/);
  });
});

describe('what the administrator may do', () => {
  it('reset a controller', async () => {
    expect(await get('/devices/nvme0/reset', 'POST')).toEqual({ device: 'nvme0', reset: true });
    expect(world.engine.resets).toEqual(['asked for by the administrator']);
    await expect(get('/devices/nvme1/reset', 'POST')).rejects.toMatchObject({ status: 404, remedy: 'the devices are nvme0' });
  });

  it('reset nothing on a device that nobody uses', async () => {
    world.engine.reportNow = async () => ({ ...REPORT, state: 'closed' });
    await expect(get('/devices/nvme0/reset', 'POST')).rejects.toMatchObject({
      status: 409,
      message: 'device nvme0 is closed: nobody uses it',
      remedy: 'nothing; whoever opens it resets it',
    });
    expect(world.engine.resets).toEqual([]);
  });

  it('read what to do about a lost device, whatever they ask for', async () => {
    const lost = 'QMP: QEMU has ended';
    const remedy = 'the server opens it again as soon as it is there; see the log of the server if it stays lost';
    world.engine.reportNow = async () => ({ ...REPORT, state: 'lost', lost });
    expect(await get('/status')).toMatchObject({ devices: [{ state: 'lost', why: lost, remedy }] });
    expect(await get('/devices/nvme0')).toMatchObject({ state: 'lost', lost, remedy });
    const refused = { status: 409, message: `device nvme0 is lost: ${lost}`, remedy };
    await expect(get('/devices/nvme0/reset', 'POST')).rejects.toMatchObject(refused);
    for (const page of ['smart', 'errors', 'firmware']) await expect(get(`/devices/nvme0/${page}`)).rejects.toMatchObject(refused);
    expect(world.engine.resets).toEqual([]);
  });

  it('reload', async () => {
    world.reload = { applied: false, messages: ['conf:1:1: wrong'] };
    expect(await get('/reload', 'POST')).toEqual(world.reload);
  });
});

describe('/mappings', () => {
  const mapping = { start: '7f0000001000', end: '7f0000003000', permissions: 'r--s', path: '/memfd:ringwarden:region', state: 'unknown' } as const;
  const sources = (mappings: World['sources']['mappings']): World['sources'] => ({ ...world.sources, mappings });
  const ask = async (from: World['sources'], path: string): Promise<unknown> => JSON.parse((await createRouter(from).answer('GET', path)).text);

  it('are those of the process, and the one at an address', async () => {
    const asked: number[] = [];
    const from = sources(async (pid) => {
      asked.push(pid);
      return [mapping];
    });
    expect(await ask(from, '/mappings/4711')).toEqual([mapping]);
    for (const address of ['7f0000001000', '0x7f0000002fff', '7F0000001ABC']) expect(await ask(from, `/mappings/4711/${address}`)).toEqual(mapping);
    for (const address of ['7f0000000fff', '7f0000003000', '0', 'ffffffffffffffff']) {
      await expect(ask(from, `/mappings/4711/${address}`)).rejects.toMatchObject({
        status: 404,
        message: expect.stringContaining(address) as string,
      });
    }
    for (const address of ['', 'x', '0x', '-1', '1 2', '12345678901234567']) {
      await expect(ask(from, `/mappings/4711/${encodeURIComponent(address)}`)).rejects.toMatchObject({ status: 404 });
    }
    expect(new Set(asked)).toEqual(new Set([4711]));
  });

  it.each(['0', '-1', '1.5', '01', 'self', '', '..%2f1', '99999999999'])('of the process "%s" there are none', async (process) => {
    const from = sources(() => Promise.reject(new Error('not to be asked')));
    await expect(ask(from, `/mappings/${process}`)).rejects.toMatchObject({ status: 404, remedy: expect.stringContaining('ps(1)') as string });
  });

  it.each([
    ['ENOENT', 404, 'there is no process 4711'],
    ['ESRCH', 404, 'there is no process 4711'],
    ['EACCES', 409, 'the server may not look into process 4711'],
    ['EPERM', 409, 'the server may not look into process 4711'],
  ])('%s says what it means', async (code, status, message) => {
    const from = sources(() => Promise.reject(Object.assign(new Error(code), { code })));
    await expect(ask(from, '/mappings/4711')).rejects.toMatchObject({ status, message });
  });
});

describe('what is not there', () => {
  it.each([
    ['GET', '/', 404],
    ['GET', '/nothing', 404],
    ['GET', '/devices/nvme0/smart/more', 404],
    ['GET', '/devices/nvme0/reset', 405],
    ['POST', '/status', 405],
    ['DELETE', '/devices', 405],
    ['POST', '/metrics', 404],
    ['GET', '/trace/%zz', 400],
  ])('%s %s', async (method, path, status) => expect(get(path, method)).rejects.toMatchObject({ status }));

  it('changes nothing by GET', () => {
    const changing = ROUTES.filter(({ path }) => /reset|reload/.test(path));
    expect(changing.map(({ method }) => method)).toEqual(changing.map(() => 'POST'));
  });
});

describe('who may administer', () => {
  const allowed = (uid: number, gid: number, group?: number): boolean => mayAdminister({ uid, gid }, group, environment);
  it.each([
    ['root', allowed(0, 0), true],
    ['the user of the server', allowed(500, 1), true],
    ['a stranger', allowed(1000, 1), false],
    ['a stranger whose group is that of the server', allowed(1000, 500), false],
    ['a member of the group', allowed(1000, 42, 42), true],
    ['a member of another group', allowed(1000, 41, 42), false],
    ['the overflow user', allowed(65_534, 42, 42), false],
    ['the overflow group', allowed(1000, 65_534, 65_534), false],
    ['nobody knows who', mayAdminister(undefined, 42, environment), false],
  ])('%s', (_who, result, expected) => expect(result).toBe(expected));

  it('a member by the group file', () => {
    const members = { ...environment, isMember: (uid: number, gid: number) => uid === 1000 && gid === 42 };
    expect(mayAdminister({ uid: 1000, gid: 1 }, 42, members)).toBe(true);
    expect(mayAdminister({ uid: 1001, gid: 1 }, 42, members)).toBe(false);
    expect(mayAdminister({ uid: 1000, gid: 1 }, undefined, members)).toBe(false);
  });
});

describe('the admin socket', () => {
  let folder: string;
  let path: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'ringwarden-admin-'));
    path = join(folder, 'admin.sock');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const server = (overrides: Partial<ConstructorParameters<typeof AdminServer>[0]> = {}): AdminServer =>
    new AdminServer({
      path,
      group: undefined,
      metrics: undefined,
      sources: world.sources,
      environment: systemEnvironment(),
      log: silentLog,
      ...overrides,
    });
  const ask = (where: object, target: string, method = 'GET'): Promise<{ status: number; type: string; text: string }> =>
    new Promise((resolve, reject) => {
      const outgoing = request({ ...where, path: target, method }, (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => (text += chunk.toString()));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, type: response.headers['content-type'] ?? '', text }));
      });
      outgoing.on('error', reject);
      outgoing.end();
    });

  it('answers whoever runs the server, and leaves nothing behind', async () => {
    const admin = server();
    await admin.listen();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const { status, type, text } = await ask({ socketPath: path }, '/status?x=1');
    expect([status, type]).toEqual([200, 'application/json']);
    expect(JSON.parse(text)).toMatchObject({ server: { version: '1.2.3' } });
    await admin.close();
    expect(() => statSync(path)).toThrow(/ENOENT/);
  });

  it('sends away whoever may not ask', async () => {
    // This process is neither root nor the user of that server, as far as that server knows.
    const stranger = { ...systemEnvironment(), uid: 1, overflowUid: process.getuid?.() ?? 0 };
    const admin = server({ environment: stranger });
    await admin.listen();
    const { status, text } = await ask({ socketPath: path }, '/status');
    expect(status).toBe(403);
    expect(JSON.parse(text)).toMatchObject({ error: { what: 'you may not administer this server' } });
    expect((await ask({ socketPath: path }, '/devices/nvme0/reset', 'POST')).status).toBe(403);
    expect(world.engine.resets).toEqual([]);
    await admin.close();
  });

  it('gives the socket to the group', async () => {
    const admin = server({ group: process.getgid?.() ?? 0 });
    await admin.listen();
    expect(statSync(path).mode & 0o777).toBe(0o660);
    await admin.close();
  });

  it('tells what was wrong, and what to do, without a stack', async () => {
    const admin = server();
    await admin.listen();
    world.engine.onReset = () => Promise.reject(new Refusal('deviceUnavailable', 'device'));
    const refused = await ask({ socketPath: path }, '/devices/nvme0/reset', 'POST');
    expect([refused.status, JSON.parse(refused.text)]).toEqual([
      409,
      { error: { what: 'the device could not be brought up', remedy: 'see the server log' } },
    ]);
    world.engine.onReset = () => Promise.reject(new Error('boom'));
    const failed = await ask({ socketPath: path }, '/devices/nvme0/reset', 'POST');
    expect([failed.status, JSON.parse(failed.text)]).toEqual([500, { error: { what: 'boom', remedy: 'see the log of the server' } }]);
    await admin.close();
  });

  it('takes over from a server that died, and not from one that lives', async () => {
    const first = server();
    await first.listen();
    await expect(server().listen()).rejects.toThrow(SocketInUse);
    expect((await ask({ socketPath: path }, '/status')).status).toBe(200);
    await first.close();
    // A socket file that nobody serves.
    const dead = createServer();
    await new Promise<void>((resolve) => dead.listen(path, resolve));
    const left = join(folder, 'left.sock');
    const { linkSync } = await import('node:fs');
    linkSync(path, left);
    await new Promise((resolve) => dead.close(resolve));
    const admin = server({ path: left });
    await admin.listen();
    expect((await ask({ socketPath: left }, '/status')).status).toBe(200);
    await admin.close();
  });

  it('does not remove a file that is not a socket', async () => {
    writeFileSync(path, 'precious');
    await expect(server().listen()).rejects.toThrow(/is not a socket/);
    expect(readFileSync(path, 'utf8')).toBe('precious');
  });

  it('serves metrics, and nothing else, on loopback', async () => {
    const port = await freePort();
    const admin = server({ metrics: { host: '127.0.0.1', port } });
    await admin.listen();
    const metrics = await ask({ host: '127.0.0.1', port }, '/metrics');
    expect([metrics.status, metrics.type]).toEqual([200, 'text/plain; version=0.0.4; charset=utf-8']);
    expect(metrics.text).toContain('ringwarden_build_info{version="1.2.3"} 1');
    expect((await ask({ host: '127.0.0.1', port }, '/status')).status).toBe(404);
    expect((await ask({ host: '127.0.0.1', port }, '/metrics', 'POST')).status).toBe(404);
    // A second server that finds the port taken leaves no socket behind.
    const second = server({ path: join(folder, 'b.sock'), metrics: { host: '127.0.0.1', port } });
    await expect(second.listen()).rejects.toMatchObject({ code: 'EADDRINUSE' });
    expect(() => statSync(join(folder, 'b.sock'))).toThrow(/ENOENT/);
    await admin.close();
  });
});

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}
