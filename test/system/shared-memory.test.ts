/** The SDK over shared memory: the same as over messages, and what becomes of it when memory is taken away. */
import { unlinkSync } from 'node:fs';
import { describe, expect, it, test } from 'vitest';
import { eventually, workspace } from '../support/processes.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { MIB, Server, WINDOW_BYTES, configuration, device as nvme, sdk, tenant, type Client, type ConnectOptions } from '../support/server.js';
import { Workload } from '../support/workload.js';

const ORDERLY = { status: 0, signal: null };
type Opened = Awaited<ReturnType<Client['openDevice']>>;

const pattern = (bytes: number, seed: number): Buffer =>
  Buffer.from(Uint8Array.from({ length: bytes }, (_, at) => (at * 7 + (at >> 9) + seed) & 0xff));

type Way = readonly [
  transport: 'socket' | 'shm',
  poll: 'adaptive' | 'busy' | 'sleep',
  queues: 'own' | 'shared',
  backing: string,
  kind: 'emulated' | 'qemu',
  dma?: 'copied',
];

const WAYS: readonly Way[] = [
  ['socket', 'adaptive', 'own', 'the embedded controller', 'emulated'],
  ['shm', 'adaptive', 'own', 'the embedded controller', 'emulated'],
  ['shm', 'adaptive', 'shared', 'the embedded controller', 'emulated'],
  ['shm', 'busy', 'own', 'the embedded controller', 'emulated'],
  ['shm', 'sleep', 'own', 'the embedded controller', 'emulated'],
  ['shm', 'adaptive', 'own', qemuName, 'qemu'],
  ['socket', 'adaptive', 'shared', 'the embedded controller, copied DMA', 'emulated', 'copied'],
  ['shm', 'adaptive', 'own', 'the embedded controller, copied DMA', 'emulated', 'copied'],
  ['shm', 'adaptive', 'own', `${qemuName}, copied DMA`, 'qemu', 'copied'],
];

describe.for(WAYS)('over %s (%s, %s queues) on %s', { timeout: 60_000 }, ([transport, poll, queues, , kind, dma = 'direct']) => {
  const it = test.skipIf(kind === 'qemu' && !hasQemu);

  async function open(options: ConnectOptions = {}): Promise<{ server: Server; client: Client; device: Opened }> {
    const server = await Server.start(
      workspace(),
      configuration({ devices: [nvme({ kind })], tenants: [tenant('alice', 0, { dma }), tenant('bob', WINDOW_BYTES, { dma })] }),
    );
    const client = await server.connect('alice', { transport, ...options });
    const device = await client.openDevice('nvme0', { poll, queues, queueEntries: 32 });
    expect(device.transport).toBe(transport);
    return { server, client, device };
  }

  it('every operation does what it says', async () => {
    const { server, client, device } = await open();
    const disk = device.share();
    const large = pattern(5 * MIB, 1);
    await disk.write(0, large);
    expect((await disk.read(0, large.length)).equals(large)).toBe(true);
    const small = Array.from({ length: 200 }, (_, block) => pattern(4_096, block));
    await Promise.all(small.map((data, block) => disk.writeBlocks(block, data, { durable: block % 2 === 0 })));
    const read = await Promise.all(small.map((_, block) => disk.readBlocks(block, 1)));
    expect(read.every((data, block) => data.equals(small[block]))).toBe(true);
    expect([await disk.compare(0, small[0]), await disk.compare(0, small[1])]).toEqual([true, false]);
    await disk.writeZeroes(0, 2 * 4_096);
    await disk.deallocate([{ offset: 8 * 4_096, length: 4_096 }]);
    await disk.flush();
    expect((await disk.read(0, 2 * 4_096)).every((byte) => byte === 0)).toBe(true);
    const batch = disk.batch();
    const single = batch.readBlocks(5, 1);
    const differs = batch.compareBlocks(6, small[5]);
    batch.flush();
    await batch.submit();
    expect([single.value.equals(small[5]), differs.value]).toEqual([true, false]);
    await expect(disk.read(disk.size, 4_096)).rejects.toMatchObject({ code: 'lbaOutsideShare' });
    await client.close();
    expect(await server.stop()).toEqual(ORDERLY);
  });

  it('regions are used without copies of their data', async () => {
    const { server, client, device } = await open();
    const disk = device.share();
    const region = await client.allocate(MIB);
    const data = pattern(MIB, 3);
    await region.write(0, data);
    await disk.writeFrom(region, 0, 0, MIB);
    expect((await disk.read(0, MIB)).equals(data)).toBe(true);
    if (transport === 'shm') {
      const memory = await region.map();
      expect(Buffer.from(memory).equals(data)).toBe(true);
      memory.fill(0x33, 0, 8_192);
      await disk.writeFrom(region, 0, 0, 8_192);
      expect((await disk.read(0, 8_192)).every((byte) => byte === 0x33)).toBe(true);
      await disk.readInto(region, 4_096, 8_192, 4_096);
      expect(Buffer.from(memory.subarray(4_096, 8_192)).equals(data.subarray(8_192, 12_288))).toBe(true);
      expect((await region.map()).buffer).toBe(memory.buffer);
      await region.unmap();
      expect(memory.length).toBe(0);
      await expect(region.map()).rejects.toMatchObject({ code: 'closed' });
    } else {
      await region.unmap();
    }
    await client.close();
    expect(await server.stop()).toEqual(ORDERLY);
  });

  it('data hold under load, with resets in between, and closing leaves nothing', async () => {
    const { server, client, device } = await open();
    // What is made once is made now: the session's staging memory, the server's own for another queue.
    await device.share().read(0, 4_096);
    await (await client.openDevice('nvme0', { poll, queues })).close();
    const before = server.holdings();
    const second = await client.openDevice('nvme0', { poll, queues });
    const workload = new Workload(second.share('data'));
    await workload.filled;
    await device.reset();
    expect(await device.share().compare(0, await device.share().read(0, 4_096))).toBe(true);
    await workload.stop();
    expect(workload.mismatches).toEqual([]);
    const aborted = new AbortController();
    const reading = device.share().read(0, 4 * MIB, { signal: aborted.signal });
    aborted.abort(new Error('enough'));
    await expect(reading).rejects.toThrow('enough');
    await second.close();
    expect(await device.share().read(0, 4_096)).toHaveLength(4_096);
    await expect(second.share().read(0, 4_096)).rejects.toMatchObject({ code: 'closed' });
    await eventually('the server holds what it held before', () => {
      const now = server.holdings();
      return now.descriptors <= before.descriptors && now.mappings <= before.mappings ? true : undefined;
    });
    await client.close();
    expect(await server.stop()).toEqual(ORDERLY);
  });
});

