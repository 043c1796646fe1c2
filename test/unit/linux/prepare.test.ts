import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { Descriptors } from '../../../src/hw/linux/descriptors.js';
import type { PciFunction } from '../../../src/hw/linux/functions.js';
import { prepare } from '../../../src/hw/linux/index.js';
import { Machine } from '../../../src/hw/linux/machine.js';
import { openFiles, physicalMemory } from '../../../src/hw/linux/prepare-files.js';
import { checkAssigned } from '../../../src/hw/linux/prepare.js';
import { deviceAddon } from '../../../src/native/device.js';

const PLACED = '0x00000000febd0000 0x00000000febd3fff 0x0000000000140204\n';
const NONE = '0x0000000000000000 0x0000000000000000 0x0000000000000000\n';

test('a BAR that the machine gave no addresses keeps the others from being used (R17)', () => {
  expect(() => checkAssigned(PLACED + NONE.repeat(6))).not.toThrow();
  expect(() => checkAssigned('')).not.toThrow();
  const flagged = '0x0000000000001000 0x0000000000001fff 0x0000000020040200\n';
  const zero = '0x0000000000000000 0x0000000000000fff 0x0000000000040200\n';
  for (const wrong of [flagged, zero]) {
    expect(() => checkAssigned(PLACED + wrong)).toThrow(expect.objectContaining({ code: 'exhausted' }));
    expect(() => checkAssigned(PLACED + NONE.repeat(4) + wrong)).toThrow(expect.objectContaining({ code: 'exhausted' }));
    expect(() => checkAssigned(PLACED + NONE.repeat(5) + wrong)).not.toThrow(); // the expansion ROM
  }
});

test('a function that is not there is said to be absent, with what lists those that are', async () => {
  await expect(prepare({ address: 'ffff:ff:1f.7' })).rejects.toMatchObject({ code: 'absent', remedy: expect.stringMatching(/ringwarden/) });
  await expect(prepare({ address: '../../etc' })).rejects.toMatchObject({ code: 'unsupported' });
});

test.each(['ENOSYS', 'EPERM', 'EACCES'])(
  'without io_uring (%s) a function that no IOMMU confines is refused as a whole, with what allows it',
  (code) => {
    const pinPages = vi.spyOn(deviceAddon(), 'pinPages').mockImplementation(() => {
      throw Object.assign(new Error(code), { code, syscall: 'io_uring_setup' });
    });
    const descriptors = new Descriptors();
    expect(() => physicalMemory(descriptors)).toThrow(
      expect.objectContaining({
        code: 'unsupported',
        message: expect.stringContaining(code),
        remedy: expect.stringContaining('kernel.io_uring_disabled'),
      }),
    );
    descriptors.close();
    pinPages.mockRestore();
  },
);

test('a function without a reset is refused: nobody knows what it was told to do; a small BAR is mapped where it begins', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ringwarden-'));
  const path = vi.spyOn(Machine.prototype, 'path').mockImplementation((...parts: readonly string[]) => join(folder, parts.at(-1) ?? ''));
  const pinPages = vi.spyOn(deviceAddon(), 'pinPages').mockReturnValue(0);
  const unpinPages = vi.spyOn(deviceAddon(), 'unpinPages').mockReturnValue();
  onTestFinished(() => {
    for (const mock of [path, pinPages, unpinPages]) mock.mockRestore();
    rmSync(folder, { recursive: true });
  });
  for (const name of ['config', 'enable', 'resource0']) writeFileSync(join(folder, name), '');
  writeFileSync(join(folder, 'resource'), '0x00000000febd1200 0x00000000febd12ff 0x0000000000040200\n');
  const info = { index: 0, kind: 'memory', bytes: 256, is64: false, prefetchable: false } as const;
  const subject = { address: 'ffff:ff:1f.7', bars: [info] } as unknown as PciFunction;
  const descriptors = new Descriptors();
  expect(() => openFiles(subject, 'sysfs', descriptors)).toThrow(
    expect.objectContaining({ code: 'unsupported', message: expect.stringContaining('reset'), remedy: expect.stringContaining('reset_method') }),
  );
  descriptors.close();
  writeFileSync(join(folder, 'reset'), '');
  const again = new Descriptors();
  expect(openFiles(subject, 'sysfs', again)).toMatchObject({ bars: [{ offset: 0x200, mappable: true }], reset: { vfio: false } });
  again.close();
});
