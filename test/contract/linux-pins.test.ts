/** That pages which a real function reaches stay where they are: the kernel is asked to move them, and the controller writes them afterwards. */
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { AdminOpcode, Cns, IdentifyController, Sqe } from '../../src/hw/nvme/spec/index.js';
import { deviceAddon } from '../../src/native/device.js';
import { shm } from '../../src/native/shm.js';
import { bindFor, hasPci, pciHasIommu, pciName, pciWorld } from '../support/pci.js';
import { RawNvme } from '../support/raw-nvme.js';

const PAGE = 4096;
const PAGES = 256;
const BYTES = PAGES * PAGE;
/** Number of migrate_pages(2) on x86-64. */
const MIGRATE_PAGES = 256;

const nodes = readdirSync('/sys/devices/system/node').filter((name) => /^node\d+$/.test(name)).length;
const python = spawnSync('python3', ['--version']).status === 0;
const reason =
  !hasPci || pciHasIommu ? `${pciName}, without an IOMMU` : nodes < 2 || !python ? `${pciName} (skipped: needs two NUMA nodes and python3)` : pciName;

/** Moves what can be moved of this process from one node to another. Returns how many pages could not be. */
function migrate(from: number, to: number): number {
  const program = `
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
old, new = ctypes.c_ulong(1 << ${from}), ctypes.c_ulong(1 << ${to})
left = libc.syscall(${MIGRATE_PAGES}, ${process.pid}, 64, ctypes.byref(old), ctypes.byref(new))
print(left if left >= 0 else sys.exit(ctypes.get_errno()))`;
  const { status, stdout, stderr } = spawnSync('python3', ['-c', program], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`migrate_pages failed: ${stderr}`);
  return Number(stdout);
}

describe.skipIf(reason !== pciName)(`pins, with ${reason}`, { timeout: 120_000 }, () => {
  test('compaction and migrate_pages move other pages of this process, and never these', async () => {
    bindFor('sysfs');
    const { backing, end } = await pciWorld('sysfs')();
    const pagemap = openSync('/proc/self/pagemap', 'r');
    const host = await RawNvme.start(backing);
    const memory = await host.allocate(BYTES);
    const fd = shm().memfdCreate('movable', BYTES);
    const movable = shm().map(fd, 0, BYTES, true);
    const located = (buffer: ArrayBuffer): bigint[] => {
      const [low, high] = [new Uint32Array(PAGES), new Uint32Array(PAGES)];
      const bytes = new Uint8Array(buffer);
      for (let at = 0; at < BYTES; at += PAGE) Atomics.add(bytes, at, 0); // a page that was moved is mapped again at the next touch
      deviceAddon().locatePages(buffer, pagemap, low, high);
      return Array.from(low, (word, page) => (BigInt(high[page]) << 32n) | BigInt(word));
    };
    const pinned = located(memory.memory.buffer);
    expect(pinned).toEqual(Array.from({ length: PAGES }, (_, page) => memory.at(page * PAGE)));
    const others = located(movable);
    memory.u8.fill(0x5a);

    let moved = 0;
    for (const [from, to] of [
      [0, 1],
      [1, 0],
      [0, 1],
    ]) {
      writeFileSync('/proc/sys/vm/compact_memory', '1');
      expect(migrate(from, to)).toBeGreaterThanOrEqual(0);
      moved += located(movable).filter((address, page) => address !== others[page]).length;
      expect(located(memory.memory.buffer)).toEqual(pinned);
    }
    expect(moved).toBeGreaterThan(PAGES / 2);

    expect(memory.u8.every((byte) => byte === 0x5a)).toBe(true);
    const identify = { opcode: AdminOpcode.identify, prp1: memory.at(BYTES - PAGE), words: { [Sqe.cdw10]: Cns.controller } };
    expect((await host.admin(identify)).status).toBe(0);
    expect(memory.u8[BYTES - PAGE + IdentifyController.sn.at]).not.toBe(0x5a);
    expect(memory.u8.subarray(0, BYTES - PAGE).every((byte) => byte === 0x5a)).toBe(true);
    shm().unmap(movable);
    shm().close(fd);
    closeSync(pagemap);
    backing.dispose();
    await end();
  });
});
