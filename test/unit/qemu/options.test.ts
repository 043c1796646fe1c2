import { expect, test } from 'vitest';
import { qemuArguments } from '../../../src/hw/qemu/arguments.js';
import { checkOptions, type QemuNvmeOptions } from '../../../src/hw/qemu/options.js';
import { parkingFirmware } from '../../../src/hw/qemu/firmware.js';

const good: QemuNvmeOptions = { drives: [{ bytes: 4096, blockBytes: 512 }], mdts: 7, queuePairs: 64, vectors: 65, serial: 'S' };

test.each<[field: string, options: Partial<QemuNvmeOptions>]>([
  ['drives', { drives: [] }],
  ['drives', { drives: Array.from({ length: 257 }, () => good.drives[0]) }],
  ['drives[0].bytes', { drives: [{ bytes: 0, blockBytes: 512 }] }],
  ['drives[0].bytes', { drives: [{ bytes: 4096 + 512, blockBytes: 4096 }] }],
  ['drives[0].bytes', { drives: [{ bytes: NaN, blockBytes: 512 }] }],
  ['drives[1].blockBytes', { drives: [good.drives[0], { bytes: 4096, blockBytes: 1024 as 512 }] }],
  ['drives[0].latencyNanoseconds', { drives: [{ ...good.drives[0], file: '/x', latencyNanoseconds: 1 }] }],
  ['drives[0].latencyNanoseconds', { drives: [{ ...good.drives[0], latencyNanoseconds: -1 }] }],
  ['drives[0].latencyNanoseconds', { drives: [{ ...good.drives[0], content: 'memory', latencyNanoseconds: 1 }] }],
  ['mdts', { mdts: -1 }],
  ['mdts', { mdts: 13 }],
  ['queuePairs', { queuePairs: 0 }],
  ['queuePairs', { queuePairs: 1.5 }],
  ['vectors', { vectors: 0 }],
  ['vectors', { vectors: 2049 }],
  ['serial', { serial: '' }],
  ['serial', { serial: 'x'.repeat(21) }],
  ['serial', { serial: 'ü' }],
  ['serial', { serial: 'a\n' }],
  ['accessMilliseconds', { accessMilliseconds: 0 }],
])('%s out of range: %j', (field, options) => {
  expect(() => checkOptions(good)).not.toThrow();
  expect(() => checkOptions({ ...good, ...options })).toThrow(
    expect.objectContaining({ name: 'RangeError', message: expect.stringMatching(`^${field.replace(/[[\]]/g, '\\$&')} must be `) }),
  );
});

/** Values of every option with this name. */
function valuesOf(args: readonly string[], option: string): string[] {
  return args.flatMap((arg, i) => (arg === option ? [args[i + 1]] : []));
}

test('no text of the options can become another option of QEMU', () => {
  const args = qemuArguments({ ...good, serial: 'a,b=c","d":"e', drives: [{ file: '/tmp/a,b"c', bytes: 4096, blockBytes: 512 }] });
  const nvme = valuesOf(args, '-device').map((text) => JSON.parse(text) as Record<string, unknown>);
  expect(nvme.find(({ driver }) => driver === 'nvme')).toMatchObject({ serial: 'a,b=c","d":"e' });
  expect(args.join(' ')).not.toContain('/tmp');
});

test('each drive is a namespace with its block size; images are inherited in their order', () => {
  const args = qemuArguments({
    ...good,
    drives: [
      { file: 'a', bytes: 8192, blockBytes: 4096 },
      { bytes: 512, blockBytes: 512, latencyNanoseconds: 5 },
      { file: 'b', bytes: 1024, blockBytes: 512, errors: [{ on: 'read', errno: 5, sector: 1, once: true }] },
    ],
  });
  const namespaces = valuesOf(args, '-device')
    .map((text) => JSON.parse(text) as Record<string, unknown>)
    .filter(({ driver }) => driver === 'nvme-ns');
  expect(namespaces.map(({ nsid, drive, logical_block_size: block }) => [nsid, drive, block])).toEqual([
    [1, 'drive0', 4096],
    [2, 'drive1', 512],
    [3, 'drive2', 512],
  ]);
  expect(valuesOf(args, '-add-fd')).toEqual(['fd=7,set=0', 'fd=8,set=2']);
  const nodes = valuesOf(args, '-blockdev').map((text) => JSON.parse(text) as Record<string, unknown>);
  expect(nodes).toMatchObject([
    { 'node-name': 'drive0', driver: 'raw', size: 8192, file: { filename: '/dev/fdset/0', locking: 'on' } },
    { 'node-name': 'drive1', driver: 'null-co', size: 512, 'latency-ns': 5 },
    { 'node-name': 'drive2', driver: 'blkdebug', 'inject-error': [{ iotype: 'read', errno: 5, sector: 1, once: true }] },
  ]);
  expect(nodes[2]).toMatchObject({ image: { driver: 'raw', file: { filename: '/dev/fdset/2' } } });
});

test('the firmware does nothing but park the processor', () => {
  const image = parkingFirmware();
  expect(image.length).toBe(65_536);
  expect([...image.subarray(0xfff0, 0xfff4)]).toEqual([0xfa, 0xf4, 0xeb, 0xfd]); // cli; hlt; jmp $-1
  expect(image.reduce((sum, byte) => sum + byte, 0)).toBe(0xfa + 0xf4 + 0xeb + 0xfd);
});
