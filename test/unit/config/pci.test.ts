/** Devices that are PCI functions: in the configuration, and on the command line. */
import { describe, expect, it, test } from 'vitest';
import { ConfigError } from '../../../src/server/config/index.js';
import type { Configuration } from '../../../src/server/config/index.js';
import { backingOptions, fitShares } from '../../../src/server/devices.js';
import type { EngineHost } from '../../../src/server/engine/index.js';
import { overrideConfiguration } from '../../../src/server/overrides.js';
import { parse, problemsOf, text } from './support.js';

const pci = (more = ''): string => `{ "name": "nvme0", "backing": { "kind": "pci", "address": "01:00.0"${more} } }`;
const share = (first: string, size: string, more = ''): string =>
  `{ "name": "a", "uid": 1, "shares": [{ "name": "d", "device": "nvme0", "first": ${first}, "size": ${size}${more} }] }`;
const problems = (work: () => unknown): string[] => {
  try {
    work();
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(String);
    throw error;
  }
  return [];
};

/** Engines whose probe found one namespace. */
const probed = (blocks: number, blockBytes: number): ReadonlyMap<string, EngineHost> =>
  new Map([['nvme0', { facts: { namespaces: [{ id: 1, blocks, blockBytes }] } } as unknown as EngineHost]]);
const windows = ({ tenants }: Configuration): unknown =>
  tenants[0].shares.map(({ firstBlock, blocks, blockBytes }) => [firstBlock, blocks, blockBytes]);

describe('a PCI function in the configuration', () => {
  it('has an address in full, and what the device says of the rest', () => {
    const [device] = parse(text({ devices: pci() })).devices;
    expect(device.backing).toEqual({
      kind: 'pci',
      address: '0000:01:00.0',
      path: undefined,
      namespaces: [{ id: 1, bytes: undefined, blockBytes: undefined }],
    });
    expect(backingOptions(device)).toEqual({ kind: 'pci', address: '0000:01:00.0', path: undefined });
    const [forced] = parse(text({ devices: pci(', "path": "uio"') })).devices;
    expect(backingOptions(forced)).toEqual({ kind: 'pci', address: '0000:01:00.0', path: 'uio' });
  });

  test.each([
    [
      'no address',
      '{ "name": "nvme0", "backing": { "kind": "pci", "address": §"nvme0" } }',
      /address: "nvme0" is not valid here; write the address of a PCI function/,
    ],
    ['another path', pci(', "path": §"vfoi"'), /path: "vfoi" is not valid here; write "vfio" or "uio" or "sysfs"/],
    ['a key of another kind', pci(', §"queuePairs": 4'), /queuePairs: there is no such key/],
    [
      'one function twice',
      `${pci()}, { "name": "nvme1", "backing": { "kind": "pci", "address": §"0000:01:00.0" } }`,
      /the function 0000:01:00\.0 is used already, .*give each device its own/,
    ],
  ])('%s is told', (_name, devices, what) => {
    const found = problemsOf(text({ devices, tenants: '' }));
    expect(found.problems.map(String)).toEqual([expect.stringMatching(what)]);
    expect(found.places).toEqual(found.marks);
  });

  it('has windows in bytes where the length of a block is not known', () => {
    const found = problemsOf(text({ devices: pci(), tenants: share('0', '"8 blocks"') }));
    expect(found.problems.map(String)).toEqual([expect.stringMatching(/how long a block of device "nvme0" is.*"blockBytes" for the namespace/)]);
    expect(problems(() => parse(text({ devices: pci(', "namespaces": [{ "blockBytes": 4096 }]'), tenants: share('0', '"8 blocks"') })))).toEqual([]);
  });

  it('checks windows against its size at once, where that is written', () => {
    const devices = pci(', "namespaces": [{ "size": "1 MiB" }]');
    expect(problemsOf(text({ devices, tenants: share('0', '"2 MiB"') })).problems.map(String)).toEqual([expect.stringMatching(/do not lie inside/)]);
  });
});

