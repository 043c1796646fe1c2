/** The hardware's rings in the hands of a client, and its vectors on event descriptors, through the server and the SDK as they are published. */
import { afterEach, describe, expect, it, test, vi } from 'vitest';
import { shm } from '../../src/native/shm.js';
import { MIGHTY, READ_ONLY, REOPENED, attackAs, attempts, open, serveAsOwner } from '../support/attack.js';
import { fetchDescriptors } from '../support/handover.js';
import { FULL_COUNTER, counterOf, makeWritesBlock } from '../support/hostile-eventfd.js';
import { MAIN, workspace, type Workspace } from '../support/processes.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { type Client, type ConnectOptions, Server, WINDOW_BYTES, configuration, device as nvme, tenant } from '../support/server.js';
import { asUser, canChangeUser, whyNotUser } from '../support/users.js';

const ORDERLY = { status: 0, signal: null };
const BLOCK = 4_096;
type Opened = Awaited<ReturnType<Client['openDevice']>>;

const descriptors: number[] = [];
afterEach(() => {
  for (const fd of descriptors.splice(0)) shm().close(fd);
});
const kept = (fd: number): number => {
  descriptors.push(fd);
  return fd;
};

interface Setting {
  readonly space: Workspace;
  readonly server: Server;
  readonly client: Client;
  readonly device: Opened;
}

async function setUp(kind: string, transport: ConnectOptions['transport']): Promise<Setting> {
  const space = workspace();
  const server = await Server.start(space, configuration({ devices: [nvme({ kind })] }));
  const client = await server.connect('alice', { transport });
  const device = await client.openDevice('nvme0', { queues: 'own', queueEntries: 16, ringView: true });
  return { space, server, client, device };
}

async function end({ client, server }: Setting): Promise<void> {
  await client.close();
  expect(await server.stop()).toEqual(ORDERLY);
}

const WAYS = [
  ['the embedded controller', 'emulated', 'shm'],
  ['the embedded controller', 'emulated', 'socket'],
  [qemuName, 'qemu', 'shm'],
] as const;

