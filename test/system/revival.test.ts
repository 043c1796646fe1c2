/** A device whose world ends, and begins again, under a server that goes on: its clients lose their leases, and nothing else. */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { eventually, workspace, type Workspace } from '../support/processes.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { MIB, Server, WINDOW_BYTES, childrenOf, configuration, device, sdk, serve, tenant, type Client } from '../support/server.js';
import { FULL, fullOnly } from '../support/tier.js';
import { Workload } from '../support/workload.js';
import type { EngineOptions } from '../../src/server/engine/start.js';

const ORDERLY = { status: 0, signal: null };
const { startEngine } = (await import(
  new URL('../../dist/server/engine/index.js', import.meta.url).href
)) as typeof import('../../src/server/engine/index.js');

/** Those of its children that are QEMU by now, and not only about to be. */
function runningQemus(pid: number): number[] {
  return childrenOf(pid).filter((child) => {
    try {
      return readFileSync(`/proc/${child}/comm`, 'utf8').startsWith('qemu');
    } catch {
      return false; // it has ended
    }
  });
}
const qemusOf = (server: Server): number[] => runningQemus(server.ready.pid);
const qemuOf = (server: Server): number => qemusOf(server)[0];

/** Opens the device as soon as it is there again. */
const reopened = (client: Client) =>
  eventually('the device', async () => {
    try {
      return await client.openDevice('nvme0');
    } catch (error) {
      if (error instanceof sdk.RingwardenError && error.code === 'deviceLost') return undefined;
      throw error;
    }
  });

describe.skipIf(!hasQemu)(`a server whose ${qemuName} is killed`, { timeout: 120_000 }, () => {
  const devices = [device({ kind: 'qemu' }, { image: 'disk.img' })];

  test('tells its clients, starts it again, and serves them again', async () => {
    const space = workspace();
    const server = await Server.start(space, configuration({ devices }));
    const [alice, bob] = [await server.connect('alice'), await server.connect('bob', { transport: 'shm' })];
    const [ofAlice, ofBob] = [await alice.openDevice('nvme0'), await bob.openDevice('nvme0')];
    const kept = Buffer.alloc(MIB, 0xa7);
    await ofAlice.share().write(0, kept);
    await ofAlice.share().flush();
    const events: string[] = [];
    const heard = (async () => {
      for await (const { type } of ofAlice.events()) events.push(type);
    })();
    const work = new Workload(ofBob.share());
    await work.filled;
    const before = server.holdings();

    for (let round = 0; round < 2; round++) {
      const pid = qemuOf(server);
      process.kill(pid, 'SIGKILL');
      if (round === 0) await expect(work.stop()).rejects.toMatchObject({ code: expect.stringMatching(/^(deviceLost|leaseNotActive|revoked)$/) });
      const again = await reopened(alice);
      expect(qemuOf(server)).not.toBe(pid);
      expect(kept.equals(await again.share().read(0, MIB))).toBe(true);
      await again.close();
    }
    await heard;
    expect(events.filter((type) => type !== 'completion')).toEqual(['deviceLost', 'revoked']);
    expect(work.mismatches).toEqual([]);

    const again = await reopened(bob);
    const more = new Workload(again.share());
    await more.filled;
    await more.stop();
    expect(more.mismatches).toEqual([]);
    await eventually('nothing left of the earlier ones', () => (server.holdings().descriptors <= before.descriptors ? true : undefined));
    expect(server.holdings().threads).toBe(before.threads);
    expect(server.log.filter(({ message }) => message === 'the device is back')).toHaveLength(2);
    await Promise.all([alice.close(), bob.close()]);
    expect(await server.stop()).toEqual(ORDERLY);
  });

  test('does so while nobody has the device open, and can be stopped in between', async () => {
    const space = workspace();
    const server = await Server.start(space, configuration({ devices }));
    process.kill(qemuOf(server), 'SIGKILL');
    await eventually('QEMU again', () => (server.log.some(({ message }) => message === 'the device is back') ? true : undefined));
    process.kill(qemuOf(server), 'SIGKILL');
    await eventually('the end of QEMU', () =>
      server.log.filter(({ message }) => message.includes('will be looked for')).length === 2 ? true : undefined,
    );
    expect(await server.stop()).toEqual(ORDERLY);
  });
});

/** A QEMU that can be kept from starting: its folder's `stay-away` does, and so does `slow` for two seconds. */
function holdable(space: Workspace): string {
  const program = space.path('qemu');
  const lines = ['#!/bin/sh', 'cd "$(dirname "$0")"', '[ -e stay-away ] && exit 1', '[ -e slow ] && sleep 2', 'exec qemu-system-x86_64 "$@"'];
  writeFileSync(program, `${lines.join('\n')}\n`, { mode: 0o755 });
  return program;
}

