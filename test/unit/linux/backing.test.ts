/** The backing of real functions, as far as it goes without one: plain files stand for what the kernel shows of a function. */
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, onTestFinished, test, vi } from 'vitest';
import { LinuxBacking } from '../../../src/hw/linux/backing.js';
import type { PciHandle } from '../../../src/hw/linux/handle.js';
import { Header } from '../../../src/hw/pci/index.js';
import type { Task } from '../../../src/hw/task.js';
import { deviceAddon } from '../../../src/native/device.js';
import { shm } from '../../../src/native/shm.js';

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
    memory: { kind: 'physical', pagemap, pins: true },
    enable: undefined,
    reset: { fd: reset, vfio: false },
    device: undefined,
    uevents,
    descriptors: [fd, reset, resource, pagemap, uevents],
    closed: new SharedArrayBuffer(4),
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
  const backing = new LinuxBacking(handle);
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