describe.for(WAYS)('on %s (%s), over %s', { timeout: 60_000 }, ([, kind, transport]) => {
  const it = test.skipIf(kind === 'qemu' && !hasQemu);

  it('a client sees its rings, live and decoded', async () => {
    const setting = await setUp(kind, transport);
    const { device, server } = setting;
    const disk = device.share();
    const ring = await device.hardwareRing();
    expect(ring.inspect()).toMatchObject({ generation: device.generation, completionTail: 0 });
    await disk.writeBlocks(5, Buffer.alloc(2 * BLOCK, 'a'), { durable: true });
    await disk.readBlocks(7, 1);
    await disk.deallocateBlocks([{ lba: 1, blocks: 2 }]);
    await disk.flush();
    const { submissions, completions, completionTail, indices } = ring.inspect();
    expect([submissions.length, completions.length, completionTail]).toEqual([32, 32, 4]);
    expect(submissions.slice(0, 4)).toMatchObject([
      { operation: 'write', share: 0, lba: 5, blocks: 2, durable: true },
      { operation: 'read', share: 0, lba: 7, blocks: 1, durable: false },
      { operation: 'deallocate', lba: 0, blocks: 1 },
      { operation: 'flush', region: 0, offset: 0, lba: 0, blocks: 0 },
    ]);
    expect(submissions.slice(0, 3).every(({ region }) => region > 0)).toBe(true);
    expect(completions.slice(0, 5).map(({ phase, status }) => [phase, status])).toEqual([[1, 0], [1, 0], [1, 0], [1, 0], [0, 0]]); // prettier-ignore
    expect(completions.slice(0, 4).map(({ commandId }) => commandId)).toEqual(submissions.slice(0, 4).map(({ commandId }) => commandId));
    expect(completions[3]).toMatchObject({ submissionHead: 4, statusName: 'Successful Completion' });
    if (transport === 'socket') expect(indices).toBeUndefined();
    else expect(indices).toMatchObject({ requestTail: 4, requestHead: 4, completionTail: 4, completionHead: 4 });
    // A turn later the phase is the other one.
    for (let count = 0; count < 30; count++) await disk.readBlocks(count, 1);
    const later = ring.inspect();
    expect(later.completionTail).toBe(2);
    expect(later.completions.map(({ phase }) => phase)).toEqual([0, 0, ...Array<number>(30).fill(1)]);
    const { tenants } = await server.admin<{ tenants: { name: string; pinnedBytes: number }[] }>('/status');
    expect(tenants.find(({ name }) => name === 'alice')?.pinnedBytes).toBeGreaterThanOrEqual(2 * 4_096);
    ring.close();
    ring.close();
    expect(() => ring.inspect()).toThrow(expect.objectContaining({ code: 'closed' }));
    await end(setting);
  });

  it('a view ends with a reset, with a typed error, and there is another', async () => {
    const setting = await setUp(kind, transport);
    const { device, server } = setting;
    const before = await device.hardwareRing();
    await device.share().flush();
    await device.reset();
    expect(() => before.inspect()).toThrow(expect.objectContaining({ code: 'revoked', number: 204, field: 'generation' }));
    const after = await device.hardwareRing();
    await device.share().writeBlocks(1, Buffer.alloc(BLOCK));
    expect(after.inspect().submissions[0]).toMatchObject({ operation: 'write', lba: 1 });
    const events = device.events();
    await server.admin('/devices/nvme0/reset', 'POST');
    await vi.waitFor(() => expect(() => after.inspect()).toThrow(expect.objectContaining({ code: 'revoked' })), { timeout: 20_000 });
    for await (const event of events) if (event.type === 'reset') break;
    expect((await device.hardwareRing()).generation).toBe(device.generation);
    await end(setting);
  });

  it('a view ends with its lease, closed or taken away', async () => {
    const setting = await setUp(kind, transport);
    const { client, device, server, space } = setting;
    const first = await device.hardwareRing();
    await device.close();
    expect(() => first.inspect()).toThrow(expect.objectContaining({ code: 'closed' }));
    const again = await client.openDevice('nvme0', { queues: 'own', ringView: true });
    const second = await again.hardwareRing();
    space.file(
      'ringwarden.json',
      configuration({ devices: [nvme({ kind })], tenants: [tenant('alice', 0, { shares: [] }), tenant('bob', WINDOW_BYTES)] }),
    );
    await server.admin('/reload', 'POST');
    await vi.waitFor(() => expect(() => second.inspect()).toThrow(expect.objectContaining({ code: 'revoked' })), { timeout: 20_000 });
    await end(setting);
  });

  it('vectors arrive on event descriptors of the client and of the server, beside the events', async () => {
    const setting = await setUp(kind, transport);
    const { device } = setting;
    const { vector } = device.queue;
    const events = device.events();
    await device.bindVector(vector);
    const own = kept(shm().eventfd());
    expect(await device.bindEventfd(vector, { fd: own })).toBe(own);
    await device.share().flush();
    await expect.poll(() => shm().eventfdTake(own)).toBeGreaterThan(0);
    for await (const event of events) if (event.type === 'interrupt') break;
    const made = kept(await device.bindEventfd(vector));
    await device.share().flush();
    await expect.poll(() => shm().eventfdTake(made)).toBeGreaterThan(0);
    expect(shm().eventfdTake(own)).toBe(0);
    expect(await device.bindEventfd(vector, { fd: -1 })).toBe(-1);
    await device.share().flush();
    await expect.poll(() => device.vectorState(vector)).toMatchObject({ session: true, eventfd: false, signals: 0 });
    expect((await device.vectorState(vector)).interrupts).toBeGreaterThanOrEqual(2);
    expect(shm().eventfdTake(made)).toBe(0);
    await end(setting);
  });

  it('signals wait for one another where that was asked for', async () => {
    const setting = await setUp(kind, transport);
    const { device } = setting;
    const { vector } = device.queue;
    kept(await device.bindEventfd(vector, { microseconds: 1_000_000, events: 8 }));
    const began = performance.now();
    for (let count = 0; count < 40; count++) await device.share().flush();
    await expect.poll(async () => (await device.vectorState(vector)).signals).toBeGreaterThan(0);
    const { interrupts, signals } = await device.vectorState(vector);
    expect(interrupts).toBeGreaterThan(8);
    // The first, one for eight interrupts, and one for each second that it took.
    expect(signals).toBeLessThanOrEqual(2 + interrupts / 8 + (performance.now() - began) / 1_000);
    await end(setting);
  });
});

