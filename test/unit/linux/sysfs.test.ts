import { expect, test } from 'vitest';
import { checkAddress } from '../../../src/hw/linux/options.js';
import { prepare } from '../../../src/hw/linux/index.js';
import { parseResources } from '../../../src/hw/linux/sysfs.js';

/** As Linux writes it for QEMU's controller. */
const NVME = `0x00000000febd0000 0x00000000febd3fff 0x0000000000140204
0x0000000000000000 0x0000000000000000 0x0000000000000000
`;

test('the BARs, as the kernel has them', () => {
  expect(parseResources(NVME)).toEqual([{ index: 0, kind: 'memory', bytes: 0x4000, is64: true, prefetchable: false }]);
  const other = `0x000000000000c000 0x000000000000c01f 0x0000000000040101
0x00000000febc0000 0x00000000febc0fff 0x0000000000040200
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x0000000800000000 0x0000000fffffffff 0x000000000014220c
`;
  expect(parseResources(other)).toEqual([
    { index: 0, kind: 'io', bytes: 32, is64: false, prefetchable: false },
    { index: 1, kind: 'memory', bytes: 4096, is64: false, prefetchable: false },
    { index: 3, kind: 'memory', bytes: 2 ** 35, is64: true, prefetchable: true },
  ]);
  expect(parseResources('')).toEqual([]);
});

test('a BAR that the machine gave no addresses keeps the others from being used (R17)', () => {
  const unset = `${NVME.split('\n')[0]}\n0x0000000000000000 0x0000000000000fff 0x0000000020040200\n`;
  expect(() => parseResources(unset)).toThrow(expect.objectContaining({ code: 'exhausted' }));
  const zero = `${NVME.split('\n')[0]}\n0x0000000000000000 0x0000000000000fff 0x0000000000040200\n`;
  expect(() => parseResources(zero)).toThrow(expect.objectContaining({ code: 'exhausted' }));
});

test('an address is nothing but an address', () => {
  for (const address of ['0000:00:10.0', '10000:e1:1f.7']) expect(() => checkAddress(address)).not.toThrow();
  for (const address of ['', '01:00.0', '0000:00:20.0', '0000:00:10.8', '0000:00:10.0/..', '../0000:00:10.0', '0000:00:10.0\n', '0000:0g:10.0']) {
    expect(() => checkAddress(address)).toThrow(RangeError);
  }
});

test('a function that is not there is said to be absent, with what lists those that are', async () => {
  await expect(prepare({ address: 'ffff:ff:1f.7' })).rejects.toMatchObject({
    code: 'absent',
    message: expect.stringMatching(/ffff:ff:1f\.7.*ringwarden/),
  });
  await expect(prepare({ address: '../../etc' })).rejects.toThrow(RangeError);
});
