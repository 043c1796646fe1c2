/** The addon for devices, as far as it goes without one: a memory file stands for registers. */
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, ftruncateSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { pinError } from '../../../src/hw/linux/errors.js';
import { deviceAddon, type DeviceAddon } from '../../../src/native/device.js';
import { shm } from '../../../src/native/shm.js';
import { canChangeUser, whyNotUser } from '../../support/users.js';
import { mappingsOf } from './support.js';

const device = deviceAddon();
const name = 'registers-test';
const BYTES = 8192;
const mapped: number[] = [];
const opened: number[] = [];

function registerFile(bytes = BYTES): number {
  const fd = shm().memfdCreate(name, bytes);
  opened.push(fd);
  return fd;
}

function mapFile(fd: number, bytes = BYTES, hidden: readonly number[] = []): number {
  const id = device.mapRegisters(fd, 0, bytes, hidden);
  mapped.push(id);
  return id;
}

afterEach(() => {
  for (const id of mapped.splice(0)) device.unmapRegisters(id);
  for (const fd of opened.splice(0)) shm().close(fd);
  expect(mappingsOf(name)).toEqual([]);
});

describe('registers', () => {
  test('are read and written with each width, little-endian and unsigned', () => {
    const fd = registerFile();
    const id = mapFile(fd);
    const view = new DataView(shm().map(fd, 0, BYTES, true));
    device.write64(id, 8, 0xfedc_ba98_7654_3210n);
    expect(view.getBigUint64(8, true)).toBe(0xfedc_ba98_7654_3210n);
    expect([device.read8(id, 8), device.read16(id, 8), device.read32(id, 12), device.read64(id, 8)]).toEqual([
      0x10,
      0x3210,
      0xfedc_ba98,
      0xfedc_ba98_7654_3210n,
    ]);
    device.write32(id, 12, 0xffff_ffff);
    device.write16(id, 8, 0xffff);
    device.write8(id, 11, 0);
    expect(view.getBigUint64(8, true)).toBe(0xffff_ffff_0054_ffffn);
    device.write8(id, BYTES - 1, 0xff);
    expect(device.read8(id, BYTES - 1)).toBe(0xff);
    shm().unmap(view.buffer);
  });

  test('refuse what is outside, misaligned, or does not fit, before anything is written', () => {
    const fd = registerFile();
    const id = mapFile(fd, 6000);
    const widths = [1, 2, 4, 8] as const;
    for (const width of widths) {
      const read = device[`read${(width * 8) as 8 | 16 | 32 | 64}`];
      const write = device[`write${(width * 8) as 8 | 16 | 32 | 64}`] as (at: number, offset: number, value: unknown) => void;
      const value = width === 8 ? 1n : 1;
      const outside = [6000, 6000 - width + 1, -1, -width, 0.5, NaN, Infinity, 2 ** 32, 2 ** 53, 2 ** 32 - width];
      for (const offset of width === 1 ? outside : [...outside, 1, width + 1]) {
        expect(() => read(id, offset)).toThrow(RangeError);
        expect(() => write(id, offset, value)).toThrow(RangeError);
      }
      const values = width === 8 ? [-1n, 1n << 64n] : [-1, 2 ** (8 * width), 0.5, NaN];
      for (const wrong of values) expect(() => write(id, 0, wrong)).toThrow(RangeError);
      for (const wrong of [undefined, null, '1', {}, width === 8 ? 1 : 1n]) expect(() => write(id, 0, wrong)).toThrow(TypeError);
    }
    expect(device.read64(id, 0)).toBe(0n);
  });

  test('have parts that no access reaches, not even the edge of one', () => {
    const id = mapFile(registerFile(), BYTES, [4096, 4112, 8184, 8192]);
    for (const offset of [4096, 4104, 8184]) {
      expect(() => device.read64(id, offset)).toThrow(RangeError);
      expect(() => device.write32(id, offset, 0)).toThrow(RangeError);
    }
    expect(() => device.write8(id, 4111, 0)).toThrow(RangeError);
    expect(device.read8(id, 4095)).toBe(0);
    expect(device.read64(id, 4112)).toBe(0n);
    expect(device.read64(id, 8176)).toBe(0n);
  });

  test('that the kernel takes away read as all ones, and the process lives', () => {
    const fd = registerFile();
    const id = mapFile(fd);
    device.write32(id, 0, 1);
    expect(device.registersFaulted(id)).toBe(false);
    ftruncateSync(fd, 0);
    expect(device.read32(id, 0)).toBe(0xffff_ffff);
    expect(device.registersFaulted(id)).toBe(true);
    device.write32(id, 0, 5);
    device.write64(id, 4096, 5n);
    expect([device.read32(id, 0), device.read64(id, 4096)]).toEqual([0xffff_ffff, 0xffff_ffff_ffff_ffffn]);
    ftruncateSync(fd, BYTES); // what comes back is another device's
    device.write32(id, 4, 7);
    expect(device.read32(id, 4)).toBe(0xffff_ffff);
    const view = new Uint8Array(shm().map(fd, 0, BYTES, false));
    expect(view.every((byte) => byte === 0)).toBe(true);
    shm().unmap(view.buffer);
  });

  test('that are abandoned read as all ones, take writes, and still refuse what is outside', () => {
    const id = mapFile(registerFile());
    device.abandonRegisters(id);
    device.abandonRegisters(id);
    expect(mappingsOf(name)).toEqual([]);
    device.write32(id, 0, 7);
    expect([device.read8(id, 0), device.read16(id, 0), device.read32(id, 0), device.read64(id, 0)]).toEqual([
      0xff,
      0xffff,
      0xffff_ffff,
      0xffff_ffff_ffff_ffffn,
    ]);
    expect(() => device.read32(id, BYTES)).toThrow(RangeError);
  });

  test('may begin inside a page, and end there', () => {
    const fd = registerFile();
    const id = device.mapRegisters(fd, 4096 + 256, 128, [64, 128]);
    mapped.push(id);
    device.write32(id, 4, 0x1234_5678);
    const view = new DataView(shm().map(fd, 0, BYTES, false));
    expect(view.getUint32(4096 + 256 + 4, true)).toBe(0x1234_5678);
    expect(() => device.read8(id, 128)).toThrow(RangeError);
    expect(() => device.read8(id, 64)).toThrow(RangeError);
    shm().unmap(view.buffer);
  });

  test('are gone with their number', () => {
    const fd = registerFile();
    const first = device.mapRegisters(fd, 0, BYTES, []);
    device.unmapRegisters(first);
    const second = mapFile(fd);
    expect(second).not.toBe(first);
    for (const id of [first, -1, 2 ** 31, 0.5, 255]) {
      expect(() => device.read32(id, 0)).toThrow(RangeError);
      expect(() => device.unmapRegisters(id)).toThrow(RangeError);
    }
  });

  test('end with their thread', async () => {
    const fd = registerFile();
    const own = mapFile(fd);
    const program = `
      const device = require(${JSON.stringify(fileURLToPath(new URL('../../../build/device.node', import.meta.url)))});
      device.mapRegisters(${fd}, 0, ${BYTES}, []);
      require('worker_threads').parentPort.postMessage('mapped');
      setInterval(() => {}, 1000);`;
    const worker = new Worker(program, { eval: true });
    await once(worker, 'message');
    expect(mappingsOf(name).length).toBe(2);
    await worker.terminate();
    expect(mappingsOf(name).length).toBe(1);
    device.write32(own, 0, 3);
    expect(device.read32(own, 0)).toBe(3);
  });

  test('are limited in number', () => {
    const fd = registerFile();
    expect(() => {
      for (let count = 0; count <= 256; count++) mapFile(fd);
    }).toThrow(RangeError);
    expect(mapped.length).toBe(256 - 1); // one more is there for the tests below
  });
});

