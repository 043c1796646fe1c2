import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { prepareSample } from '../../../src/cli/sample.js';
import { createToken } from '../../../src/cli/token.js';
import { text } from '../config/support.js';
import { ringwarden, startWorld } from './support.js';
import type { CliWorld, Ran } from './support.js';

let world: CliWorld;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.close());

const admin = (...args: string[]): Promise<Ran> => ringwarden(...args, ...world.admin);
const client = (...args: string[]): Promise<Ran> => ringwarden(...args, ...world.client);
const lines = ({ out }: Ran): string[] => out.trimEnd().split('\n');
/** The output of a command with `-o json`, which must be that and nothing else. */
const json = async (ran: Promise<Ran>): Promise<unknown> => {
  const { status, out, err } = await ran;
  expect([status, err]).toEqual([0, '']);
  return JSON.parse(out);
};

describe('list', () => {
  it('shows what the tenant may use', async () => {
    const ran = await client('list');
    expect(ran).toMatchObject({ status: 0, err: '' });
    expect(lines(ran)).toEqual([
      'SHARE       CLASS  SIZE    BLOCKS  BLOCK  ACCESS  MAX I/O  STATE  FREE',
      'nvme0/data  nvme   64 KiB     128    512  r       4 KiB    open   no',
    ]);
  });

  it('in JSON', async () => {
    expect(await json(client('list', '-o', 'json'))).toMatchObject({
      tenant: 'alice',
      isolation: 'none',
      devices: [
        { name: 'nvme0', shares: [{ name: 'data', blocks: 128, blockBytes: 512, access: ['read'], operations: ['read', 'flush', 'compare'] }] },
      ],
    });
  });

  it('says what to do when nobody is proved', async () => {
    const { status, out, err } = await client('list', '--tenant', 'bob');
    expect([status, out]).toEqual([1, '']);
    expect(err).toMatch(/^error: hello: no tenant has these credentials.*\n {3}do: check the token, the user id, and the tenant name\n$/);
  });

  it('says what to do when there is no server', async () => {
    const { status, err } = await ringwarden('list', '--socket', '/nowhere/rw.sock');
    expect(status).toBe(1);
    expect(err).toMatch(/^error: cannot connect to \/nowhere\/rw\.sock: there is no such socket\n {3}do: start the server with "ringwarden serve"/);
    expect(err.trimEnd().split('\n')).toHaveLength(2);
  });

  it('says which token file cannot be read', async () => {
    expect(await client('list', '--token-file', '/nowhere/t')).toEqual({
      status: 2,
      out: '',
      err: 'error: the token file /nowhere/t cannot be read (ENOENT)\n   do: name a file that is there, and that you may read\n',
    });
  });
});

describe('show', () => {
  it('shows a device as its tenant may see it', async () => {
    const ran = await client('show', 'nvme0');
    expect(ran.status).toBe(0);
    expect(lines(ran)).toEqual([
      'device : nvme0',
      'class  : nvme',
      'state  : open',
      expect.stringMatching(/^free {3}: no: /),
      '',
      'share             : nvme0/data',
      'index             : 0',
      'size              : 64 KiB (128 blocks of 512 bytes)',
      'access            : read',
      'operations        : read, flush, compare',
      'most in a request : 4 KiB (8 blocks)',
    ]);
    // Where the share lies, and whose the device is, are not the tenant's business.
    expect(ran.out).not.toMatch(/RW-nvme0|bob/);
    expect(await json(client('show', 'nvme0', '-o', 'json'))).toMatchObject({ name: 'nvme0', class: 'nvme' });
  });

  it('shows all to the administrator', async () => {
    const ran = await admin('show', 'nvme0', '--admin');
    expect(ran.status).toBe(0);
    expect(lines(ran)).toEqual(expect.arrayContaining(['serial: RW-nvme0', 'quarantineBytes: 8192', 'heldBy: lease 1 of tenant alice']));
    expect(await json(admin('show', 'nvme0', '--admin', '-o', 'json'))).toMatchObject({
      serial: 'RW-nvme0',
      shares: [{ tenant: 'alice', firstBlock: 1 }],
    });
  });

  it('shows log pages', async () => {
    const smart = new Uint8Array(512);
    smart.set([0, 0x2c, 0x01]);
    world.engine.pages.set('smart', smart);
    expect(lines(await admin('show', 'nvme0', '--log', 'smart'))).toEqual(
      expect.arrayContaining(['temperature_celsius: 27', 'critical_warning: none']),
    );
    expect(await admin('show', 'nvme0', '--log', 'debug')).toMatchObject({
      status: 2,
      err: expect.stringMatching(/Allowed choices are smart, errors, firmware/),
    });
  });

  it('says when there is no such device', async () => {
    expect(await client('show', 'nvme9')).toMatchObject({
      status: 1,
      err: expect.stringMatching(/^error: no device "nvme9" is granted to tenant alice\n/),
    });
    expect(await admin('show', 'nvme9', '--admin')).toMatchObject({
      status: 1,
      err: 'error: there is no device "nvme9"\n   do: the devices are nvme0\n',
    });
  });
});