describe('refused is', { timeout: 60_000 }, () => {
  it('what cannot be, by the SDK or by the server, with its reason', async () => {
    const setting = await setUp('emulated', 'shm');
    const { client, device } = setting;
    await expect(device.bindEventfd(device.vectors)).rejects.toMatchObject({ code: 'unknownVector', number: 130, field: 'vector' });
    await expect(device.vectorState(-1)).rejects.toMatchObject({ code: 'unknownVector' });
    await expect(device.bindEventfd(0, { events: 4 })).rejects.toMatchObject({ code: 'invalidArgument', field: 'events' });
    await expect(device.bindEventfd(0, { microseconds: 1e9 })).rejects.toMatchObject({ code: 'invalidArgument', field: 'microseconds' });
    await expect(device.bindEventfd(0, { fd: -2 })).rejects.toMatchObject({ code: 'invalidArgument', field: 'fd' });
    await expect(device.bindEventfd(0, { fd: kept(shm().epollCreate()) })).rejects.toMatchObject({ code: 'notAnEventfd', number: 151, field: 'fd' });
    const plain = await client.openDevice('nvme0', { queues: 'own' });
    await expect(plain.hardwareRing()).rejects.toMatchObject({ code: 'noRingView', number: 150 });
    await expect(client.openDevice('nvme0', { ringView: true })).rejects.toMatchObject({ code: 'viewsNeedOwn', field: 'ringViews' });
    await end(setting);
  });

  it('nothing to the others when a client makes its event descriptor block', async () => {
    const setting = await setUp('emulated', 'shm');
    const { device, server } = setting;
    const other = await (await server.connect('bob')).openDevice('nvme0', { queues: 'own' });
    const [mine, theirs] = [kept(await device.bindEventfd(0)), kept(await other.bindEventfd(0))];
    makeWritesBlock(mine);
    for (let round = 0; round < 20; round++) {
      await device.share().flush();
      await other.share().flush();
      await expect.poll(() => shm().eventfdTake(theirs)).toBeGreaterThan(0);
    }
    await expect.poll(() => counterOf(mine)).toBe(FULL_COUNTER + 1n);
    expect((await device.vectorState(0)).interrupts).toBe(20);
    await end(setting);
  });
});

it('from a mapping the administrator finds tenant, device and lease', async () => {
  const setting = await setUp('emulated', 'shm');
  const { client, device, server, space } = setting;
  const ring = await device.hardwareRing();
  const region = await client.allocate(BLOCK);
  await region.map();
  type Report = { start: string; state: string; what?: string; tenant?: string; leases?: unknown[]; region?: number };
  const all = await server.admin<Report[]>(`/mappings/${process.pid}`);
  const leases = [{ device: 'nvme0', lease: device.lease, session: client.session }];
  const what = (kind: string): Report[] => all.filter((each) => each.what === kind);
  for (const kind of ['request ring', 'completion ring', 'submission queue, a mirror', 'completion queue of the hardware']) {
    expect(what(kind)).toMatchObject([{ state: 'in use', tenant: 'alice', leases, queue: device.queue.queue }]);
  }
  const [mapped] = what('region').filter((each) => each.region === region.region);
  expect(mapped).toMatchObject({ state: 'in use', tenant: 'alice', leases });
  const inside = (BigInt(`0x${mapped.start}`) + 100n).toString(16);
  expect(await server.admin(`/mappings/${process.pid}/${inside}`)).toEqual(mapped);
  const { stdout } = await space.run(process.execPath, [
    MAIN,
    'mappings',
    String(process.pid),
    `0x${inside}`,
    '--admin-socket',
    space.path('admin.sock'),
  ]);
  expect(stdout.split('\n')[1]).toMatch(new RegExp(`in use +region +alice +nvme0 +${device.lease} +${region.region}`));
  await expect(server.admin(`/mappings/${process.pid}/0`)).rejects.toThrow('404');
  await expect(server.admin('/mappings/0')).rejects.toThrow('404');
  await expect(server.admin('/mappings/..%2f1')).rejects.toThrow('404');
  await expect(server.admin('/mappings/9999999')).rejects.toThrow('there is no process');
  ring.close();
  await region.unmap();
  const left = await server.admin<Report[]>(`/mappings/${process.pid}`);
  expect(left.map((each) => each.what)).not.toContain('completion queue of the hardware');
  await end(setting);
});

