import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BarInfo } from '../../../src/hw/backing.js';
import { MemoryBar, PortBar, placeBars } from '../../../src/hw/qemu/bars.js';
import { EcamConfigSpace, enableEcam } from '../../../src/hw/qemu/config-space.js';
import { Qtest } from '../../../src/hw/qemu/qtest.js';
import { Peer, TestFate } from './peer.js';

let peer: Peer;
let qtest: Qtest;
beforeEach(() => {
  peer = new Peer();
  qtest = new Qtest(peer.ours, new TestFate(), () => 0, 100);
});
afterEach(() => peer.close());

const memory: BarInfo = { index: 0, kind: 'memory', bytes: 8192, is64: true, prefetchable: false };
const ports: BarInfo = { index: 2, kind: 'io', bytes: 32, is64: false, prefetchable: false };

describe('accesses outside, or of no such value, never reach the device (R16)', () => {
  const offsets: [width: 1 | 2 | 4 | 8, bytes: number, wrong: number[]][] = [1, 2, 4, 8].map((width) => [
    width as 1 | 2 | 4 | 8,
    8192,
    [-width, 8192, 8192 - width + 1, 2 ** 32, 2 ** 53, -0.5, 0.5, NaN, Infinity, ...(width > 1 ? [1, width + 1] : [])],
  ]);
  test.each(offsets)('width %i', (width, _bytes, wrong) => {
    const bar = new MemoryBar(memory, 0xc000_4000, qtest);
    const config = new EcamConfigSpace(qtest, 4, true);
    for (const offset of wrong) {
      const tries: (() => unknown)[] = {
        1: [() => bar.read8(offset), () => bar.write8(offset, 0)],
        2: [() => bar.read16(offset), () => bar.write16(offset, 0)],
        4: [() => bar.read32(offset), () => bar.write32(offset, 0)],
        8: [() => bar.read64(offset), () => bar.write64(offset, 0n)],
      }[width];
      if (offset !== 8192 - width + 1 || width > 1) for (const attempt of tries) expect(attempt, `${width} at ${offset}`).toThrow(RangeError);
    }
    for (const offset of [4096, 4097, -1, NaN]) {
      expect(() => config.read8(offset)).toThrow(RangeError);
      expect(() => config.write8(offset, 0)).toThrow(RangeError);
    }
    expect(peer.heard()).toBe('');
  });

  test('values', () => {
    const bar = new MemoryBar(memory, 0xc000_4000, qtest);
    const config = new EcamConfigSpace(qtest, 4, true);
    for (const value of [-1, 256, 0.5, NaN]) {
      expect(() => bar.write8(0, value)).toThrow(RangeError);
      expect(() => config.write8(0, value)).toThrow(RangeError);
    }
    for (const value of [-1, 65_536, NaN]) expect(() => bar.write16(0, value)).toThrow(RangeError);
    for (const value of [-1, 2 ** 32, 0.5, NaN, Infinity]) expect(() => bar.write32(0, value)).toThrow(RangeError);
    for (const value of [-1n, 1n << 64n]) expect(() => bar.write64(0, value)).toThrow(RangeError);
    expect(peer.heard()).toBe('');
  });
});

test('the last register of a BAR is inside', () => {
  const bar = new MemoryBar(memory, 0xc000_4000, qtest);
  bar.write8(8191, 255);
  bar.write16(8190, 65_535);
  bar.write32(8188, 2 ** 32 - 1);
  bar.write64(8184, (1n << 64n) - 1n);
  expect(peer.heard().split('\n')).toEqual([
    'writeb 0xc0005fff 0x000000ff',
    'writew 0xc0005ffe 0x0000ffff',
    'writel 0xc0005ffc 0xffffffff',
    'writeq 0xc0005ff8 0xffffffffffffffff',
    '',
  ]);
});

test('ports are accessed as ports, up to 32 bits', () => {
  const bar = new PortBar(ports, 0x4000, qtest);
  bar.write16(30, 1);
  bar.read32(28).next();
  expect(peer.heard()).toBe('outw 0x0000401e 0x00000001\ninl 0x0000401c\n');
  expect(() => bar.write32(32, 0)).toThrow(RangeError);
  expect(() => bar.read64()).toThrow(RangeError);
  expect(() => bar.write64()).toThrow(RangeError);
});

test('configuration space is at its place in the ECAM, once that is mapped', () => {
  enableEcam(qtest);
  expect(peer.heard()).toBe('outl 0x00000cf8 0x80000060\noutl 0x00000cfc 0xb0000001\n');
  const config = new EcamConfigSpace(qtest, 4, true);
  config.read16(0).next();
  config.write32(0xffc, 7).next();
  expect(peer.heard()).toBe('readw 0xb0020000\nwritel 0xb0020ffc 0x00000007\n');
});

test('BARs are placed aligned to their size, and not past the end of their window', () => {
  const window = { start: 0xc000_0100, end: 0xd000_0000 };
  const small: BarInfo = { ...memory, index: 2, bytes: 16 };
  expect(placeBars([small, memory, ports, { ...ports, index: 3 }], window, { start: 0x4000, end: 0x4040 })).toEqual([
    0xc000_0100, 0xc000_2000, 0x4000, 0x4020,
  ]);
  expect(() => placeBars([{ ...memory, bytes: 2 ** 28 }], window, { start: 0, end: 0 })).toThrow(expect.objectContaining({ code: 'exhausted' }));
  expect(() => placeBars([ports], window, { start: 0x4000, end: 0x401f })).toThrow(expect.objectContaining({ code: 'exhausted' }));
});