describe('status', () => {
  it('shows the server at a glance', async () => {
    world.wipes = [{ device: 'nvme0', namespace: 1, firstBlock: 64, blocks: 200, done: 50, tenants: ['bob'], state: 'wiping', reason: '' }];
    const ran = await admin('status');
    expect(ran.status).toBe(0);
    expect(lines(ran)).toEqual([
      'Server',
      expect.stringMatching(/^ringwarden 1\.2\.3, process \d+, up \d+ s, \d+ refusals$/),
      'configuration /nowhere/conf.jsonc',
      'listens at /nowhere/s.sock',
      'privileges: user 4242; CAP_IPC_LOCK; can gain none; system calls filtered; threads that kept theirs: 1',
      '',
      'Devices',
      'DEVICE  CLASS  STATE  BACKING   MODEL  LEASES  QUARANTINE',
      'nvme0   nvme   open   emulated  Model       1  8 KiB',
      '',
      'nvme0: no IOMMU',
      '',
      'Tenants',
      'TENANT  ISOLATION  DMA     SESSIONS  PINNED',
      'alice   none       direct         1  4 KiB',
      'bob     uid        direct         0  0 B',
      '',
      'Wipes',
      'DEVICE  NAMESPACE  FIRST  BLOCKS  FOR  STATE   DONE',
      'nvme0           1     64     200  bob  wiping  25 %',
    ]);
    expect(await json(admin('status', '-o', 'json'))).toMatchObject({ server: { version: '1.2.3' }, wipes: [{ done: 50 }] });
    world.wipes = [];
  });

  it('says what to do when there is no server', async () => {
    expect(await ringwarden('status', '--admin-socket', '/nowhere/a')).toEqual({
      status: 1,
      out: '',
      err: 'error: no server listens at /nowhere/a\n   do: start one with "ringwarden serve", go to the folder of its sample, or name its socket with --admin-socket\n',
    });
  });
});

describe('a lost device', () => {
  it('comes with what to do about it, in status and at a reset', async () => {
    const { reportNow } = world.engine;
    world.engine.reportNow = async () => ({ ...(await reportNow()), state: 'lost', lost: 'it fell off' });
    const remedy = '   do: the server opens it again as soon as it is there; see the log of the server if it stays lost';
    const status = lines(await admin('status'));
    expect(status.slice(status.indexOf('nvme0: no IOMMU; it fell off')).slice(0, 2)).toEqual(['nvme0: no IOMMU; it fell off', remedy]);
    expect(await admin('reset', 'nvme0')).toEqual({ status: 1, out: '', err: `error: device nvme0 is lost: it fell off\n${remedy}\n` });
    world.engine.reportNow = reportNow;
  });
});

describe('stats', () => {
  it('shows counters as ethtool does', async () => {
    const ran = await admin('stats', 'nvme0');
    expect(lines(ran).slice(0, 3)).toEqual(['nvme0:', '     alice.requests.read: 10', '     alice.requests.write: 20']);
    expect(lines(ran)).toContain('     bob.codes.lbaOutsideShare: 14');
    expect(await json(admin('stats', '-o', 'json'))).toMatchObject([{ tenant: 'alice' }, { tenant: 'bob' }]);
  });

  it('shows what Prometheus gets', async () => {
    expect(lines(await admin('stats', '--prometheus'))).toContain('ringwarden_build_info{version="1.2.3"} 1');
  });

  it('knows its devices', async () => expect(await admin('stats', 'sda')).toMatchObject({ status: 1, out: '' }));
});

