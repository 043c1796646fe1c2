/** A file system that is full: the tenant who needs more of it is told, and nobody else is harmed. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { expectFailure, failed } from '../support/failure.js';
import { type Workspace, workspace } from '../support/processes.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { MIB, Server, configuration, device } from '../support/server.js';
import { Workload } from '../support/workload.js';

describe('a full disk', () => {
  const probe = spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', '/mnt']);
  const canMount = process.getuid?.() === 0 && probe.status === 0;
  const why = canMount ? '' : ' (skipped: needs root and the right to mount a small tmpfs)';
  const kinds = [
    ['the embedded controller', { kind: 'emulated' }, true],
    [`the controller of ${qemuName}`, { kind: 'qemu' }, hasQemu],
  ] as const;

  /** A file system of 8 MiB, for as long as the test runs. */
  function disk(space: Workspace): string {
    const folder = space.path('disk');
    mkdirSync(folder);
    expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder]).status).toBe(0);
    space.atEnd(() => expect(spawnSync('umount', ['--lazy', folder]).status).toBe(0));
    return folder;
  }

  for (const [name, backing, isThere] of kinds) {
    it.skipIf(!canMount || !isThere)(`under the image of ${name}: the writer is told, the server and the other tenant go on${why}`, async () => {
      const space = workspace();
      disk(space);
      const server = await Server.start(space, configuration({ devices: [device(backing, { image: 'disk/nvme0.img' })] }));
      const bob = await server.connect('bob');
      const workload = new Workload((await bob.openDevice('nvme0')).share('data'), { lanes: 4 });
      // Bob has his blocks before the disk is full.
      await workload.filled;
      const alice = await server.connect('alice');
      const share = (await alice.openDevice('nvme0')).share('data');
      await expect(share.write(0, Buffer.alloc(16 * MIB, 'too much '))).rejects.toMatchObject({ name: 'DeviceError', code: 'deviceError' });
      const requests = workload.requests;
      await expect(share.write(16 * MIB, Buffer.alloc(8 * MIB, 'again '))).rejects.toMatchObject({ code: 'deviceError' });
      await share.read(0, MIB);
      await workload.stop();
      expect(workload.requests).toBeGreaterThan(requests);
      expect(workload.mismatches).toEqual([]);
      await Promise.all([alice.close(), bob.close()]);
      expect(await server.stop()).toEqual({ status: 0, signal: null });
    });
  }

  it.skipIf(!canMount)(`under the state folder: the server does not start, and gives no block away${why}`, async () => {
    const space = workspace();
    const folder = disk(space);
    mkdirSync(`${folder}/state`);
    const filler = spawnSync('dd', ['if=/dev/zero', `of=${folder}/filler`, 'bs=4096']);
    expect(filler.status).not.toBe(0);
    const config = configuration({ state: 'disk/state', devices: [device({}, { image: 'nvme0.img' })] });
    expectFailure(await failed(space, config), 1, /ENOSPC/, /free/);
    expect(existsSync(space.path('server.sock'))).toBe(false);
    rmSync(`${folder}/filler`);
    const server = await Server.start(space, config);
    expect(await server.stop()).toEqual({ status: 0, signal: null });
  });
});
