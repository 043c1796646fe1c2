import { expect, test } from 'vitest';
import type { BarInfo } from '../../../src/hw/backing.js';
import { CapabilityId, MsixTable, readMsix } from '../../../src/hw/pci/index.js';
import { finish, MemoryBar, MemoryConfig } from './function.js';

const CAPABILITY = 0x40;
const bars: readonly BarInfo[] = [
  { index: 0, kind: 'memory', bytes: 16_384, is64: true, prefetchable: false },
  { index: 2, kind: 'io', bytes: 256, is64: false, prefetchable: false },
];

function withMsix(entries: number, table: number, pendingBits: number): MemoryConfig {
  const config = new MemoryConfig();
  config.capability(CAPABILITY, CapabilityId.msix);
  config.view.setUint16(CAPABILITY + 2, entries - 1, true);
  config.view.setUint32(CAPABILITY + 4, table, true);
  config.view.setUint32(CAPABILITY + 8, pendingBits, true);
  return config;
}

function tableOf(config: MemoryConfig, infos: readonly BarInfo[], bar: MemoryBar): MsixTable {
  const capability = finish(readMsix(config, infos));
  if (capability === undefined) throw new Error('no MSI-X');
  return new MsixTable(capability, config, bar);
}

const message = (vector: number) => ({ addressLow: 0xc000_000c, addressHigh: 1, data: 0x100 + vector });

test('the capability says where table and pending bits are', () => {
  expect(finish(readMsix(withMsix(65, 0x2000, 0x3000), bars))).toEqual({
    offset: CAPABILITY,
    entries: 65,
    table: { bar: 0, offset: 0x2000, bytes: 65 * 16 },
    pendingBits: { bar: 0, offset: 0x3000, bytes: 16 },
  });
  expect(finish(readMsix(new MemoryConfig(), bars))).toBeUndefined();
});

test.each([
  ['a BAR that is not there', 0x2001],
  ['a port BAR', 0x2002],
  ['an offset past the end', 0x4000],
  ['an offset with too little behind it', 0x3ff8],
  ['an offset of nearly 4 GiB', 0xffff_fff8],
])('a table in %s is refused', (_name, table) => {
  expect(() => finish(readMsix(withMsix(2, table, 0), bars))).toThrow(/outside/);
  expect(() => finish(readMsix(withMsix(65, 0, table), bars))).toThrow(/outside/);
});

test('entries are programmed while the function is masked, and those without a message are masked', () => {
  const config = withMsix(3, 0, 0x1000);
  const log: string[] = [];
  const bar = new MemoryBar(bars[0], log);
  config.onWrite = (offset, value) => log.push(`config ${offset} ${value.toString(16)}`);
  const table = tableOf(config, bars, bar);
  finish(table.enable([message(0), message(1)]));
  expect(log[0]).toBe('config 66 c000');
  expect(log.at(-1)).toBe('config 66 8000');
  expect(log.filter((line) => line.startsWith('config'))).toHaveLength(2);
  expect(log.at(-2)).toBe('r 12'); // posted writes have arrived before the function is unmasked
  const entry = (at: number) => [0, 4, 8, 12].map((word) => bar.view.getUint32(16 * at + word, true));
  expect([entry(0), entry(1), entry(2)]).toEqual([
    [0xc000_000c, 1, 0x100, 0],
    [0xc000_000c, 1, 0x101, 0],
    [0, 0, 0, 1],
  ]);
  // An entry is masked while its address and data change.
  const second = log.filter((line) => /^w (16|20|24|28) /.test(line));
  expect(second).toEqual(['w 28 1', 'w 16 c000000c', 'w 20 1', 'w 24 101', 'w 28 0']);
});

test('disabling masks every entry and leaves no address behind; again it does nothing', () => {
  const config = withMsix(2, 0, 0x1000);
  const bar = new MemoryBar(bars[0]);
  const table = tableOf(config, bars, bar);
  finish(table.enable([message(0), message(1)]));
  finish(table.disable());
  expect([...new Uint32Array(bar.view.buffer, 0, 8)]).toEqual([0, 0, 0, 1, 0, 0, 0, 1]);
  expect(config.view.getUint16(CAPABILITY + 2, true)).toBe(0);
  const writes = config.writes.length;
  finish(table.disable());
  expect(config.writes).toHaveLength(writes);
});

test('more messages than entries are refused before anything is written', () => {
  const config = withMsix(1, 0, 0x1000);
  const bar = new MemoryBar(bars[0]);
  const table = tableOf(config, bars, bar);
  expect(() => finish(table.enable([message(0), message(1)]))).toThrow(RangeError);
  expect([config.writes, bar.log]).toEqual([[], []]);
});

test('the largest table never has more posted writes under way than a backing holds', () => {
  const large: BarInfo = { index: 0, kind: 'memory', bytes: 65_536, is64: true, prefetchable: false };
  const config = withMsix(2048, 0, 0x8000);
  const bar = new MemoryBar(large);
  const table = tableOf(config, [large], bar);
  finish(table.enable(Array.from({ length: 2048 }, (_, vector) => message(vector))));
  let most = 0;
  let run = 0;
  for (const line of bar.log) {
    run = line.startsWith('w') ? run + 1 : 0;
    most = Math.max(most, run);
  }
  expect(most).toBeLessThanOrEqual(320);
  expect(bar.view.getUint32(16 * 2047 + 8, true)).toBe(0x100 + 2047);
});