describe('trace', () => {
  it('shows the last requests', async () => {
    expect(lines(await admin('trace', 'alice'))).toEqual([
      'TIME          DEVICE  LEASE  QUEUE  OPERATION  SHARE  LBA  BLOCKS  CODE             MICROSECONDS',
      '03:04:05.678  nvme0       1      0  read           0    9       8  lbaOutsideShare            13',
    ]);
    expect(await json(admin('trace', 'alice', '-o', 'json'))).toMatchObject([{ operation: 'read', microseconds: 12.6 }]);
    expect(await admin('trace', 'bob')).toMatchObject({ status: 0, out: 'tenant bob has sent no requests yet\n' });
    expect(await admin('trace', 'zoe')).toMatchObject({ status: 1, err: expect.stringMatching(/do: the tenants are alice, bob/) });
  });
});

describe('refusals', () => {
  it('shows them without letting them steer the terminal', async () => {
    world.audit.refusal({
      time: Date.UTC(2026, 0, 1),
      tenant: 'alice',
      session: 3,
      code: 'unknownDevice',
      field: 'device',
      value: '\u001b[2J\u202eevil',
    });
    const { out } = await admin('refusals');
    expect(out).toContain('\\u001b[2J\\u202eevil');
    expect(out).not.toContain('\u001b');
    expect(await json(admin('refusals', '-o', 'json'))).toMatchObject({
      counts: expect.arrayContaining([{ tenant: 'alice', code: 'unknownDevice', count: 1 }]),
    });
  });
});

describe('inspect', () => {
  it('shows a tree, or a part of it', async () => {
    expect(lines(await admin('inspect'))).toEqual(expect.arrayContaining(['engines:', '  nvme0:', '    queues:', '      - 0:']));
    expect(lines(await admin('inspect', 'engines.nvme0'))).toEqual(['queues:', '  - 0:', '      id: 1', '      head: 2']);
    expect(await json(admin('inspect', 'engines.nvme0', '-o', 'json'))).toEqual({ queues: [{ id: 1, head: 2 }] });
    expect(await admin('inspect', 'engines.nvme7')).toMatchObject({
      status: 1,
      err: expect.stringMatching(/the tree has no "nvme7" in "engines\.nvme7"/),
    });
  });
});

describe('reset and reload', () => {
  it('reset the controller', async () => {
    const before = world.engine.resets.length;
    expect(await admin('reset', 'nvme0')).toMatchObject({ status: 0, out: 'nvme0 was reset\n' });
    expect(world.engine.resets).toHaveLength(before + 1);
  });

  it('tell whether the new configuration is in force', async () => {
    world.reload = { applied: true, messages: ['devices changed'] };
    expect(await admin('reload')).toEqual({ status: 0, out: 'the new configuration is in force\ndevices changed\n', err: '' });
    world.reload = { applied: false, messages: ['c:1:1: wrong', 'c:2:2: wrong'] };
    expect(await admin('reload')).toMatchObject({
      status: 1,
      out: '',
      err: expect.stringMatching(/^error: c:1:1: wrong\n {7}c:2:2: wrong\n {3}do: correct it/),
    });
    const { status, out } = await admin('reload', '-o', 'json');
    expect([status, JSON.parse(out)]).toEqual([1, world.reload]);
  });
});

describe('config', () => {
  const file = (content: string): string => {
    const path = join(world.folder, 'conf.jsonc');
    writeFileSync(path, content);
    return path;
  };

  it('check says that a file is good', async () => {
    const path = file(text());
    expect(await ringwarden('config', 'check', path)).toEqual({ status: 0, out: `${path} is good: 1 devices, 1 tenants, 1 shares\n`, err: '' });
    expect(await json(ringwarden('config', 'check', path, '-o', 'json'))).toEqual({ file: path, ok: true, problems: [] });
  });

  it('check tells all problems with exit status 2', async () => {
    const path = file(text({ top: '"colour": 1,', tenants: '{ "name": "a" }' }));
    const ran = await ringwarden('config', 'check', path);
    expect([ran.status, ran.out]).toEqual([2, '']);
    expect(ran.err.trimEnd().split('\n')).toEqual([
      expect.stringMatching(/^error: .*conf\.jsonc:3:3: colour: there is no such key; /),
      expect.stringMatching(/^ {7}.*conf\.jsonc:10:5: tenants\[0\]: tenant "a" cannot be told/),
      '   do: correct the configuration; nothing was changed',
    ]);
    const { status, out } = await ringwarden('config', 'check', path, '-o', 'json');
    expect(status).toBe(2);
    expect(JSON.parse(out)).toMatchObject({
      ok: false,
      problems: [
        { line: 3, column: 3, path: 'colour' },
        { line: 10, column: 5, path: 'tenants[0]' },
      ],
    });
  });

  it('check says when there is no such file', async () => {
    expect(await ringwarden('config', 'check', '/nowhere/conf.jsonc')).toEqual({
      status: 2,
      out: '',
      err: 'error: /nowhere/conf.jsonc cannot be read (ENOENT)\n   do: name a file that is there, and that you may read\n',
    });
  });

  it('schema prints the schema', async () => {
    expect(await json(ringwarden('config', 'schema'))).toMatchObject({ title: 'Ringwarden configuration', type: 'object' });
  });
});

