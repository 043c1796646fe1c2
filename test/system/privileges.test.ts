/** What the server's process may do once it serves: of the kernel, and by what it shows the administrator. */
import { randomBytes } from 'node:crypto';
import { chownSync, readFileSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { workspace } from '../support/processes.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { Server, configuration, device } from '../support/server.js';
import { asUser, canChangeUser, whyNotUser } from '../support/users.js';

interface Status {
  readonly server: {
    readonly privileges: {
      readonly uid: number;
      readonly capabilities: string[];
      readonly noNewPrivileges: boolean;
      readonly filter: boolean;
      readonly unreached: number;
    };
  };
}

const threadsOf = (pid: number): { permitted: string; noNewPrivileges: string; seccomp: string }[] =>
  readdirSync(`/proc/${pid}/task`).map((thread) => {
    const text = readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8');
    const field = (name: string): string => new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(text)?.[1] ?? '';
    return { permitted: field('CapPrm'), noNewPrivileges: field('NoNewPrivs'), seccomp: field('Seccomp') };
  });

const isRoot = process.getuid?.() === 0;
const KEPT = isRoot ? '0000000000080000' : '0000000000000000';

describe.each([
  ['the embedded model', device({}, { image: 'nvme0.img' }), true, ''],
  ["QEMU's model", device({ kind: 'qemu' }, { image: 'nvme0.img' }), hasQemu, qemuName.slice(4)],
])('a server with %s', (_name, backing, can, why) => {
  it.skipIf(!can)(`has given up what it does not need, and serves${can ? '' : why}`, async () => {
    const space = workspace();
    const server = await Server.start(space, configuration({ devices: [backing] }));
    const threads = threadsOf(server.ready.pid);
    expect(threads.filter(({ noNewPrivileges, seccomp }) => noNewPrivileges !== '1' || seccomp !== '2')).toEqual([]);
    const others = threads.filter(({ permitted }) => permitted !== KEPT);
    expect(others.length, "Node's thread that waits for SIGUSR1 takes no other signal").toBeLessThanOrEqual(1);

    const { privileges } = (await server.admin<Status>('/status')).server;
    expect(privileges).toEqual({
      uid: process.getuid?.(),
      capabilities: isRoot ? ['CAP_SYS_PTRACE'] : [],
      noNewPrivileges: true,
      filter: true,
      unreached: others.length,
    });
    const { stdout } = await space.ringwarden(['status', '--admin-socket', server.ready.admin]);
    expect(stdout).toMatch(/^privileges: user \d+; .*; can gain none; system calls filtered/m);

    const client = await server.connect('alice');
    const share = (await client.openDevice('nvme0')).share('data');
    const data = randomBytes(65_536);
    await share.write(0, data);
    expect((await share.read(0, data.length)).equals(data)).toBe(true);
    await client.close();
    expect(await server.stop()).toEqual({ status: 0, signal: null });
  });
});

it.skipIf(!canChangeUser)(`an ordinary user's server has no capabilities, and can gain none${whyNotUser}`, async () => {
  const space = workspace();
  chownSync(space.folder, 4242, 4242);
  const server = await Server.start(space, configuration(), { under: asUser(4242) });
  expect(new Set(threadsOf(server.ready.pid).map((each) => Object.values(each).join(' ')))).toEqual(new Set(['0000000000000000 1 2']));
  expect(await server.stop()).toEqual({ status: 0, signal: null });
});
