/** Pins on this machine's own memory: no device is needed for them, but the privilege to see physical addresses. */
import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, readFileSync, readSync, readdirSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { DmaMemory } from '../../../src/hw/backing.js';
import { createMemoryFile, needsHugePages } from '../../../src/hw/dma/index.js';
import { LinuxMemory } from '../../../src/hw/linux/memory.js';
import { deviceAddon } from '../../../src/native/device.js';
import { Seal, shm } from '../../../src/native/shm.js';

const PAGE = 4096;
const PAGES = 2048;
/** Bit of /proc/kpageflags that a page with data has, and a free one has not: KPF_UPTODATE (Documentation/admin-guide/mm/pagemap.rst). */
const UPTODATE = 1n << 3n;

const why = obstacle();
const name = `pinned memory${why === '' ? '' : ` (skipped: ${why})`}`;

function obstacle(): string {
  const pagemap = openSync('/proc/self/pagemap', 'r');
  const fd = shm().memfdCreate('probe', PAGE);
  try {
    deviceAddon().unpinPages(deviceAddon().pinPages(fd, PAGE, pagemap, new Uint32Array(1), new Uint32Array(1)));
    closeSync(openSync('/proc/kpageflags', 'r'));
    return '';
  } catch (error) {
    return `run as root, with io_uring: ${String(error)}`;
  } finally {
    closeSync(pagemap);
    shm().close(fd);
  }
}

/** Kilobytes that this process has pinned. */
const pinned = (): number => Number(/VmPin:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);

