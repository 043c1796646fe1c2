/** `ringwarden run`: a program gets an open session from whoever starts it, and no right beyond it. */
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { MAIN, ROOT, eventually, workspace, type Process, type Result, type Workspace } from '../support/processes.js';
import { Server, WINDOW_BYTES, configuration, device, tenant } from '../support/server.js';
import { FULL, fullOnly } from '../support/tier.js';
import { asUser, canChangeUser, whyNotUser } from '../support/users.js';

const ALICE = 4242;
const MODES = ['shared', 'exclusive'];
const hasPython = spawnSync('python3', ['--version']).status === 0;

/** Says what it is, then does on each line of its standard input what that says, and prints what came of it. */
const PROGRAM = `import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { connect } from './dist/client/index.js';
const say = (value) => console.log(JSON.stringify(value));
const variables = () => Object.keys(process.env).filter((name) => name.startsWith('RINGWARDEN_')).sort();
const child = (code) => spawnSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8' }).stdout.trim();
const CHILD = "import { fstatSync } from 'node:fs'; let open = false; try { open = fstatSync(3).isSocket(); } catch {}" +
  "console.log(JSON.stringify([open, process.env.RINGWARDEN_FD ?? null]));";
let client, opened;
const commands = {
  who: () => ({ pid: process.pid, uid: process.getuid(), gid: process.getgid(), groups: process.getgroups(), args: process.argv.slice(2) }),
  variables,
  child: () => JSON.parse(child(CHILD)),
  connect: async (options) => {
    client = await connect(options && JSON.parse(options));
    return [client.tenant, client.isolation, client.session, client.device ?? null];
  },
  open: async (options) => {
    opened = await client.openDevice(undefined, options && JSON.parse(options));
    return [opened.name, opened.mode, opened.queues, opened.transport];
  },
  work: async () => {
    const share = opened.share('data');
    const block = Buffer.alloc(share.blockBytes, 'through what was inherited');
    await share.write(0, block);
    return (await share.read(0, block.length)).equals(block);
  },
  ping: () => client.ping(),
  exit: (status) => process.exit(Number(status)),
};
say('started');
for await (const line of createInterface({ input: process.stdin })) {
  const [name, argument] = line.split(/ (.*)/);
  try { say((await commands[name](argument)) ?? null); } catch ({ code, message }) { say({ code, message }); }
}
`;

class Started {
  readonly process: Process;
  #lines = 0;

  constructor(child: Process) {
    this.process = child;
  }

  /** The next line that it says. */
  async next(): Promise<unknown> {
    const at = this.#lines++;
    const line = await eventually('a line of the program', () => {
      const lines = this.process.stdout.split('\n');
      if (lines.length > at + 1) return lines[at];
      if (!this.process.isRunning) throw new Error(`the program ended: ${this.process.words}`);
      return undefined;
    });
    return JSON.parse(line);
  }

  ask(command: string): Promise<unknown> {
    this.process.write(`${command}\n`);
    return this.next();
  }
}

/** What the launcher, and programs with the SDK, need of the package. */
function install(space: Workspace, folder: string): void {
  const packages = ['commander', 'ws', 'msgpackr'].map((name) => `node_modules/${name}`);
  for (const part of ['dist', 'build/shm.node', 'package.json', ...packages]) {
    cpSync(join(ROOT, part), space.path(join(folder, part)), { recursive: true });
  }
}

/** A folder where every user can run the build, and the program of this test. */
function place(): Workspace {
  const space = workspace();
  chmodSync(space.folder, 0o755);
  mkdirSync(space.path('build'));
  install(space, '.');
  cpSync(join(ROOT, 'examples/python/hello.py'), space.path('examples/python/hello.py'));
  space.file('program.mjs', PROGRAM);
  return space;
}

/** Both tenants are users of the machine of their own, or both are who runs the test. */
function start(space: Workspace, change: object = {}): Promise<Server> {
  const own = process.getuid?.() ?? 0;
  const [alice, bob] = canChangeUser ? [ALICE, ALICE + 1] : [own, own];
  const listen = { unix: { path: 'server.sock', mode: '0666' } };
  const isolation = canChangeUser ? 'required' : 'none';
  return Server.start(
    space,
    configuration({
      isolation,
      listen,
      tenants: [tenant('alice', 0, { uid: alice, modes: MODES }), tenant('bob', WINDOW_BYTES, { uid: bob })],
      ...change,
    }),
  );
}