const saw = (server: Server, what: string, times = 1) =>
  eventually(what, () => (server.log.filter(({ message }) => message.includes(what)).length >= times ? true : undefined));
const IS_BACK = 'the device is back';
const IS_AWAY = 'the device is not there yet';

describe.skipIf(!hasQemu)(`while a device is away (${qemuName})`, { timeout: 120_000 }, () => {
  const text = async (share: { read(offset: number, length: number): Promise<Buffer> }): Promise<string> =>
    (await share.read(0, 4096)).subarray(0, 5).toString();

  test('a reload still takes the windows of others from their earlier holders, and they see their other devices', async () => {
    const space = workspace();
    const devices = [device(), { ...device({ kind: 'qemu', binary: holdable(space) }), name: 'nvme1' }];
    const of = (name: string, first: number, windows: number[]) => {
      const shares = windows.map((window) => ({ name: `w${window}`, device: 'nvme0', first: window * WINDOW_BYTES, size: WINDOW_BYTES }));
      return { name, uid: 'server', shares: [...shares, { name: 'other', device: 'nvme1', first, size: WINDOW_BYTES }] };
    };
    const base = configuration({ devices, tenants: [of('alice', 0, [0]), of('bob', WINDOW_BYTES, [1])] });
    const server = await Server.start(space, base);
    const alice = await server.connect('alice');
    const ofAlice = await alice.openDevice('nvme0');
    writeFileSync(space.path('stay-away'), '');
    process.kill(qemuOf(server), 'SIGKILL');
    await saw(server, IS_AWAY);
    expect((await alice.listDevices()).map(({ name, state }) => [name, state])).toEqual([
      ['nvme0', 'open'],
      ['nvme1', 'lost'],
    ]);
    space.file('ringwarden.json', { ...base, tenants: [of('alice', 0, []), of('bob', WINDOW_BYTES, [0, 1])] });
    expect(await server.admin('/reload', 'POST')).toMatchObject({ applied: true });
    await expect(ofAlice.share('w0').read(0, 4096)).rejects.toMatchObject({ code: expect.stringMatching(/^(revoked|leaseNotActive|unknownLease)$/) });
    rmSync(space.path('stay-away'));
    await saw(server, IS_BACK);
    await alice.close();
    expect(await server.stop()).toEqual(ORDERLY);
  });

  test('what is left of an earlier lease is not taken for a later one', async () => {
    const space = workspace();
    const devices = ['nvme0', 'nvme1'].map((name) => ({ ...device({ kind: 'qemu' }, { image: `${name}.img` }), name }));
    const of = (name: string, first: number, access = ['read', 'write']) => ({
      name,
      uid: 'server',
      shares: ['nvme0', 'nvme1'].map((on) => ({ name: on, device: on, first, size: WINDOW_BYTES, access })),
    });
    const base = configuration({ devices, tenants: [of('alice', 0), of('bob', WINDOW_BYTES)] });
    const server = await Server.start(space, base);
    const [one, other] = ['RW-nvme0', 'RW-nvme1'].map((serial) =>
      qemusOf(server).find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(serial)),
    );
    const [alice, bob] = [await server.connect('alice'), await server.connect('bob')];
    const [onFirst, onSecond] = [await alice.openDevice('nvme0'), await alice.openDevice('nvme1')];
    await onSecond.share().write(0, Buffer.alloc(4096, 'alice'));
    await onSecond.share().flush();
    process.kill(one ?? 0, 'SIGSTOP');
    const stuck = onFirst.share().write(0, Buffer.alloc(4096, 'stuck'));
    stuck.catch(() => undefined);
    // It waits in the first lease, and comes to the second when that has ended.
    space.file('ringwarden.json', { ...base, tenants: [of('alice', 0, ['read']), of('bob', WINDOW_BYTES)] });
    const reloading = server.admin('/reload', 'POST');
    await eventually('a reload that waits', async () => ((await server.admin<{ leases: unknown[] }[]>('/sessions')).length === 2 ? true : undefined));
    process.kill(other ?? 0, 'SIGKILL');
    await saw(server, IS_BACK);
    const ofBob = await bob.openDevice('nvme1');
    await ofBob.share().write(0, Buffer.alloc(4096, 'bobby'));
    process.kill(one ?? 0, 'SIGCONT');
    expect(await reloading).toMatchObject({ applied: true });
    await stuck;
    expect(await text(ofBob.share())).toBe('bobby');
    await ofBob.share().write(0, Buffer.alloc(4096, 'again'));
    expect(await text(ofBob.share())).toBe('again');
    await Promise.all([alice.close(), bob.close()]);
    expect(await server.stop()).toEqual(ORDERLY);
  });

  test('another file under the name of its image keeps it away', async () => {
    const space = workspace();
    const server = await Server.start(space, configuration({ devices: [device({ kind: 'qemu', binary: holdable(space) }, { image: 'disk.img' })] }));
    writeFileSync(space.path('stay-away'), '');
    process.kill(qemuOf(server), 'SIGKILL');
    await saw(server, 'will be looked for');
    renameSync(space.path('disk.img'), space.path('kept.img'));
    rmSync(space.path('stay-away'));
    await saw(server, IS_AWAY);
    expect(existsSync(space.path('disk.img'))).toBe(false);
    writeFileSync(space.path('disk.img'), Buffer.alloc(2 * WINDOW_BYTES, 'payroll'));
    await expect((await server.connect('alice')).openDevice('nvme0')).rejects.toMatchObject({ code: 'deviceLost' });
    renameSync(space.path('kept.img'), space.path('disk.img'));
    await saw(server, IS_BACK);
    expect(JSON.stringify(server.log)).toContain('disk.img is not the file that it was');
    expect(await server.stop()).toEqual(ORDERLY);
  });

  test.skipIf(!FULL)(`deaths during its starts leave nothing behind, and an end of the server waits for none${fullOnly}`, async () => {
    const space = workspace();
    const server = await Server.start(space, configuration({ devices: [device({ kind: 'qemu' })] }));
    const before = server.holdings();
    let last = 0;
    for (let death = 0; death < 5; death++) {
      const pid = await eventually('QEMU', () => qemusOf(server).find((one) => one !== last));
      last = pid;
      process.kill(pid, 'SIGKILL');
    }
    await saw(server, IS_BACK);
    await eventually('nothing more than before', () => (server.holdings().descriptors <= before.descriptors ? true : undefined));
    const [pid] = qemusOf(server);
    process.kill(pid, 'SIGKILL');
    const next = await eventually('QEMU', () => qemusOf(server).find((one) => one !== pid));
    process.kill(next, 'SIGSTOP');
    const began = performance.now();
    expect(await server.stop()).toEqual(ORDERLY);
    expect(performance.now() - began).toBeLessThan(15_000);
  });

  test('a death is noticed while the other devices are still being started', async () => {
    const space = workspace();
    const devices = [device({ kind: 'qemu' }), { ...device({ kind: 'qemu', binary: holdable(space) }), name: 'nvme1' }];
    writeFileSync(space.path('slow'), '');
    const child = serve(space, configuration({ devices, tenants: [tenant('alice', 0)] }));
    const first = await eventually('the first QEMU', () => runningQemus(child.pid)[0]);
    await sleep(1_000);
    process.kill(first, 'SIGKILL');
    const [line] = await child.says(/^\{.*"ready":true.*\}$/m);
    const server = new Server(child, JSON.parse(line));
    await saw(server, IS_BACK);
    expect(await server.stop()).toEqual(ORDERLY);
  });
});