/** Huge pages that nobody uses. */
const hugePages = Number(/HugePages_Free:\s+(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0);

describe.skipIf(why !== '')(name, () => {
  let pagemap: number;
  let kpageflags: number;
  let memory: LinuxMemory;
  let fd: number;

  beforeAll(() => {
    pagemap = openSync('/proc/self/pagemap', 'r');
    kpageflags = openSync('/proc/kpageflags', 'r');
    memory = new LinuxMemory({ kind: 'physical', pagemap });
  });
  afterEach(() => {
    memory.dispose();
    shm().close(fd);
  });
  afterAll(() => {
    closeSync(pagemap);
    closeSync(kpageflags);
  });

  const framesOf = ({ pageLow, pageHigh }: DmaMemory): number[] => Array.from(pageLow, (low, page) => pageHigh[page] * 2 ** 20 + low / PAGE);
  /** How many of them hold data. */
  const inUse = (frames: readonly number[]): number =>
    frames.filter((frame) => {
      const word = Buffer.alloc(8);
      readSync(kpageflags, word, 0, 8, 8 * frame);
      return (word.readBigUInt64LE() & UPTODATE) !== 0n;
    }).length;
  const located = ({ buffer, bytes }: DmaMemory): [Uint32Array, Uint32Array] => {
    const arrays: [Uint32Array, Uint32Array] = [new Uint32Array(bytes / PAGE), new Uint32Array(bytes / PAGE)];
    new Uint8Array(buffer).forEach((_, at, all) => at % PAGE === 0 && (all[at] |= 1)); // touched, so that every page is mapped
    deviceAddon().locatePages(buffer, pagemap, ...arrays);
    return arrays;
  };

  test('has the addresses of the pages that this process maps', () => {
    fd = createMemoryFile('pinned', 64 * PAGE);
    const attached = memory.attach(fd, 64 * PAGE);
    expect(located(attached)).toEqual([attached.pageLow, attached.pageHigh]);
    expect(new Set(framesOf(attached)).size).toBe(64);
    expect(framesOf(attached).every((frame) => frame > 0)).toBe(true);
  });

  test('is accounted for as pinned while it is attached, and not a moment longer', () => {
    fd = createMemoryFile('pinned', PAGES * PAGE);
    const before = pinned();
    const attached = memory.attach(fd, PAGES * PAGE);
    expect(pinned()).toBe(before + PAGES * 4);
    memory.detach(attached);
    expect(pinned()).toBe(before);
    expect(() => memory.detach(attached)).toThrow(RangeError);
  });

  test.each([
    ['cuts the file short', (file: number) => ftruncateSync(file, 0)],
    [
      'takes its pages out (MADV_REMOVE does the same)',
      (file: number) => {
        const { status } = spawnSync('fallocate', ['--punch-hole', '--offset', '0', '--length', String(PAGES * PAGE), '/proc/self/fd/3'], {
          stdio: ['ignore', 'ignore', 'inherit', file],
        });
        expect(status).toBe(0);
      },
    ],
  ])('no page of it is freed when another holder %s', (_what, attack) => {
    fd = shm().memfdCreate('attacked', PAGES * PAGE);
    const attached = memory.attach(fd, PAGES * PAGE);
    const frames = framesOf(attached);
    attack(fd);
    expect(inUse(frames)).toBe(PAGES);
    memory.detach(attached);
    expect(inUse(frames)).toBeLessThan(PAGES / 2);
  });

  test('a file that is sealed for its client keeps its pages, and their addresses', () => {
    fd = createMemoryFile('sealed', 16 * PAGE);
    const attached = memory.attach(fd, 16 * PAGE);
    shm().addSeals(fd, Seal.futureWrite | Seal.seal);
    expect(() => ftruncateSync(fd, 0)).toThrow();
    expect(spawnSync('fallocate', ['-p', '-o', '0', '-l', '4096', '/proc/self/fd/3'], { stdio: ['ignore', 'ignore', 'ignore', fd] }).status).not.toBe(
      0,
    );
    expect(located(attached)).toEqual([attached.pageLow, attached.pageHigh]);
  });

  test('in one piece, of more than a page, needs huge pages, and says how to have them', () => {
    fd = createMemoryFile('scattered', 512 * PAGE);
    const before = [pinned(), readdirSync('/proc/self/fd').length];
    expect(() => memory.attach(fd, 512 * PAGE, { contiguous: true })).toThrow(/nr_hugepages/);
    expect([pinned(), readdirSync('/proc/self/fd').length]).toEqual(before);
    expect(() => memory.attach(fd, PAGE, { contiguous: true })).not.toThrow();
    expect([needsHugePages(memory, PAGE, true), needsHugePages(memory, 2 * PAGE, true), needsHugePages(memory, 2 * PAGE, false)]).toEqual([
      false,
      true,
      false,
    ]);
  });

  test('lies inside its file, in whole pages', () => {
    fd = createMemoryFile('short', PAGE);
    for (const bytes of [0, -PAGE, 1, 1.5, NaN, 2 ** 53, 2 * PAGE]) expect(() => memory.attach(fd, bytes)).toThrow(RangeError);
  });

  test.skipIf(hugePages === 0)(`huge pages lie in one piece${hugePages === 0 ? ' (skipped: none are reserved)' : ''}`, () => {
    fd = createMemoryFile('huge', 16 * PAGE, true);
    const attached = memory.attach(fd, 16 * PAGE, { contiguous: true });
    expect(attached.buffer.byteLength).toBe(16 * PAGE);
    expect(located(attached)).toEqual([attached.pageLow, attached.pageHigh]);
    expect(attached.pageLow[15] - attached.pageLow[0]).toBe(15 * PAGE);
    memory.detach(attached);
    expect(readFileSync('/proc/self/maps', 'utf8')).not.toContain('/memfd:huge');
  });

  test.skipIf(hugePages === 0)(
    `huge pages that are taken back read as zeroes where they are guarded${hugePages === 0 ? ' (skipped: none are reserved)' : ''}`,
    () => {
      fd = shm().hugeCreate('huge', 16 * PAGE);
      const view = shm().map(fd, 0, 16 * PAGE, false);
      shm().guard(view);
      ftruncateSync(fd, 0);
      expect(new Uint8Array(view).every((byte) => byte === 0)).toBe(true);
      shm().unmap(view);
      expect(readFileSync('/proc/self/maps', 'utf8')).not.toContain('/memfd:huge');
    },
  );

  test('a file of huge pages that are not there is refused, with what reserves some', () => {
    fd = createMemoryFile('plain', PAGE);
    expect(() => createMemoryFile('huge', (hugePages + 1) * 2 * 1_048_576, true)).toThrow(
      expect.objectContaining({ code: 'exhausted', message: expect.stringMatching(/nr_hugepages/) }),
    );
  });
});