/** Wrong calls: every function, every place, throws and does nothing else. */
const file = shm().memfdCreate('lasting', BYTES);
const lasting = device.mapRegisters(file, 0, BYTES, []);
const page = shm().map(file, 0, 4096, true);
const calls: Record<keyof DeviceAddon, readonly unknown[]> = {
  mapRegisters: [0, 0, 4096, []],
  unmapRegisters: [lasting],
  abandonRegisters: [lasting],
  registersFaulted: [lasting],
  read8: [lasting, 0],
  read16: [lasting, 0],
  read32: [lasting, 0],
  read64: [lasting, 0],
  write8: [lasting, 0, 0],
  write16: [lasting, 0, 0],
  write32: [lasting, 0, 0],
  write64: [lasting, 0, 0n],
  pinPages: [0, 4096, 0, new Uint32Array(1), new Uint32Array(1)],
  unpinPages: [0],
  locatePages: [page, 0, new Uint32Array(1), new Uint32Array(1)],
  vfioAttachGroup: [0, 0, 1],
  vfioOpenDevice: [0, '0000:00:00.0'],
  vfioDeviceInfo: [0, new Uint8Array(64)],
  vfioRegionInfo: [0, 0, new Uint8Array(64)],
  vfioIrqInfo: [0, 0, new Uint8Array(64)],
  vfioIommuInfo: [0, new Uint8Array(64)],
  vfioSetTriggers: [0, 0, [0]],
  vfioUnmaskLine: [0],
  vfioMapDma: [0, new ArrayBuffer(4096), 0],
  vfioUnmapDma: [0, 0, 4096],
  beginReset: [0, true],
  leaveReset: [123_456],
  resetEnded: [1],
  watchEnd: [],
  stopAtEnd: [0, 0],
  leaveAtEnd: [0],
  openUevents: [],
  takeUevent: [0, new Uint8Array(64)],
  takeUio: [0],
};
const rows = Object.entries(calls).flatMap(([call, args]) => args.map((_, at) => ({ call: call as keyof DeviceAddon, args, at })));