describe.skipIf(!canChangeUser)(`another user${whyNotUser}`, { timeout: 60_000 }, () => {
  const ALICE = 4242;
  const listen = { unix: { path: 'server.sock' } };
  interface Report {
    readonly attempts: string[];
    readonly bound: number;
    /** Of the files, after their queue was closed. */
    readonly sizes: number[];
    /** The last word of the first completion, then: 0 when the memory was taken away. */
    readonly first: number;
  }
  const BACKINGS = [['emulated', true], ['qemu', hasQemu]] as const; // prettier-ignore

  it.each(BACKINGS.filter(([, there]) => there))('can only read its rings, and loses them with the queue (%s)', async (kind) => {
    const space = workspace();
    open(space);
    const config = configuration({ isolation: 'required', listen, devices: [nvme({ kind })], tenants: [tenant('alice', 0, { uid: ALICE })] });
    const server = await Server.start(space, config);
    const report = await attackAs<Report>(space, 'view-attacker.mjs', ALICE, 'alice');
    expect(report.attempts).toEqual(
      ['submissions', 'completions'].flatMap((name) => [
        ...attempts(name, { ...READ_ONLY, seal: 'EPERM', 'seal-shrink': 'EPERM', chmod: 'EPERM' }),
        `${name} reopened EACCES`,
      ]),
    );
    expect(report).toMatchObject({ bound: 0, sizes: [0, 0], first: 0 });
    expect(await server.stop()).toEqual(ORDERLY);
  });

  it.each(MIGHTY)('that is %s is stopped by seals, and keeps its memory', async (_who, uid) => {
    const space = workspace();
    const server = await serveAsOwner(space, uid);
    const report = await attackAs<Report>(space, 'view-attacker.mjs', uid, 'alice');
    expect(report.attempts).toEqual(
      ['submissions', 'completions'].flatMap((name) => [
        ...attempts(name, { ...READ_ONLY, seal: 'EPERM', 'seal-shrink': 'EPERM', chmod: 'ok' }),
        `${name} reopened ok`,
        ...attempts(`${name} reopened`, REOPENED),
      ]),
    );
    expect(report).toMatchObject({ bound: 0, sizes: [4_096, 4_096] });
    expect(await server.stop()).toEqual(ORDERLY);
  });

  it('of the same tenant that is root is not given what it could cut short under the server', async () => {
    const space = workspace();
    open(space);
    const server = await Server.start(space, configuration({ listen, tenants: [tenant('alice', 0, { uid: undefined, uids: [ALICE, 0] })] }));
    const [command, ...rest] = asUser(ALICE);
    const args = [...rest, process.execPath, 'view-attacker.mjs', space.path('server.sock'), 'alice', space.path('attack'), 'ticket'];
    const viewer = space.spawn(command, args);
    const [ticket] = await viewer.says(/^[0-9a-f]{32}$/m);
    const got = await fetchDescriptors(space.path('server.sock.fds'), Buffer.from(ticket, 'hex'));
    kept(got.connection);
    expect(got).toMatchObject({ status: 2, descriptors: [] });
    viewer.kill('SIGTERM');
    expect(await server.stop()).toEqual(ORDERLY);
  });
});
