import { closeSync, existsSync, openSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { prepare, type QemuNvmeOptions } from '../../src/hw/qemu/index.js';
import { HardwareError } from '../../src/hw/task.js';
import { shm } from '../../src/native/shm.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { QemuWorld, children, qemuDefaults, withFolder } from '../support/qemu-world.js';

const MIB = 1_048_576;

/** What is wrong with these options, once QEMU was tried. */
async function failureOf(options: Partial<QemuNvmeOptions>): Promise<HardwareError> {
  const prepared = await prepare({ ...qemuDefaults, ...options }).then(
    (unexpected) => unexpected,
    (error: unknown) => error,
  );
  if (prepared instanceof HardwareError) return prepared;
  if (!(prepared instanceof Error)) await (prepared as Awaited<ReturnType<typeof prepare>>).dispose();
  throw new Error(`not refused: ${String(prepared)}`);
}

test('without QEMU the package is named', async () => {
  const failure = await failureOf({ binary: '/nonexistent/qemu' });
  expect(failure).toMatchObject({ code: 'absent', message: '/nonexistent/qemu is not installed (Debian: package "qemu-system-x86")' });
});

test('without setpriv the package is named', async () => {
  const path = process.env['PATH'];
  process.env['PATH'] = '/nonexistent';
  try {
    expect(await failureOf({})).toMatchObject({ code: 'absent', message: expect.stringContaining('"util-linux"') });
  } finally {
    process.env['PATH'] = path;
  }
});

test('a program that is not QEMU is refused in its own words', async () => {
  expect(await failureOf({ binary: '/bin/false' })).toMatchObject({ code: 'unsupported', message: expect.stringContaining('status 1') });
  expect(await failureOf({ binary: '/bin/cat' })).toMatchObject({ code: 'unsupported', message: expect.stringContaining('invalid option') });
});

describe.skipIf(!hasQemu)(qemuName, () => {
  test('images are made sparse, grown, and never cut', () =>
    withFolder(async (folder) => {
      const [made, short, long] = ['made', 'short', 'long'].map((name) => join(folder, name)) as [string, string, string];
      writeFileSync(short, 'content');
      writeFileSync(long, Buffer.alloc(2 * MIB, 7));
      const drives = [made, short, long].map((file) => ({ file, bytes: MIB, blockBytes: 512 as const }));
      const world = await QemuWorld.start({ drives });
      await world.end();
      expect([made, short, long].map((file) => statSync(file).size)).toEqual([MIB, MIB, 2 * MIB]);
      expect(statSync(made).blocks).toBe(0);
      expect(statSync(made).mode & 0o777).toBe(0o600);
      expect(readFileSync(short, 'latin1').slice(0, 7)).toBe('content');
      expect(readFileSync(long).every((byte) => byte === 7)).toBe(true);
      expect(readdirSync(folder).sort()).toEqual(['long', 'made', 'short']); // prettier-ignore
    }));

  test('an image has one user: a second QEMU is refused, and so is any other that locks it', () =>
    withFolder(async (folder) => {
      const file = join(folder, 'image');
      const drives = [{ file, bytes: MIB, blockBytes: 512 as const }];
      const world = await QemuWorld.start({ drives });
      expect(await failureOf({ drives })).toMatchObject({ code: 'busy', message: `the image ${file} is in use` });
      const other = openSync(file, 'r+');
      expect(shm().lock(other)).toBe(false);
      await world.end();
      expect(shm().lock(other)).toBe(true);
      expect(await failureOf({ drives })).toMatchObject({ code: 'busy' });
      closeSync(other);
      await (await QemuWorld.start({ drives })).end();
    }));

  test('a failure takes back everything, images that it made included', () =>
    withFolder(async (folder) => {
      const descriptors = readdirSync('/proc/self/fd').length;
      const kept = join(folder, 'kept');
      writeFileSync(kept, 'x');
      const drive = (name: string) => ({ file: join(folder, name), bytes: MIB, blockBytes: 512 as const });
      expect(await failureOf({ drives: [drive('a'), drive('kept'), { ...drive('b'), file: folder }] })).toMatchObject({ code: 'absent' });
      expect(await failureOf({ drives: [drive('a'), { ...drive('b'), file: '/dev/null' }] })).toMatchObject({ code: 'unsupported' });
      const refused = { ...drive('a'), errors: [{ on: 'nonsense' as 'read', errno: 5 }] };
      expect(await failureOf({ drives: [refused] })).toMatchObject({ code: 'unsupported', message: expect.stringContaining('nonsense') });
      expect(readdirSync(folder)).toEqual(['kept']);
      expect(readdirSync('/proc/self/fd')).toHaveLength(descriptors);
      expect(children()).toEqual([]);
    }));

  test('nothing is left behind, and QEMU has nothing but what it was given', async () => {
    const before = readdirSync('/proc/self/fd').length;
    const world = await QemuWorld.start({ vectors: 3 });
    const environment = readFileSync(`/proc/${world.pid}/environ`, 'utf8');
    expect(environment).toBe('');
    let reason = '';
    void world.prepared.ended.then((text) => {
      reason = text;
    });
    await world.end();
    await world.prepared.dispose();
    expect(reason).toBe('QEMU ended (SIGKILL)');
    expect(existsSync(`/proc/${world.pid}`)).toBe(false);
    expect(readdirSync('/proc/self/fd')).toHaveLength(before);
    expect(children()).toEqual([]);
  });

  test.each([
    ['smallest', { queuePairs: 1, vectors: 1, mdts: 0 }, 1],
    ['largest', { queuePairs: 1024, vectors: 2048, mdts: 12, serial: 'x'.repeat(20) }, 128],
  ])('the %s controller that the options allow starts', async (_name, options, available) => {
    const world = await QemuWorld.start(options);
    world.run(world.backing.claim());
    expect(world.backing.interrupts.available).toBe(available);
    const bar = world.backing.bars[0];
    expect(bar).toMatchObject({ index: 0, kind: 'memory', is64: true });
    world.run(world.backing.interrupts.enable(available));
    world.run(world.backing.interrupts.disable());
    world.run(world.backing.release());
    await world.end();
  });
});