test.each(rows)('$call refuses argument $at when it is of no such type', ({ call, args, at }) => {
  for (const wrong of [undefined, null, Symbol('wrong'), () => 1, { length: 1 }]) {
    expect(() => (device[call] as (...list: unknown[]) => unknown)(...args.with(at, wrong))).toThrow(TypeError);
  }
});

test('lists, arrays and numbers out of their range are refused', () => {
  const fd = registerFile();
  for (const hidden of [[0], [0, 1, 2, 3, 4, 5], [5, 4], [0, BYTES + 1], [-1, 4]])
    expect(() => device.mapRegisters(fd, 0, BYTES, hidden)).toThrow(RangeError);
  expect(() => device.mapRegisters(fd, 1, 4096, [])).toThrow(RangeError);
  const [one, two] = [new Uint32Array(1), new Uint32Array(2)];
  for (const bytes of [0, 1, 4095, 12288, 2 ** 52]) expect(() => device.pinPages(fd, bytes, fd, one, one)).toThrow(RangeError);
  expect(() => device.pinPages(fd, BYTES, fd, one, two)).toThrow(RangeError);
  expect(() => device.locatePages(new ArrayBuffer(4095), fd, one, one)).toThrow(RangeError);
  expect(() => device.vfioSetTriggers(fd, 2, Array<number>(2049).fill(0))).toThrow(RangeError);
  expect(() => device.vfioSetTriggers(fd, 2, [-1])).toThrow(RangeError);
  expect(() => device.vfioDeviceInfo(fd, new Uint8Array(4))).toThrow(RangeError);
  expect(() => device.resetEnded(123_456)).toThrow(RangeError);
});

test('a file that is no device gets the error of the kernel', () => {
  const fd = registerFile();
  expect(() => device.vfioOpenDevice(fd, '0000:00:10.0')).toThrow(expect.objectContaining({ code: 'ENOTTY', syscall: 'VFIO_GROUP_GET_DEVICE_FD' }));
  expect(() => device.vfioDeviceInfo(fd, new Uint8Array(64))).toThrow(expect.objectContaining({ code: 'ENOTTY' }));
  expect(() => device.unpinPages(fd)).toThrow(expect.objectContaining({ syscall: 'io_uring_register' }));
  expect(shm().getSeals(fd)).toBe(0); // still open
});