describe.skipIf(!hasQemu)(`an engine whose ${qemuName} is killed`, () => {
  const drive = { bytes: 2 * WINDOW_BYTES, blockBytes: 512 } as const;

  test('goes on with the same device only', async () => {
    const backing = { kind: 'qemu' as const, drives: [drive], mdts: 7, queuePairs: 8, vectors: 9, serial: 'first' };
    const options: EngineOptions = { name: 'nvme0', backing };
    const engine = await startEngine(options);
    try {
      for (const serial of ['second', 'first']) {
        const gone = new Promise<string>((resolve) => engine.once('gone', resolve));
        if (serial === 'second') {
          process.kill(runningQemus(process.pid)[0], 'SIGKILL');
          expect(await gone).toMatch(/QEMU has ended/);
        }
        backing.serial = serial;
        const restarted = engine.restart();
        if (serial === 'first') await restarted;
        else await expect(restarted).rejects.toThrow('another device is there now: QEMU NVMe Ctrl, serial number second');
        const report = engine.report();
        if (serial === 'first') expect(await report).toMatchObject({ state: 'closed', free: true, lost: '' });
        else expect(await report).toMatchObject({ state: 'lost', free: false, lost: expect.stringContaining('QEMU has ended') });
      }
    } finally {
      await engine.close(0);
    }
  });
});