describe('token', () => {
  it('makes one of 256 random bits, and its hash', async () => {
    const { token, sha256 } = createToken();
    expect(token).toMatch(/^rwt_[\w-]{43}$/);
    expect(sha256).toBe(createHash('sha256').update(token).digest('hex'));
    expect(createToken().token).not.toBe(token);
    expect(lines(await ringwarden('token'))).toEqual([expect.stringMatching(/^token {2}: rwt_/), expect.stringMatching(/^sha256 : [0-9a-f]{64}$/)]);
  });

  it('writes it to a new private file, and shows the hash alone', async () => {
    const path = join(world.folder, 'a.token');
    const { file, sha256 } = (await json(ringwarden('token', '--file', path, '-o', 'json'))) as { file: string; sha256: string };
    expect([file, statSync(path).mode & 0o777]).toEqual([path, 0o600]);
    expect(createHash('sha256').update(readFileSync(path, 'utf8').trim()).digest('hex')).toBe(sha256);
    expect(await ringwarden('token', '--file', path)).toMatchObject({ status: 1, err: expect.stringMatching(/cannot be written to .* \(EEXIST\)/) });
  });
});

describe('the command line', () => {
  it.each([
    [['lst'], /unknown command 'lst'/],
    [['list', '--frobnicate'], /unknown option '--frobnicate'/],
    [['list', '-o', 'xml'], /Allowed choices are table, json/],
    [['trace'], /missing required argument 'tenant'\n[^]* {3}do: see "ringwarden trace --help"/],
    [['config', 'check', '--all'], /unknown option '--all'\n[^]* {3}do: see "ringwarden config check --help"/],
    [['serve', '--backing', 'real'], /Allowed choices are emulated, qemu/],
    [['serve', '--sample', '--config', 'x'], /--config and --sample exclude each other/],
    [['serve', '--config', '/nowhere/c.jsonc'], /\/nowhere\/c\.jsonc cannot be read \(ENOENT\)/],
  ])('%j is wrong: exit status 2', async (args, message) => {
    const { status, out, err } = await ringwarden(...args);
    expect([status, out]).toEqual([2, '']);
    expect(err).toMatch(message);
    expect(err).toMatch(/^ {3}do: /m);
  });

  it('helps, with examples and the exit status', async () => {
    const help = await ringwarden('--help');
    expect(help).toMatchObject({ status: 0, err: '' });
    for (const command of ['serve', 'list', 'show', 'copy', 'status', 'stats', 'trace', 'inspect', 'config', 'token'])
      expect(help.out).toMatch(new RegExp(`^  ${command} `, 'm'));
    expect(help.out).toContain('Exit status: 0 done, 1 failed, 2 wrong command line or configuration.');
    expect((await ringwarden('serve', '--help')).out).toContain('ringwarden serve --sample');
    expect(await ringwarden('--version')).toMatchObject({ status: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
  });

  it('has -o json wherever there is something to print', async () => {
    for (const command of ['serve', 'list', 'show', 'copy', 'status', 'stats', 'trace', 'refusals', 'inspect', 'reset', 'reload', 'token']) {
      expect((await ringwarden(command, '--help')).out).toContain('-o, --output <format>');
    }
  });

  it('leaves no sample behind when the command line is wrong', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ringwarden-'));
    const cwd = vi.spyOn(process, 'cwd').mockReturnValue(folder);
    try {
      expect(await ringwarden('serve', '--sample', '--config', 'x')).toMatchObject({ status: 2 });
      expect(readdirSync(folder)).toEqual([]);
      prepareSample();
      expect(readdirSync(folder)).toEqual(['ringwarden-data']);
    } finally {
      cwd.mockRestore();
      rmSync(folder, { recursive: true });
    }
  });
});