test('a reset is waited for without waiting, and tells what it failed with', async () => {
  const fd = registerFile();
  const reset = async (vfio: boolean): Promise<number> => {
    const id = device.beginReset(fd, vfio);
    while (!device.resetEnded(id)) await new Promise((resolve) => setTimeout(resolve, 1));
    return id;
  };
  const id = await reset(false);
  expect(() => device.resetEnded(id)).toThrow(RangeError);
  for (let count = 0; count < 300; count++) {
    const left = device.beginReset(fd, false);
    device.leaveReset(left);
    if (count % 100 === 0) await vi.waitFor(() => expect(() => device.resetEnded(left)).toThrow(RangeError), 4_000); // at most 256 are under way
  }
  const view = new Uint8Array(shm().map(fd, 0, 4096, false));
  expect(view[0]).toBe('1'.charCodeAt(0));
  shm().unmap(view.buffer);
  await expect(reset(true)).rejects.toMatchObject({ code: 'ENOTTY' });
});

test('uevents: none is there at first, and no descriptor is left behind', () => {
  const fd = device.openUevents();
  expect(device.takeUevent(fd, new Uint8Array(4096))).toBeLessThan(4096);
  shm().close(fd);
});

describe('a device is stopped at the end of its process', () => {
  /** A file stands for configuration space, at its offset 8; returns the command register that a program leaves in it. */
  const commandAfter = (end: string, before: readonly string[] = []): number => {
    const folder = mkdtempSync(join(tmpdir(), 'ringwarden-'));
    const file = join(folder, 'config');
    writeFileSync(file, Buffer.alloc(64, 0xff));
    const program = `
      const device = require(${JSON.stringify(fileURLToPath(new URL('../../../build/device.node', import.meta.url)))});
      const fd = require('fs').openSync(${JSON.stringify(file)}, 'r+');
      device.stopAtEnd(fd, 8);
      ${end}`;
    const [first, ...rest] = [...before, process.execPath, '-e', program];
    spawnSync(first, rest);
    // The descriptors of the program, which spawnSync waits for, are the other process's as well: both have ended.
    const bytes = readFileSync(file);
    rmSync(folder, { recursive: true });
    expect(bytes.every((byte, at) => at === 12 || at === 13 || byte === 0xff)).toBe(true);
    return bytes.readUInt16LE(12);
  };

  test.each([
    ['is killed', "process.kill(process.pid, 'SIGKILL');"],
    ['exits', 'process.exit(1);'],
    ['ends', ''],
  ])('that %s', (_how, end) => {
    expect(commandAfter(end)).toBe(0x0400);
  });

  test('that is killed with its process group', () => {
    expect(commandAfter("process.kill(0, 'SIGKILL');", ['setsid'])).toBe(0x0400);
  });

  /** `others()`: the processes that stop devices for this one. */
  const OTHERS = `
      const { readdirSync, readFileSync } = require('fs');
      const field = (pid, name) => {
        try { return new RegExp('^' + name + ':\\\\s*(\\\\S+)', 'm').exec(readFileSync('/proc/' + pid + '/status', 'utf8'))[1]; } catch { return ''; }
      };
      const others = () => readdirSync('/proc').filter((pid) => field(pid, 'PPid') === String(process.pid) && field(pid, 'Name') === 'ringwarden-stop' && field(pid, 'State') === 'S');
      const until = async (condition) => { while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10)); };`;

  test.each([
    ['', ''],
    [
      ', when it may start no program any more',
      `require(${JSON.stringify(fileURLToPath(new URL('../../../build/shm.node', import.meta.url)))}).confine(0, false, true);`,
    ],
  ])('that is killed after what stops devices was%s: another one was started', (_when, confine) => {
    const end = `${OTHERS}
      (async () => {
        await until(() => others().length === 1);
        ${confine}
        const [first] = others();
        process.kill(Number(first), 'SIGKILL');
        await until(() => others().length === 1 && others()[0] !== first);
        process.kill(process.pid, 'SIGKILL');
      })();`;
    expect(commandAfter(end)).toBe(0x0400);
  });

  test('what stops devices has next to no memory: who runs out of it does not kill both', () => {
    const end = `${OTHERS}
      (async () => {
        await until(() => others().length === 1);
        const small = Number(field(others()[0], 'VmRSS')) < 4096;
        if (!small) device.leaveAtEnd(fd);
        process.exit();
      })();`;
    expect(commandAfter(end)).toBe(0x0400);
  });

  test('but one that was given back is left alone', () => {
    expect(commandAfter('device.leaveAtEnd(fd);')).toBe(0xffff);
    expect(commandAfter('device.leaveAtEnd(fd + 1);')).toBe(0x0400);
  });
});

