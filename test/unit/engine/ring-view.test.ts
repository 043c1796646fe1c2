/** What the holder of a lease sees of its hardware rings, what it can do with that, and how it ends. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import type { Backing, DmaMemory } from '../../../src/hw/backing.js';
import { openEmulated, prepareEmulated } from '../../../src/hw/emulated/index.js';
import { NvmOpcode } from '../../../src/hw/nvme/index.js';
import { Seal, shm } from '../../../src/native/shm.js';
import { Code, Operation } from '../../../src/protocol/index.js';
import type { HardwareView, ShownRing } from '../../../src/server/engine/api.js';
import { EngineWorld, type Tenant, type TenantOptions } from '../../support/engine-world.js';
import { hasQemu, qemuName } from '../../support/qemu.js';
import { QemuWorld } from '../../support/qemu-world.js';
import { asUser, canChangeUser, whyNotUser } from '../../support/users.js';
import { descriptorCount, mappingsOf } from '../native/support.js';

const MIB = 1_048_576;
const PAGE = 4_096;
const FILES = ['ringwarden:completions', 'ringwarden:submissions'];
const SHOWN: TenantOptions = { ringViews: 'truncated' };

interface World {
  readonly world: EngineWorld<Backing>;
  /** Every memory that the device could ever reach. */
  readonly attached: DmaMemory[];
}

const opened: EngineWorld<Backing>[] = [];
const descriptors: number[] = [];
afterEach(async () => {
  for (const world of opened.splice(0)) await world.end();
  for (const fd of descriptors.splice(0)) closeSync(fd);
});

function over(backing: Backing, end: () => Promise<void>): World {
  const attached: DmaMemory[] = [];
  const attach = backing.attach.bind(backing);
  backing.attach = function* (...args) {
    const memory = yield* attach(...args);
    attached.push(memory);
    return memory;
  };
  const world = EngineWorld.over(backing, {}, end);
  opened.push(world);
  return { world, attached };
}

async function emulated(mode: 'stepped' | 'thread', busBytes?: number): Promise<World & { backing: ReturnType<typeof openEmulated> }> {
  const prepared = await prepareEmulated({ mode, busBytes, namespaces: [{ bytes: 64 * MIB, blockBytes: 512 }] });
  const backing = openEmulated(prepared.handle);
  return { backing, ...over(backing, () => prepared.dispose()) };
}

async function qemu(): Promise<World> {
  const world = await QemuWorld.start();
  return over(world.backing, () => world.end());
}

function look(world: EngineWorld<Backing>, { lease, queue }: Tenant): HardwareView {
  const view = world.run(world.methods.hardwareView(lease.lease, queue));
  descriptors.push(view.submission.fd, view.completion.fd);
  return view;
}

function bytesOf({ fd, bytes }: ShownRing): Buffer {
  const all = Buffer.alloc(bytes);
  expect(readSync(fd, all, 0, bytes, 0)).toBe(bytes);
  return all;
}

/** Words of entry `index`. */
function entry(ring: ShownRing, index: number): Uint32Array {
  const all = bytesOf(ring);
  return new Uint32Array(all.buffer, all.byteOffset + index * ring.entryBytes, ring.entryBytes / 4);
}

/** Page numbers of all bus addresses. */
function pageNumbers(attached: readonly DmaMemory[]): Set<bigint> {
  const numbers = new Set<bigint>();
  for (const { pageLow, pageHigh } of attached) {
    pageLow.forEach((low, page) => numbers.add(((BigInt(pageHigh[page]) << 32n) | BigInt(low)) >> 12n));
  }
  return numbers;
}

/** Where two words, from any word on, are an address in one of the pages. */
function addressesIn(bytes: Buffer, pages: ReadonlySet<bigint>): number[] {
  const found: number[] = [];
  for (let at = 0; at + 8 <= bytes.length; at += 4) if (pages.has(bytes.readBigUInt64LE(at) >> 12n)) found.push(at);
  return found;
}

const codes = (completions: readonly { code: number }[]): number[] => completions.map(({ code }) => code);

const BACKINGS: readonly [name: string, isThere: boolean, open: () => Promise<World>][] = [
  ['the embedded model', true, () => emulated('stepped')],
  ['the embedded model on a thread', true, () => emulated('thread')],
  [qemuName, hasQemu, qemu],
];

