/** The backing of real functions, as far as it goes without one: plain files stand for what the kernel shows of a function. */
import { closeSync, fstatSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, onTestFinished, test, vi } from 'vitest';
import { LinuxBacking } from '../../../src/hw/linux/backing.js';
import { abandonHandle, stopDevice, type PciHandle } from '../../../src/hw/linux/handle.js';
import { Machine } from '../../../src/hw/linux/machine.js';
import { Command, Header } from '../../../src/hw/pci/index.js';
import type { Task } from '../../../src/hw/task.js';
import { deviceAddon } from '../../../src/native/device.js';
import { Seal, shm } from '../../../src/native/shm.js';

const VENDOR = 0x1b36;
const BAR_BYTES = 16_384;
/** Decode and bus mastering, and no INTx: what another driver may have written. */
const COMMAND = 0x0406;

interface Made {
  readonly handle: PciHandle;
  /** Where its files are. */
  readonly folder: string;
  /** What the function's command register holds. */
  command(): number;
}

afterEach(() => vi.restoreAllMocks());

function make(): Made {
  const folder = mkdtempSync(join(tmpdir(), 'ringwarden-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const config = Buffer.alloc(256);
  config.writeUInt16LE(VENDOR, Header.vendorId);
  config.writeUInt16LE(COMMAND, Header.command);
  const open = (name: string, content: Buffer): number => {
    writeFileSync(join(folder, name), content);
    return openSync(join(folder, name), 'r+');
  };
  const fd = open('config', config);
  const reset = open('reset', Buffer.alloc(1));
  const resource = open('resource0', Buffer.alloc(BAR_BYTES));
  const pagemap = openSync('/proc/self/pagemap', 'r');
  const uevents = deviceAddon().openUevents();
  const info = { index: 0, kind: 'memory', bytes: BAR_BYTES, is64: true, prefetchable: false } as const;
  const handle: PciHandle = {
    address: 'ffff:ff:1f.7',
    path: 'sysfs',
    description: '',
    config: { fd, offset: 0, bytes: config.length },
    bars: [{ info, fd: resource, offset: 0, mappable: true }],
    interrupts: { kind: 'none' },
    memory: { kind: 'physical', pagemap },
    enable: undefined,
    reset: { fd: reset, vfio: false },
    device: undefined,
    uevents,
    descriptors: [fd, reset, resource, pagemap, uevents],
    closed: new SharedArrayBuffer(4),
    claimed: new SharedArrayBuffer(4),
  };
  return { handle, folder, command: () => readFileSync(join(folder, 'config')).readUInt16LE(Header.command) };
}

/** Runs a task to its end. */
function finish<T>(task: Task<T>): T {
  for (;;) {
    const step = task.next();
    if (step.done === true) return step.value;
  }
}

test('a function that is lost while it is reset: its descriptors are not used any more, whoever has their numbers', () => {
  const { handle } = make();
  const backing = new LinuxBacking({ ...handle, device: handle.config.fd }); // VFIO's is closed in any case
  finish(backing.claim());
  const ended = vi.spyOn(deviceAddon(), 'resetEnded').mockReturnValue(false);
  const reset = backing.reset();
  reset.next();
  backing.dispose();
  const others: number[] = [];
  while (!others.includes(handle.config.fd)) others.push(shm().memfdCreate('other', 4096));
  const bytes = new Uint8Array(shm().map(handle.config.fd, 0, 4096, true)).fill(0x53);
  ended.mockReturnValue(true);
  expect(() => finish(reset)).toThrow(expect.objectContaining({ code: 'lost' }));
  expect(finish(backing.config.read32(64))).toBe(0xffff_ffff);
  finish(backing.config.write32(64, 0));
  finish(backing.release());
  expect(bytes.every((byte) => byte === 0x53)).toBe(true);
  shm().unmap(bytes.buffer);
  for (const fd of others) shm().close(fd);
});

test('a function that was never claimed is not written to, whoever has it', async () => {
  const { handle, command } = make();
  const backing = new LinuxBacking(handle);
  finish(backing.release());
  backing.dispose();
  expect(command()).toBe(COMMAND);
  const other = make();
  abandonHandle(other.handle);
  expect(other.command()).toBe(COMMAND);
});

test.each(['release', 'dispose', 'abandon'] as const)('a claimed function is stopped: %s', (how) => {
  const { handle, command } = make();
  const backing = new LinuxBacking(handle);
  finish(backing.claim());
  expect(command() & Command.busMaster).not.toBe(0);
  if (how === 'release') finish(backing.release());
  if (how !== 'abandon') backing.dispose();
  abandonHandle(handle);
  expect(command()).toBe(Command.intxDisable);
});

test.each(['release', 'dispose', 'abandon'] as const)('a driver that took a claimed function away is not disturbed: %s', (how) => {
  const { handle, command } = make();
  const backing = new LinuxBacking(handle);
  finish(backing.claim());
  vi.spyOn(Machine.prototype, 'linkName').mockReturnValue('nvme');
  const before = command();
  if (how === 'release') finish(backing.release());
  if (how !== 'abandon') backing.dispose();
  abandonHandle(handle);
  expect(command()).toBe(before);
});

test('what cannot be stopped keeps its descriptor and its pages, and is not said to be quiet', () => {
  const { handle } = make();
  const config = shm().memfdCreate('config', 256);
  const backing = new LinuxBacking({ ...handle, config: { ...handle.config, fd: config }, descriptors: [config] });
  writeSync(config, Buffer.from([0x36, 0x1b]), 0, 2, 0);
  finish(backing.claim());
  shm().addSeals(config, Seal.write);
  finish(backing.release());
  expect(backing.lost).toMatch(/cannot be stopped/);
  backing.dispose();
  expect(fstatSync(config).size).toBe(256);
  deviceAddon().leaveAtEnd(config);
  shm().close(config);

  const silent = openSync('/dev/null', 'r+'); // takes what is written, and answers nothing
  const claimed = new SharedArrayBuffer(4);
  new Int32Array(claimed)[0] = 1;
  expect(stopDevice({ ...handle, claimed, config: { ...handle.config, fd: silent } })).toBe('running');
  closeSync(silent);
});

test('a posted write to registers that are gone is enough for the loss to be noticed, and the function is stopped', () => {
  const { handle, command } = make();
  const backing = new LinuxBacking(handle);
  finish(backing.claim());
  ftruncateSync(handle.bars[0].fd, 0);
  backing.bar(0).write32(0x1000, 1);
  expect(backing.poll()).toBe(0);
  expect(backing.lost).toMatch(/registers/);
  expect(command()).toBe(Command.intxDisable);
  backing.dispose();
});

test('while it is reset nobody reaches for the configuration space: who asks waits, and what is given up then may still be running', () => {
  const { handle, command } = make();
  const backing = new LinuxBacking(handle);
  finish(backing.claim());
  const ended = vi.spyOn(deviceAddon(), 'resetEnded').mockReturnValue(false);
  const reset = backing.reset();
  reset.next();
  const asked = backing.config.read16(Header.vendorId);
  for (let turn = 0; turn < 3; turn++) expect(asked.next()).toEqual({ done: false, value: 1 });
  ended.mockReturnValue(true);
  finish(reset);
  expect(asked.next()).toEqual({ done: true, value: VENDOR });

  ended.mockReturnValue(false);
  const again = backing.reset();
  again.next();
  const before = command();
  backing.dispose();
  expect(command()).toBe(before);
  expect(() => finish(again)).toThrow(expect.objectContaining({ code: 'lost' }));
  expect(fstatSync(handle.config.fd).isFile()).toBe(true); // its lock keeps others away, and its place with the second process stops it at the end
  deviceAddon().leaveAtEnd(handle.config.fd);
  closeSync(handle.config.fd);
});