const AS_ROOT = canChangeUser ? ['--group', String(ALICE)] : [];
const NAMED = ['--socket', 'server.sock', '--admin-socket', 'admin.sock', '--tenant', 'alice', '--device', 'nvme0'];
const launch = (space: Workspace, options: readonly string[], ...program: string[]): Process =>
  space.spawn(process.execPath, [MAIN, 'run', ...AS_ROOT, ...NAMED, ...options, '--', ...program]);

/** With user and group named, root asks nobody who alice is. */
const AS_ALICE = canChangeUser ? ['--user', String(ALICE)] : [];

/** Waits until the launcher has a socket beside its standard files. */
function isConnected({ pid }: Process): Promise<true> {
  const folder = `/proc/${pid}/fd`;
  const isSocket = (fd: string): boolean => {
    try {
      return Number(fd) > 2 && readlinkSync(join(folder, fd)).startsWith('socket:');
    } catch {
      // Closed meanwhile.
      return false;
    }
  };
  return eventually('a connection of the launcher', () => (readdirSync(folder).some(isSocket) ? true : undefined));
}

async function program(space: Workspace, options: readonly string[] = [], ...args: string[]): Promise<Started> {
  const started = new Started(launch(space, options, process.execPath, 'program.mjs', ...args));
  expect(await started.next()).toBe('started');
  return started;
}

interface SessionView {
  readonly session: number;
  readonly peer: { readonly pid: number; readonly uid: number };
  readonly leases: readonly { readonly device: string; readonly mode: string }[];
}
const sessionsOf = (server: Server): Promise<SessionView[]> => server.admin<SessionView[]>('/sessions');
const noSessions = (server: Server): Promise<true> =>
  eventually('the end of every session', async () => ((await sessionsOf(server)).length === 0 ? true : undefined));

