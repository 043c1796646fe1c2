/** A device whose world ends, and begins again, under a server that goes on: its clients lose their leases, and nothing else. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { eventually, workspace } from '../support/processes.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { MIB, Server, WINDOW_BYTES, childrenOf, configuration, device, sdk, type Client } from '../support/server.js';
import { Workload } from '../support/workload.js';
import type { EngineOptions } from '../../src/server/engine/start.js';

const ORDERLY = { status: 0, signal: null };
const { startEngine } = (await import(
  new URL('../../dist/server/engine/index.js', import.meta.url).href
)) as typeof import('../../src/server/engine/index.js');

const qemuOf = (server: Server): number => {
  const [pid] = childrenOf(server.ready.pid).filter((child) => readFileSync(`/proc/${child}/comm`, 'utf8').startsWith('qemu'));
  return pid;
};

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
          const [pid] = childrenOf(process.pid).filter((child) => readFileSync(`/proc/${child}/comm`, 'utf8').startsWith('qemu'));
          process.kill(pid, 'SIGKILL');
          expect(await gone).toMatch(/QEMU has ended/);
        }
        backing.serial = serial;
        const restarted = engine.restart();
        if (serial === 'first') await restarted;
        else await expect(restarted).rejects.toThrow('another device is there now: QEMU NVMe Ctrl, serial number second');
        const report = engine.report();
        if (serial === 'first') expect(await report).toMatchObject({ state: 'closed', free: true, lost: '' });
        else await expect(report).rejects.toMatchObject({ code: 'deviceLost' });
      }
    } finally {
      await engine.close(0);
    }
  });
});
