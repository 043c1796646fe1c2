import { describe, expect, test } from 'vitest';
import { type EmulatedOptions, openEmulated, prepareEmulated } from '../../../src/hw/emulated/index.js';
import { resolveOptions } from '../../../src/hw/emulated/options.js';

const one = { bytes: 4096 };

describe('options', () => {
  test('have defaults', () => {
    const { shape, images } = resolveOptions({});
    expect(images).toEqual([]);
    expect(shape).toMatchObject({
      mode: 'stepped',
      mdts: 7,
      queuePairs: 64,
      mqes: 1023,
      doorbellStride: 0,
      vectors: 65,
      timeoutUnits: 10,
      audit: false,
      faults: [],
    });
    expect(shape.namespaces).toEqual([{ blockBytes: 4096, blocks: 2 ** 18, image: -1, imageOffset: 0 }]);
    expect(resolveOptions({ queuePairs: 1024 }).shape.vectors).toBe(1025);
  });

  test.each<[string, EmulatedOptions]>([
    ['namespaces', { namespaces: [] }],
    ['namespaces', { namespaces: Array.from({ length: 257 }, () => one) }],
    ['namespaces[1].bytes', { namespaces: [one, { bytes: 0 }] }],
    ['namespaces[0].bytes', { namespaces: [{ bytes: 4097 }] }],
    ['namespaces[0].bytes', { namespaces: [{ bytes: 2 ** 53 }] }],
    ['namespaces[0].blockBytes', { namespaces: [{ bytes: 4096, blockBytes: 1024 as 512 }] }],
    ['namespaces[0].imageOffset', { namespaces: [{ bytes: 4096, image: 'a', imageOffset: 512 }] }],
    ['namespaces[0].imageOffset', { namespaces: [{ bytes: 4096, image: 'a', imageOffset: -4096 }] }],
    ['mdts', { mdts: -1 }],
    ['mdts', { mdts: 17 }],
    ['queuePairs', { queuePairs: 0 }],
    ['queuePairs', { queuePairs: 1025 }],
    ['mqes', { mqes: 0 }],
    ['mqes', { mqes: 65_536 }],
    ['doorbellStride', { doorbellStride: 16 }],
    ['vectors', { vectors: 2049 }],
    ['vectors', { vectors: 1.5 }],
    ['readyTimeoutMs', { readyTimeoutMs: 0 }],
    ['busBytes', { busBytes: 2 ** 45 }],
    ['seed', { seed: NaN }],
    ['serial', { serial: '' }],
    ['serial', { serial: 'x'.repeat(21) }],
    ['serial', { serial: 'grün' }],
  ])('%s is named when it cannot be', async (name, options) => {
    await expect(prepareEmulated(options)).rejects.toThrow(RangeError);
    await expect(prepareEmulated(options)).rejects.toThrow(name);
  });
});

describe('the handle', () => {
  test('survives a structured clone, and is open once at a time', async () => {
    const prepared = await prepareEmulated({ namespaces: [one] });
    const handle = structuredClone(prepared.handle);
    const backing = openEmulated(handle);
    expect(() => openEmulated(prepared.handle)).toThrow(expect.objectContaining({ code: 'busy' }) as Error);
    backing.dispose();
    const again = openEmulated(prepared.handle);
    again.dispose();
    await prepared.dispose();
  });
});