describe('a program that was started with a device', () => {
  it('finds the session and the lease ready, and works', async () => {
    const space = place();
    const server = await start(space);
    const started = await program(space, ['--mode', 'exclusive', '--queues', 'own'], 'an argument', '--option');
    const who = (await started.ask('who')) as { pid: number; uid: number };
    // The launcher became the program.
    expect(who).toMatchObject({ pid: started.process.pid, args: ['an argument', '--option'] });
    const [session] = await sessionsOf(server);
    expect(session).toMatchObject({ peer: { pid: who.pid, uid: who.uid }, leases: [{ device: 'nvme0', mode: 'exclusive' }] });
    expect(await started.ask('connect {"tenant":"alice"}')).toEqual(['alice', canChangeUser ? 'uid' : 'none', session.session, 'nvme0']);
    expect(await started.ask('open {"mode":"shared"}')).toMatchObject({ code: 'invalidArgument', message: expect.stringMatching(/ringwarden run/) });
    expect(await started.ask('open')).toEqual(['nvme0', 'exclusive', 'own', 'shm']);
    expect(await started.ask('work')).toBe(true);
    started.process.write('exit 7\n');
    expect(await started.process.ended).toEqual({ status: 7, signal: null });
    await noSessions(server);
    await server.stop();
  });

  it('keeps the handle to itself', async () => {
    const space = place();
    const server = await start(space);
    const started = await program(space);
    const after = ['RINGWARDEN_DEVICE', 'RINGWARDEN_SOCKET', 'RINGWARDEN_TENANT'];
    expect(await started.ask('variables')).toEqual([
      'RINGWARDEN_DEVICE',
      'RINGWARDEN_FD',
      'RINGWARDEN_PID',
      'RINGWARDEN_SOCKET',
      'RINGWARDEN_TENANT',
    ]);
    // A child of a program that has not taken it yet inherits a variable that is not for it, and no descriptor.
    expect(await started.ask('child')).toEqual([false, '3']);
    expect(await started.ask('connect')).toMatchObject(['alice', expect.any(String), expect.any(Number), 'nvme0']);
    expect(await started.ask('variables')).toEqual(after);
    expect(await started.ask('child')).toEqual([false, null]);
    // The second one is a session of its own, with the same server and tenant.
    expect(await started.ask('connect')).toMatchObject(['alice', expect.any(String), expect.any(Number), null]);
    expect((await sessionsOf(server)).map(({ leases }) => leases.length).toSorted()).toEqual([0, 1]);
    expect(await started.ask('open')).toMatchObject({ code: 'invalidArgument' });
    await server.stop();
  });

  it('does not give it to a program that it starts in between', async () => {
    const space = place();
    const server = await start(space);
    const shell = launch(space, ['--mode', 'exclusive'], 'sh', '-c', `"${process.execPath}" program.mjs; exit 3`);
    const started = new Started(shell);
    await started.next();
    expect(await started.ask('connect')).toMatchObject(['alice', expect.any(String), expect.any(Number), null]);
    expect(await sessionsOf(server)).toHaveLength(2);
    started.process.write('exit 0\n');
    expect(await shell.ended).toEqual({ status: 3, signal: null });
    await server.stop();
  });

  it('is told what happened before it looked', async () => {
    const space = place();
    const server = await start(space);
    const started = await program(space);
    await server.admin('/devices/nvme0/reset', 'POST');
    await started.ask('connect');
    expect(await started.ask('open')).toMatchObject(['nvme0', 'shared', 'shared', 'shm']);
    expect(await started.ask('work')).toBe(true);
    await server.stop();
  });

  it('asks for another session by naming one', async () => {
    const space = place();
    const server = await start(space);
    const started = await program(space);
    expect(await started.ask('connect {"tenant":"nobody"}')).toMatchObject({ code: 'authenticationFailed' });
    expect(await started.ask(`connect {"socket":"${space.path('server.sock')}"}`)).toMatchObject([
      'alice',
      expect.any(String),
      expect.any(Number),
      null,
    ]);
    expect(await started.ask('connect {"timeout":-1}')).toMatchObject({ code: 'invalidArgument' });
    // The handle is still there.
    expect(await started.ask('connect {"transport":"socket"}')).toMatchObject(['alice', expect.any(String), expect.any(Number), 'nvme0']);
    expect(await started.ask('open')).toMatchObject(['nvme0', 'shared', 'shared', 'socket']);
    expect(await started.ask('work')).toBe(true);
    await server.stop();
  });

  it('dies by its signals, and the server notices', async () => {
    const space = place();
    const server = await start(space);
    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      const started = await program(space, ['--mode', 'exclusive']);
      await started.ask('connect');
      started.process.kill(signal);
      expect(await started.process.ended).toEqual({ status: null, signal });
      await noSessions(server);
    }
    await server.stop();
  });

  it('hears of the end of the server, and connects to the next one', async () => {
    const space = place();
    const first = await start(space);
    const started = await program(space);
    await started.ask('connect');
    first.process.kill('SIGKILL');
    await first.process.ended;
    expect(await started.ask('ping')).toMatchObject({ code: 'connectionClosed' });
    const second = await start(space);
    expect(await started.ask('connect')).toMatchObject(['alice', expect.any(String), 1, null]);
    await second.stop();
  });

  it('is told when what it inherited is no session', async () => {
    const space = place();
    const code = `process.env.RINGWARDEN_PID = process.pid; process.env.RINGWARDEN_FD = process.argv[1];
      import('./dist/client/index.js').then(({ connect }) => connect()).catch(({ code, message }) => console.log(code, message));`;
    for (const descriptor of ['1', '99', '-3', 'x', '3.0']) {
      const { stdout } = await space.run(process.execPath, ['-e', code, '--', descriptor]);
      expect(stdout).toMatch(/^connectFailed the inherited descriptor .* is not a session with the server; /);
    }
  });
});