describe('windows on a device that has been probed', () => {
  it('are counted in its blocks', () => {
    const loaded = parse(text({ devices: pci(), tenants: share('"8 KiB"', '"64 KiB"') }));
    expect(windows(fitShares(loaded, probed(1000, 512)))).toEqual([[16, 128, 512]]);
    expect(windows(fitShares(loaded, probed(1000, 4096)))).toEqual([[2, 16, 4096]]);
  });

  it('are refused where they are not whole blocks, or not inside', () => {
    const loaded = parse(text({ devices: pci(), tenants: share('512', '1024') }));
    expect(problems(() => fitShares(loaded, probed(1000, 4096)))).toEqual([
      expect.stringMatching(/blocks of 4096 bytes, and the window is not a whole number/),
    ]);
    expect(problems(() => fitShares(loaded, probed(2, 512)))).toEqual([expect.stringMatching(/does not lie inside the 2 blocks/)]);
  });

  it('stay as they are where the configuration says how long a block is', () => {
    const loaded = parse(text({ devices: pci(', "namespaces": [{ "blockBytes": 512 }]'), tenants: share('0', '4096') }));
    expect(windows(fitShares(loaded, probed(1000, 512)))).toEqual([[0, 8, 512]]);
    expect(problems(() => fitShares(loaded, probed(1000, 4096)))).toEqual([expect.stringMatching(/blocks of 4096 bytes, not 512/)]);
  });
});

describe('the command line', () => {
  const model = (): Configuration => parse(text({ tenants: share('4096', '"64 KiB"') }));

  it('puts the first device into a function', () => {
    const changed = overrideConfiguration(model(), { address: '0000:01:00.0', world: 'uio' });
    expect(changed.devices[0].backing).toEqual({
      kind: 'pci',
      address: '0000:01:00.0',
      path: 'uio',
      namespaces: [{ id: 1, bytes: undefined, blockBytes: undefined }],
    });
    expect(windows(fitShares(changed, probed(1000, 4096)))).toEqual([[1, 16, 4096]]);
  });

  it('forces the path of a function, and of nothing else', () => {
    const configured = parse(text({ devices: pci(', "path": "vfio"') }));
    expect(overrideConfiguration(configured, { world: 'sysfs' }).devices[0].backing).toMatchObject({ kind: 'pci', path: 'sysfs' });
    expect(problems(() => overrideConfiguration(model(), { world: 'vfio' }))).toEqual([
      expect.stringMatching(/devices\[0\]\.backing: "nvme0" is no PCI function.*--device ADDRESS/),
    ]);
  });

  it('puts a function into a model when its size is written', () => {
    const sized = parse(text({ devices: pci(', "namespaces": [{ "size": "1 MiB" }]'), tenants: '' }));
    expect(overrideConfiguration(sized, { world: 'emulated' }).devices[0].backing).toMatchObject({
      kind: 'emulated',
      namespaces: [{ id: 1, bytes: 2 ** 20, blockBytes: 512, image: undefined }],
    });
    const unsized = parse(text({ devices: pci(), tenants: '' }));
    expect(problems(() => overrideConfiguration(unsized, { world: 'qemu' }))).toEqual([expect.stringMatching(/size of a namespace is not known/)]);
  });

  it('says what becomes of data of nobody, where a share does not', () => {
    const keepData = (configuration: Configuration): unknown => configuration.tenants[0].shares[0].keepData;
    expect(keepData(overrideConfiguration(model(), {}))).toBeUndefined();
    expect(keepData(overrideConfiguration(model(), { unknownData: 'keep' }))).toBe(true);
    expect(keepData(overrideConfiguration(model(), { unknownData: 'wipe' }))).toBe(false);
    const said = parse(text({ tenants: share('0', '4096', ', "keepData": true') }));
    expect(keepData(overrideConfiguration(said, { unknownData: 'wipe' }))).toBe(true);
  });
});