for (const [name, isThere, open] of BACKINGS)
  describe.skipIf(!isThere)(`a view of the rings on ${name}`, () => {
    test('shows each command with the client\u2019s own names, and its completion', async () => {
      const { world } = await open();
      const a = world.tenant(1, SHOWN);
      const view = look(world, a);
      expect(view.generation).toBe(a.lease.generation);
      expect(view.submission).toMatchObject({ entries: 128, entryBytes: 64, bytes: 2 * PAGE });
      expect(view.completion).toMatchObject({ entries: 128, entryBytes: 16, bytes: PAGE });
      expect(codes(world.execute(a, world.request(a, { operation: Operation.write, lba: 7n, blocks: 8, offset: 12_292n })))).toEqual([Code.ok]);
      expect(codes(world.execute(a, world.request(a, { lba: 9n, blocks: 300, offset: 8_192n })))).toEqual([Code.ok]);
      expect(codes(world.execute(a, world.bare(a, { operation: Operation.writeZeroes, lba: 3n, blocks: 2 })))).toEqual([Code.ok]);
      a.memory.fill(0, 0, 16);
      a.memory.writeUInt32LE(1, 8);
      const deallocate = world.bare(a, { operation: Operation.deallocate, region: a.region, offset: 0n, length: 16 });
      expect(codes(world.execute(a, deallocate))).toEqual([Code.ok]);
      // Two that go out together are one command.
      expect(codes(world.execute(a, ...[1, 2].map(() => world.bare(a, { operation: Operation.flush }))))).toEqual([Code.ok, Code.ok]);

      const commands = [0, 1, 2, 3, 4, 5].map((index) => entry(view.submission, index));
      const [opcodes, identifiers] = [commands.map(([word]) => word & 0xff), commands.map(([word]) => word >>> 16)];
      expect(opcodes).toEqual([NvmOpcode.write, NvmOpcode.read, NvmOpcode.writeZeroes, NvmOpcode.datasetManagement, NvmOpcode.flush, 0]);
      expect([...commands[0].subarray(1)]).toEqual([0, 0, 0, 0, 0, a.region, 0, 12_292, 0, 7, 0, 7, 0, 0, 0]);
      expect([...commands[1].subarray(1)]).toEqual([0, 0, 0, 0, 0, a.region, 0, 8_192, 0, 9, 0, 299, 0, 0, 0]);
      expect([...commands[2].subarray(1)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 0, 0]);
      expect([...commands[3].subarray(1)]).toEqual([0, 0, 0, 0, 0, a.region, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
      expect([...commands[4].subarray(1), ...commands[5]]).toEqual(Array.from({ length: 31 }, () => 0));
      const completions = [0, 1, 2, 3, 4].map((index) => entry(view.completion, index)[3]);
      // Completion identifier, with phase 1 and status 0.
      expect(completions).toEqual(identifiers.slice(0, 5).map((identifier) => identifier | 0x1_0000));
    });

    test('has no bus address of anything, whatever was asked for', async () => {
      const { world, attached } = await open();
      const [a, b] = [world.tenant(1, SHOWN), world.tenant(2)];
      const view = look(world, a);
      const pair = world.engine.device.leases.get(a.lease.lease)?.queues[a.queue]?.pair;
      const hardware = Buffer.from(pair?.memory.submission.u8 ?? []);
      // More than a turn of the ring, with one page, two pages and lists.
      for (let index = 0; index < 150; index++) {
        const blocks = [1, 8, 16, 300][index % 4];
        const operation = index % 3 === 0 ? Operation.write : Operation.read;
        // Blocks and offsets that are no upper half of an address in any of these worlds.
        const request = { operation, lba: BigInt(300 + index), blocks, offset: BigInt(PAGE + 4 * index) };
        expect(codes(world.execute(a, world.request(a, request)))).toEqual([Code.ok]);
        if (index % 10 === 0) world.execute(b, world.request(b));
      }
      const pages = pageNumbers(attached);
      const live = Buffer.from(pair?.memory.submission.u8 ?? []);
      expect(hardware.equals(live)).toBe(false);
      // The search finds them where they are.
      expect(addressesIn(live, pages).length).toBeGreaterThan(128);
      expect(addressesIn(bytesOf(view.submission), pages)).toEqual([]);
      expect(addressesIn(bytesOf(view.completion), pages)).toEqual([]);
      expect(bytesOf(view.submission).some((byte) => byte !== 0)).toBe(true);
      expect(bytesOf(view.completion).some((byte) => byte !== 0)).toBe(true);
    });

    test('ends with a reset, and there is another', async () => {
      const { world } = await open();
      const [a, b] = [world.tenant(1, SHOWN), world.tenant(2, SHOWN)];
      const [before, others] = [look(world, a), look(world, b)];
      const generation = world.run(world.methods.resetLease(a.lease.lease));
      expect([before.submission, before.completion].map(({ fd }) => fstatSync(fd).size)).toEqual([0, 0]);
      expect([others.submission, others.completion].map(({ fd, bytes }) => fstatSync(fd).size === bytes)).toEqual([true, true]);
      const after = look(world, a);
      expect(after.generation).toBe(generation);
      expect(codes(world.execute(a, world.request(a, { generation })))).toEqual([Code.ok]);
      expect(entry(after.submission, 0)[0] & 0xff).toBe(NvmOpcode.read);
      world.run(world.methods.resetController('test'));
      expect([after, others].flatMap(({ submission, completion }) => [submission, completion]).map(({ fd }) => fstatSync(fd).size)).toEqual([
        0, 0, 0, 0,
      ]);
      expect(fstatSync(look(world, b).completion.fd).size).toBe(PAGE);
    });

    test.each(['closeQueue', 'closeLease', 'revoke', 'close'] as const)('ends with %s, and nothing is left of it here', async (how) => {
      const before = descriptorCount();
      const { world } = await open();
      const a = world.tenant(1, SHOWN);
      const view = look(world, a);
      world.execute(a, world.request(a));
      if (how === 'closeQueue') world.run(world.methods.closeQueue(a.lease.lease, a.queue));
      if (how === 'closeLease') world.run(world.methods.closeLease(a.lease.lease));
      if (how === 'revoke') world.run(world.methods.replaceGrant(a.lease.lease, []));
      if (how === 'close') world.run(world.methods.close(100));
      expect([view.submission, view.completion].map(({ fd }) => fstatSync(fd).size)).toEqual([0, 0]);
      expect(FILES.flatMap((name) => mappingsOf(name))).toEqual([]);
      expect(() => world.run(world.methods.hardwareView(a.lease.lease, a.queue))).toThrow(how === 'closeQueue' ? 'unknownQueue' : 'unknownLease');
      await opened.pop()?.end();
      for (const fd of descriptors.splice(0)) closeSync(fd);
      // The engine's own epoll stays: it was never run.
      expect(descriptorCount() - before).toBeLessThanOrEqual(1);
    });

    test('of a reader that could write ends without a fault, its pages nobody\u2019s', async () => {
      const { world } = await open();
      const a = world.tenant(1, { ringViews: 'orphaned' });
      const view = look(world, a);
      world.execute(a, world.request(a));
      const mapping = shm().map(view.completion.fd, 0, PAGE, false);
      world.run(world.methods.closeLease(a.lease.lease));
      expect(fstatSync(view.completion.fd).size).toBe(PAGE);
      expect(new Uint32Array(mapping)[3] >>> 16).toBe(1);
      shm().unmap(mapping);
    });

    test('is refused to whoever did not ask for it at the start, and costs them no memory', async () => {
      const { world, attached } = await open();
      const [a, b] = [world.tenant(1), world.tenant(2, { ...SHOWN, queues: 'shared' })];
      expect(() => look(world, a)).toThrow('noRingView at queue: 0');
      expect(() => look(world, b)).toThrow('noRingView at queue: 0');
      expect(FILES.flatMap((name) => mappingsOf(name))).toEqual([]);
      // The server's own, and a region of each.
      expect(attached.length).toBeLessThanOrEqual(4);
    });
  });

test('of a device that is lost its readers keep pages that nobody else gets', async () => {
  const { world, backing } = await emulated('thread');
  const a = world.tenant(1, SHOWN);
  const view = look(world, a);
  world.execute(a, world.request(a));
  world.run(backing.removeDevice());
  world.until(() => world.engine.device.state === 'lost');
  world.run(world.methods.closeLease(a.lease.lease));
  expect(FILES.flatMap((name) => mappingsOf(name))).toEqual([]);
  // The submission queue's mirror is the server's alone, so that one is gone.
  expect([view.submission, view.completion].map(({ fd }) => fstatSync(fd).size)).toEqual([0, PAGE]);
  expect(entry(view.completion, 0)[3] >>> 16).toBe(1);
});

test('where memory cannot be split further the queue works, and its view is refused', async () => {
  const { world } = await emulated('stepped', 8 * MIB);
  const a = world.tenant(1, SHOWN);
  look(world, a);
  // What is left goes to regions, but for what the arena has already.
  let handle = 2;
  const fill = (bytes: number): void => {
    for (;;) {
      try {
        world.attach(9, handle | 0x0200_0000, bytes);
        handle++;
      } catch {
        return;
      }
    }
  };
  fill(MIB);
  fill(PAGE);
  const { queue } = world.openQueue(a.lease.lease, 64);
  expect(() => world.run(world.methods.hardwareView(a.lease.lease, queue))).toThrow(`noRingView at queue: ${queue}`);
  // A reset, too, brings back queues rather than views.
  world.run(world.methods.resetLease(a.lease.lease));
  const generation = world.engine.device.lease(a.lease.lease).generation;
  expect(codes(world.execute(a, world.request(a, { generation })))).toEqual([Code.ok]);
});

describe('a reader', () => {
  const SEALS = Seal.grow | Seal.futureWrite | Seal.seal;

  test('cannot write through what it is given', async () => {
    const { world } = await emulated('stepped');
    const view = look(world, world.tenant(1, SHOWN));
    for (const { fd, bytes } of [view.submission, view.completion]) {
      expect(shm().getSeals(fd)).toBe(SEALS);
      expect(() => shm().map(fd, 0, bytes, true)).toThrow('EACCES');
      expect(() => writeSync(fd, 'x')).toThrow('EBADF');
      expect(() => ftruncateSync(fd, 0)).toThrow('EINVAL');
      expect(() => shm().addSeals(fd, Seal.shrink)).toThrow('EPERM');
    }
  });

  test(`that opens the file once more cannot, as another user${whyNotUser}`, async ({ skip }) => {
    if (!canChangeUser) skip();
    const { world } = await emulated('stepped');
    const view = look(world, world.tenant(1, SHOWN));
    const script = `
      const fs = require('node:fs');
      const tries = [() => fs.openSync('/proc/self/fd/3', 'r+'), () => fs.openSync('/proc/self/fd/3', 'r'), () => fs.fchmodSync(3, 0o600),
        () => fs.ftruncateSync(3, 0), () => fs.truncateSync('/proc/self/fd/3', 0), () => fs.writeSync(3, 'x')];
      const codes = tries.map((attempt) => { try { attempt(); return 'done'; } catch (error) { return error.code; } });
      console.log(JSON.stringify([codes, fs.readSync(3, Buffer.alloc(64), 0, 64, 0)]));`;
    for (const { fd } of [view.submission, view.completion]) {
      const [command, ...args] = [...asUser(4242), process.execPath, '-e', script];
      const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit', fd] });
      const said: Buffer[] = [];
      child.stdout?.on('data', (data: Buffer) => said.push(data));
      await once(child, 'close');
      expect(JSON.parse(Buffer.concat(said).toString())).toEqual([['EACCES', 'EACCES', 'EPERM', 'EINVAL', 'EACCES', 'EBADF'], 64]);
    }
  });

  test(`that may open it for writing is stopped by the seals, and finds the shrink seal, too${whyNotUser}`, async ({ skip }) => {
    if (!canChangeUser) skip();
    const { world } = await emulated('stepped');
    const view = look(world, world.tenant(1, { ringViews: 'orphaned' }));
    for (const { fd, bytes } of [view.submission, view.completion]) {
      const writable = openSync(`/proc/self/fd/${fd}`, constants.O_RDWR);
      descriptors.push(writable);
      expect(shm().getSeals(writable)).toBe(SEALS | Seal.shrink);
      expect(() => shm().map(writable, 0, bytes, true)).toThrow('EPERM');
      expect(() => writeSync(writable, 'x')).toThrow('EPERM');
      expect(() => ftruncateSync(writable, 0)).toThrow('EPERM');
      expect(() => ftruncateSync(writable, 2 * bytes)).toThrow('EPERM');
      expect(() => shm().addSeals(writable, Seal.write)).toThrow('EPERM');
    }
  });

  test('faults when it touches a view that has ended', async () => {
    const { world } = await emulated('stepped');
    const a = world.tenant(1, SHOWN);
    const view = look(world, a);
    const addon = fileURLToPath(new URL('../../../build/shm.node', import.meta.url));
    const script = `
      const words = new Uint32Array(require(${JSON.stringify(addon)}).map(3, 0, 4096, false));
      console.log(words[0]);
      process.stdin.once('data', () => console.log(words[0]));`;
    const child = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'ignore', view.completion.fd] });
    await once(child.stdout as NodeJS.ReadableStream, 'data');
    world.run(world.methods.resetLease(a.lease.lease));
    child.stdin?.write('\n');
    const [, signal] = (await once(child, 'exit')) as [number | null, string | null];
    expect(signal).toBe('SIGBUS');
  });
});