describe('the launcher', () => {
  const fails = async (child: Process): Promise<{ status: number | null; stderr: string }> => {
    const { status } = await child.ended;
    expect(child.stdout).toBe('');
    return { status, stderr: child.stderr };
  };

  it('says what is wrong, and leaves nothing behind', async () => {
    const space = place();
    const server = await start(space);
    space.file('not-executable', '#!/bin/sh\n');
    const failing: [status: number, stderr: RegExp, options: string[], program: string][] = [
      [125, /no such device is granted to this tenant.*nvme7/, ['--device', 'nvme7'], 'true'],
      [125, /nowhere.sock: there is no such socket/, ['--socket', 'nowhere.sock'], 'true'],
      [125, /the token file nothing cannot be read/, ['--token-file', 'nothing'], 'true'],
      [125, /no tenant has these credentials/, ['--tenant', 'carol', '--user', canChangeUser ? '4243' : String(process.getuid?.())], 'true'],
      [126, /not-executable cannot be started \(EACCES\)/, [], './not-executable'],
      [127, /there is no program no-such-program/, [], 'no-such-program'],
      [127, /there is no program \.\/no-such/, [], './no-such'],
    ];
    for (const [status, stderr, options, name] of failing) {
      expect(await fails(launch(space, options, name))).toEqual({ status, stderr: expect.stringMatching(stderr) });
      await noSessions(server);
    }
    const holder = await program(space, ['--mode', 'exclusive']);
    expect(await fails(launch(space, [], 'true'))).toEqual({
      status: 125,
      stderr: expect.stringMatching(/the device is held in a way that excludes this/),
    });
    holder.process.kill('SIGKILL');
    expect(await space.ringwarden(['run', '--tenant', 'alice', '--', 'true'])).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/--device/),
    });
    expect(await space.ringwarden(['run', '--device', 'nvme0'])).toMatchObject({ status: 2, stderr: expect.stringMatching(/program/) });
    await server.stop();
  });

  it('may die before the program starts', async () => {
    const space = place();
    const server = await start(space);
    server.process.kill('SIGSTOP');
    const child = launch(space, AS_ALICE, 'true');
    await isConnected(child);
    child.kill('SIGKILL');
    await child.ended;
    server.process.kill('SIGCONT');
    await noSessions(server);
    expect((await launch(space, ['--mode', 'exclusive'], 'true').ended).status).toBe(0);
    await server.stop();
  });

  it('hears when the server dies', async () => {
    const space = place();
    const server = await start(space, { admin: { path: 'other.sock' } });
    server.process.kill('SIGSTOP');
    const child = launch(space, AS_ALICE, 'true');
    await isConnected(child);
    server.process.kill('SIGKILL');
    expect(await fails(child)).toEqual({ status: 125, stderr: expect.stringMatching(/ended the connection/) });
  });

  it.skipIf(!hasPython)(`starts programs in other languages${hasPython ? '' : ' (skipped: apt-get install python3)'}`, async () => {
    const space = place();
    const server = await start(space, { devices: [device({}, { blockBytes: 512 })] });
    const child = launch(space, [], 'python3', '-W', 'error', 'examples/python/hello.py');
    expect(await child.ended, child.stderr).toEqual({ status: 0, signal: null });
    expect(child.stdout).toMatch(/^block 3 of \d+ says: hello, ring, says Python\n/);
    await server.stop();
  });
});

