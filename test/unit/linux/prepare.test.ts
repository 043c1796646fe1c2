import { expect, test, vi } from 'vitest';
import { Descriptors } from '../../../src/hw/linux/descriptors.js';
import { prepare } from '../../../src/hw/linux/index.js';
import { physicalMemory } from '../../../src/hw/linux/prepare-files.js';
import { checkAssigned } from '../../../src/hw/linux/prepare.js';
import { deviceAddon } from '../../../src/native/device.js';

const PLACED = '0x00000000febd0000 0x00000000febd3fff 0x0000000000140204\n';
const NONE = '0x0000000000000000 0x0000000000000000 0x0000000000000000\n';

test('a BAR that the machine gave no addresses keeps the others from being used (R17)', () => {
  expect(() => checkAssigned(PLACED + NONE.repeat(6))).not.toThrow();
  expect(() => checkAssigned('')).not.toThrow();
  const flagged = '0x0000000000001000 0x0000000000001fff 0x0000000020040200\n';
  const zero = '0x0000000000000000 0x0000000000000fff 0x0000000000040200\n';
  for (const wrong of [flagged, zero]) expect(() => checkAssigned(PLACED + wrong)).toThrow(expect.objectContaining({ code: 'exhausted' }));
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