describe('what a process may not pin, or not see', () => {
  /** Where every user can read them, wherever the checkout is. */
  const folder = mkdtempSync(join(tmpdir(), 'ringwarden-'));
  chmodSync(folder, 0o755);
  const addons = ['device', 'shm'].map((addon) => {
    const copy = join(folder, `${addon}.node`);
    copyFileSync(fileURLToPath(new URL(`../../../build/${addon}.node`, import.meta.url)), copy);
    return copy;
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  /** Runs as a user without privileges, with 64 KiB of memory that may be locked. Prints how pinning so many bytes fails. */
  const attempt = (bytes: number): { code?: string; syscall?: string; skipped?: string } => {
    const program = `
      const [device, shm] = ${JSON.stringify(addons)}.map((path) => require(path));
      const fd = shm.memfdCreate('user', ${bytes});
      const pages = () => new Uint32Array(${bytes / 4096});
      try { device.pinPages(fd, ${bytes}, require('fs').openSync('/proc/self/pagemap'), pages(), pages()); console.log('{}'); }
      catch ({ code, syscall }) { console.log(JSON.stringify({ code, syscall })); }`;
    const user = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--inh-caps=-all', '--', process.execPath, '-e', program];
    const { stdout, stderr } = spawnSync('prlimit', ['--memlock=65536', '--', ...user], { encoding: 'utf8', cwd: '/' });
    return stdout === '' ? { skipped: stderr } : (JSON.parse(stdout) as { code?: string });
  };

  test.skipIf(!canChangeUser)(`RLIMIT_MEMLOCK, and physical addresses${whyNotUser}`, () => {
    const tooMuch = attempt(1_048_576);
    expect(tooMuch).toEqual({ code: 'ENOMEM', syscall: 'io_uring_register' });
    const hidden = attempt(4096);
    expect(hidden).toEqual({ code: 'EPERM', syscall: 'pagemap' });
    const error = (fields: object): Error => Object.assign(new Error('failed'), fields);
    expect(pinError(error(tooMuch), 1_048_576)).toMatchObject({ code: 'exhausted', message: expect.stringMatching(/LimitMEMLOCK/) });
    expect(pinError(error(hidden), 4096)).toMatchObject({ code: 'unsupported', message: expect.stringMatching(/CAP_SYS_ADMIN/) });
    for (const code of ['ENOSYS', 'EPERM']) expect(pinError(error({ code, syscall: 'io_uring_setup' }), 1)).toMatchObject({ code: 'unpinned' });
    for (const code of ['EMFILE', 'ENFILE']) expect(pinError(error({ code, syscall: 'io_uring_setup' }), 1)).toMatchObject({ code: 'exhausted' });
    expect(pinError(error({ code: 'ENOSPC', syscall: 'VFIO_IOMMU_MAP_DMA' }), 1)).toMatchObject({ code: 'exhausted' });
    const other = new RangeError('other');
    expect(pinError(other, 1)).toBe(other);
  });
});