describe.skipIf(!canChangeUser)(`users${whyNotUser}`, () => {
  const asAlice = (space: Workspace, options: readonly string[], ...rest: string[]): Process => {
    const [command, ...ids] = asUser(ALICE);
    return space.spawn(command, [...ids, process.execPath, 'dist/cli/main.js', 'run', ...NAMED, ...options, '--', ...rest]);
  };

  it('root starts the program as the user of the tenant, with nothing of its own', async () => {
    const space = place();
    const server = await start(space);
    const child = launch(
      space,
      [],
      'sh',
      '-c',
      'id -u; id -G; echo "$HOME $USER"; grep -E "^Cap(Inh|Prm|Eff|Amb)" /proc/self/status; ls /proc/$$/fd; true',
    );
    expect(await child.ended, child.stderr).toEqual({ status: 0, signal: null });
    const [uid, groups, home, ...capabilities] = child.stdout.trim().split('\n');
    expect([uid, groups, home]).toEqual([String(ALICE), String(ALICE), `/ ${ALICE}`]);
    expect(
      capabilities.slice(0, 4).every((line) => /^Cap\w+:\s0+$/.test(line)),
      child.stdout,
    ).toBe(true);
    expect(capabilities.slice(4)).toEqual(['0', '1', '2', '3']);
    await server.stop();
  });

  it.skipIf(!FULL)(`the user need not be able to read the launcher${fullOnly}`, async () => {
    const space = place();
    const server = await start(space);
    install(space, 'private');
    chmodSync(space.path('private'), 0o700);
    for (const main of ['cli/main.js', 'program/ringwarden.js']) {
      const launcher = space.path(join('private/dist', main));
      const begin = (...options: string[]): Promise<Result> =>
        space.run(process.execPath, [launcher, 'run', ...AS_ROOT, ...NAMED, ...options, '--', 'id', '-u']);
      expect(await begin()).toMatchObject({ status: 0, stdout: `${ALICE}\n`, stderr: '' });
      expect(await begin('--user', '4249')).toMatchObject({ status: 125, stderr: expect.stringMatching(/no tenant has these credentials/) });
      expect(await begin('--device', 'nvme7')).toMatchObject({ status: 125, stderr: expect.stringMatching(/no such device/) });
    }
    await server.stop();
  });

  it.skipIf(!FULL)(`root names another one, or none decides for it${fullOnly}`, async () => {
    const space = place();
    const tenants = [tenant('alice', 0, { uid: undefined, uids: [ALICE, ALICE + 2] }), tenant('bob', WINDOW_BYTES, { uid: 0 })];
    const server = await start(space, { tenants, isolation: 'none' });
    const said = async (...options: string[]): Promise<string> => {
      const child = launch(space, options, 'id', '-u');
      const { status } = await child.ended;
      return status === 0 ? child.stdout.trim() : `${status} ${child.stderr.split('\n')[0]}`;
    };
    expect(await said()).toBe('125 error: the tenant has several users (4242, 4244)');
    expect(await said('--user', '4244')).toBe('4244');
    expect(await said('--user', '4249')).toMatch(/^125 .*no tenant has these credentials/);
    expect(await said('--user', 'nobody-of-that-name')).toBe('125 error: there is no user "nobody-of-that-name"');
    expect(await said('--tenant', 'bob')).toBe('125 error: the user of the tenant is root');
    expect(await said('--tenant', 'bob', '--user', 'root')).toBe('0');
    expect(await said('--tenant', 'carol')).toBe('125 error: there is no tenant "carol"');
    await server.stop();
  });

  it.skipIf(!FULL)(`an ordinary user starts programs for himself, as the tenant that he is${fullOnly}`, async () => {
    const space = place();
    const server = await start(space);
    const own = asAlice(space, [], 'id', '-u');
    expect(await own.ended, own.stderr).toEqual({ status: 0, signal: null });
    expect(own.stdout).toBe(`${ALICE}\n`);
    for (const [options, stderr] of [
      [['--user', '4243'], /only root starts programs as another user/],
      [['--user', 'root'], /only root starts programs as another user/],
      [['--group', '0'], /only root starts programs as another user/],
      [['--tenant', 'bob'], /no tenant has these credentials/],
    ] as const) {
      const child = asAlice(space, options, 'true');
      expect((await child.ended).status).toBe(125);
      expect(child.stderr).toMatch(stderr);
    }
    await server.stop();
  });

  it('a token that only root can read opens a session for a user that nobody knows', async () => {
    const space = place();
    const made = await space.ringwarden(['token', '--file', 'alice.token', '--output', 'json']);
    const { sha256 } = JSON.parse(made.stdout) as { sha256: string };
    const server = await start(space, {
      tenants: [tenant('alice', 0, { uid: undefined, token: { sha256 } }), tenant('bob', WINDOW_BYTES, { uid: 4243 })],
    });
    const started = await program(space, ['--token-file', 'alice.token', '--user', '4250']);
    expect(await started.ask('who')).toMatchObject({ uid: 4250 });
    expect(await started.ask('connect')).toMatchObject(['alice', 'token', expect.any(Number), 'nvme0']);
    expect(await started.ask('open')).toMatchObject(['nvme0', 'shared', 'shared', 'shm']);
    expect(await started.ask('work')).toBe(true);
    expect(await started.ask('variables')).not.toContain('RINGWARDEN_TOKEN_FILE');
    await server.stop();
  });
});