describe('shared memory', () => {
  it('is not used over a server that has no descriptor socket any more', async () => {
    const space = workspace();
    const server = await Server.start(space);
    unlinkSync(space.path('server.sock.fds'));
    const client = await server.connect('alice');
    await expect(client.openDevice('nvme0', { transport: 'shm' })).rejects.toMatchObject({ name: 'RefusedError', code: 'noHandover' });
    const device = await client.openDevice('nvme0');
    expect(device.transport).toBe('socket');
    await device.share().write(0, pattern(4_096, 1));
    await client.close();
    expect(await server.stop()).toEqual(ORDERLY);
  });

  it('that is revoked ends requests with a typed error, and the program goes on', async () => {
    const space = workspace();
    const server = await Server.start(space);
    const client = await server.connect('alice');
    const bob = await server.connect('bob');
    const device = await client.openDevice('nvme0');
    const other = await bob.openDevice('nvme0');
    const disk = device.share();
    const failures: unknown[] = [];
    const lanes = Array.from({ length: 16 }, async () => {
      try {
        for (;;) await disk.read(0, 4_096);
      } catch (error) {
        failures.push(error);
      }
    });
    space.file('ringwarden.json', configuration({ tenants: [tenant('bob', WINDOW_BYTES)] }));
    server.process.kill('SIGHUP');
    await Promise.all(lanes);
    expect(failures).toHaveLength(16);
    for (const error of failures) expect(error).toBeInstanceOf(sdk.RingwardenError);
    await eventually('the lease is gone', () => (device.active ? undefined : true));
    expect(await other.share().read(0, 4_096)).toHaveLength(4_096);
    await Promise.all([client.close(), bob.close()]);
    expect(await server.stop()).toEqual(ORDERLY);
  });

  it('lets its requests in flight end when the server is told to stop', async () => {
    const server = await Server.start(
      workspace(),
      configuration({ tenants: [tenant('alice', 0, { rates: { operations: 20 } }), tenant('bob', WINDOW_BYTES)] }),
    );
    const client = await server.connect('alice');
    const device = await client.openDevice('nvme0');
    expect(device.transport).toBe('shm');
    const batch = device.share().batch();
    for (let lba = 0; lba < 30; lba++) batch.writeBlocks(lba, pattern(4_096, lba));
    const writing = batch.submit();
    writing.catch(() => undefined);
    await eventually('some are in flight', async () => {
      const sessions = await server.admin<{ tenant: string; leases: { inFlight: number }[] }[]>('/sessions');
      return sessions.some((each) => each.leases.some((lease) => lease.inFlight > 0)) ? true : undefined;
    });
    const stopped = server.stop();
    await writing;
    expect(await stopped).toEqual(ORDERLY);
  });
});
