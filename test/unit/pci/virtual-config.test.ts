/** What a tenant sees of configuration space, and that nothing it writes goes anywhere. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { BarInfo, ConfigSpace } from '../../../src/hw/backing.js';
import { VirtualConfig, takeSnapshot } from '../../../src/hw/pci/index.js';
import { finish, MemoryConfig } from './function.js';

const BARS: readonly BarInfo[] = [
  { index: 0, kind: 'memory', bytes: 0x4000, is64: true, prefetchable: false },
  { index: 2, kind: 'io', bytes: 32, is64: false, prefetchable: false },
  { index: 3, kind: 'memory', bytes: 0x1000, is64: false, prefetchable: true },
  { index: 4, kind: 'memory', bytes: 2 ** 33, is64: true, prefetchable: true },
];
const ROM = { image: new Uint8Array(512), decodedBytes: 0x1_0000 };
const POWER = 0x40;
const VENDOR = 0x48;
const MSI = 0x50;
const EXPRESS = 0x70;
const MSIX = 0xb0;
const VPD = 0xc0;

/** A function in use: every register holds something, its BARs have addresses, its interrupts go somewhere. */
function busy(): MemoryConfig {
  const config = new MemoryConfig();
  const { view } = config;
  for (let at = 0; at < 0x40; at += 4) view.setUint32(at, 0xfeed_0000 | at, true);
  view.setUint16(0x00, 0x8086, true);
  view.setUint16(0x02, 0x5845, true);
  view.setUint32(0x08, 0x0108_0203, true);
  view.setUint16(0x2c, 0x1af4, true);
  view.setUint16(0x2e, 0x1100, true);
  view.setUint8(0x0e, 0x80);
  view.setUint8(0x34, 0);
  for (const [offset, id] of [
    [VPD, 0x03],
    [MSIX, 0x11],
    [EXPRESS, 0x10],
    [MSI, 0x05],
    [VENDOR, 0x09],
    [POWER, 0x01],
  ]) {
    for (let at = offset + 4; at < offset + (id === 0x09 || id === 0x01 ? 8 : 0x10); at += 4) view.setUint32(at, 0xfee0_0000 | at, true);
    config.capability(offset, id);
  }
  view.setUint16(0x06, 0xfa3f, true);
  view.setUint16(POWER + 2, 0xffc3, true);
  view.setUint32(POWER + 4, 0x0000_810b, true);
  view.setUint16(MSI + 2, 0x01b7, true); // 64 bits, masks, enabled, 8 vectors
  view.setUint16(EXPRESS + 2, 0x0002, true);
  view.setUint32(EXPRESS + 4, 0x1000_8021, true);
  view.setUint32(EXPRESS + 8, 0x003f_2810, true);
  view.setUint32(EXPRESS + 0x0c, 0x0000_0043, true);
  view.setUint32(EXPRESS + 0x10, 0xf843_0042, true);
  view.setUint16(MSIX + 2, 0x8040, true); // 65 entries, enabled
  view.setUint32(MSIX + 4, 0x2000, true);
  view.setUint32(MSIX + 8, 0x3000, true);
  view.setUint32(0x100, 0x1501_0003, true); // serial number, then
  view.setUint32(0x104, 0x1234_5678, true);
  view.setUint32(0x150, 0x1802_0001, true); // error reporting, then
  view.setUint32(0x154, 0x0010_0000, true);
  view.setUint32(0x180, 0x1c01_000b, true); // vendor-specific, then
  view.setUint32(0x1c0, 0x0001_0018, true); // latency tolerance
  return config;
}

const virtualOf = (config: ConfigSpace, bars = BARS, rom: typeof ROM | 'none' = ROM): VirtualConfig =>
  new VirtualConfig(finish(takeSnapshot(config, bars, rom === 'none' ? undefined : rom)));

/** Offsets and ids of a list of capabilities, as software walks it. */
function walk(space: VirtualConfig): [offset: number, id: number][] {
  const found: [number, number][] = [];
  for (let at = space.read(0x34, 1) as number; at !== 0; at = space.read(at + 1, 1) as number) found.push([at, space.read(at, 1) as number]);
  return found;
}

/** Every byte of it. */
const dump = (space: VirtualConfig): string =>
  Buffer.from(Array.from({ length: space.bytes }, (_, at) => space.read(at, 1) as number)).toString('hex');

describe('what is shown', () => {
  it('is what the function is', () => {
    const space = virtualOf(busy());
    expect(space.read(0x00, 4)).toBe(0x5845_8086);
    expect(space.read(0x08, 4)).toBe(0x0108_0203);
    expect(space.read(0x2c, 4)).toBe(0x1100_1af4);
    expect(space.read(0x0e, 1)).toBe(0x00); // one function, whatever the device has
  });

  it('is nothing of what it is doing', () => {
    const space = virtualOf(busy());
    expect(space.read(0x04, 2)).toBe(0); // command
    expect(space.read(0x06, 2)).toBe(0x0230); // no errors, no interrupt
    expect(space.read(0x28, 4)).toBe(0); // CardBus CIS
    expect(space.read(0x3c, 4)).toBe(0); // line, pin, latencies
    expect(space.read(MSI + 2, 2)).toBe(0x0186);
    expect(space.read(MSIX + 2, 2)).toBe(0x0040);
    expect(space.read(EXPRESS + 8, 4)).toBe(0); // device control and status
    expect(space.read(EXPRESS + 0x12, 2)).toBe(0x1043 & 0x13ff);
  });

  it('has no bus address anywhere', () => {
    const space = virtualOf(busy());
    for (const { index } of BARS) expect((space.read(0x10 + 4 * index, 4) as number) & 0xffff_fff0).toBe(0);
    for (let at = 0; at < space.bytes; at += 4) expect((space.read(at, 4) as number) >>> 16).not.toBe(0xfee0);
    for (let at = 0; at < space.bytes; at += 4) expect((space.read(at, 4) as number) >>> 16).not.toBe(0xfeed);
  });

  it('has power management, MSI, PCI Express and MSI-X in a list without the others', () => {
    const space = virtualOf(busy());
    expect(walk(space)).toEqual([
      [POWER, 0x01],
      [MSI, 0x05],
      [EXPRESS, 0x10],
      [MSIX, 0x11],
    ]);
    expect(space.read(VENDOR, 4)).toBe(0);
    expect(space.read(POWER + 2, 2)).toBe(0x0603);
    expect(space.read(EXPRESS + 4, 4)).toBe(0x1000_8021);
    expect(space.read(EXPRESS + 0x0c, 4)).toBe(0x43);
    expect([space.read(MSIX + 4, 4), space.read(MSIX + 8, 4)]).toEqual([0x2000, 0x3000]);
    expect(space.hidden.map(({ id, name }) => [id, name])).toEqual([
      [0x09, 'vendor-specific'],
      [0x03, 'vital product data'],
      [0x0003, 'device serial number'],
      [0x000b, 'vendor-specific'],
    ]);
  });

  it('has heads of extended capabilities whose registers are zero, and none of the others', () => {
    const space = virtualOf(busy());
    expect(space.read(0x100, 4)).toBe(0x1500_0000);
    expect(space.read(0x150, 4)).toBe(0x1c02_0001);
    expect(space.read(0x1c0, 4)).toBe(0x0001_0018);
    const others = Array.from({ length: (4096 - 0x100) / 4 }, (_, index) => 0x100 + 4 * index).filter((at) => space.read(at, 4) !== 0);
    expect(others).toEqual([0x100, 0x150, 0x1c0]);
  });

  it('is no list where the function has none', () => {
    const config = new MemoryConfig();
    config.view.setUint32(0, 0x5845_8086, true);
    const space = virtualOf(config, [], 'none');
    expect([space.read(0x06, 2), space.read(0x34, 1), space.read(0x100, 4)]).toEqual([0, 0, 0]);
    expect(space.write(0x04, 2, 0xffff)).toBe('written');
    expect(space.read(0x04, 2)).toBe(0x0544); // nothing to decode
  });

  it('ends at 256 bytes where the function does', () => {
    const config = busy();
    const space = virtualOf(Object.assign(Object.create(config) as MemoryConfig, { bytes: 256 }));
    expect(space.bytes).toBe(256);
    expect([space.read(0xfc, 4), space.read(0x100, 1), space.write(0x100, 4, 0)]).toEqual([0, 'outside', 'outside']);
  });

  it('reads registers of the function only where they are known', () => {
    const config = busy();
    const read: number[] = [];
    const watched = Object.assign(Object.create(config) as MemoryConfig, {
      *read32(offset: number) {
        read.push(offset);
        return yield* config.read32(offset);
      },
    });
    virtualOf(watched);
    for (const offset of read) expect(offset < 0x40 || (offset >= POWER && offset !== VENDOR + 4 && offset < VPD) || offset >= 0x100).toBe(true);
    expect(read).not.toContain(0x104);
    expect(config.writes).toEqual([]);
  });
});

describe('writing', () => {
  it('sizes BARs, and gives back what was written as an address', () => {
    const space = virtualOf(busy());
    const sized: unknown[] = [];
    for (const register of [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x30]) {
      expect(space.write(register, 4, 0xffff_ffff)).toBe('written');
      sized.push((space.read(register, 4) as number).toString(16));
      expect(space.write(register, 4, 0)).toBe('written');
    }
    expect(sized).toEqual(['ffffc004', 'ffffffff', 'ffffffe1', 'fffff008', 'c', 'fffffffe', 'ffff0001']);
    space.write(0x1c, 4, 0xd000_0fff);
    expect(space.read(0x1c, 4)).toBe(0xd000_0008);
  });

  it('keeps command bits, MSI and MSI-X enables and the power state to itself', () => {
    const config = busy();
    const space = virtualOf(config);
    for (const [offset, value, reads] of [
      [0x04, 0xffff, 0x0547],
      [MSI + 2, 0xffff, 0x01f7],
      [MSIX + 2, 0xffff, 0xc040],
      [POWER + 4, 0xffff, 0x000b],
      [0x3c, 0xffff, 0x00ff],
    ]) {
      expect(space.write(offset, 2, value)).toBe('written');
      expect(space.read(offset, 2)).toBe(reads);
    }
    space.write(MSI + 4, 4, 0xfee0_1003);
    expect(space.read(MSI + 4, 4)).toBe(0xfee0_1000);
    expect(config.writes).toEqual([]);
  });

  it('a function-level reset is noted as asked for, and makes the space as it was at first', () => {
    const space = virtualOf(busy());
    const before = dump(space);
    space.write(0x04, 2, 0x0006);
    expect(space.write(EXPRESS + 8, 2, 0x2810)).toBe('written');
    expect(dump(space)).not.toBe(before);
    expect([space.write(EXPRESS + 9, 1, 0x80), space.resetsAsked]).toEqual(['resetAsked', 1]);
    expect(dump(space)).toBe(before);
    expect([space.write(EXPRESS + 8, 4, 0x8000), space.resetsAsked]).toEqual(['resetAsked', 2]);
    expect([space.write(EXPRESS + 8, 1, 0x80), space.resetsAsked]).toEqual(['written', 2]);
  });

  it('switches the ROM on and off, where there is one', () => {
    const space = virtualOf(busy());
    expect(space.romEnabled).toBe(false);
    space.write(0x30, 1, 1);
    expect(space.romEnabled).toBe(true);
    space.write(0x30, 4, 0xfe00_0000);
    expect(space.romEnabled).toBe(false);
    const none = virtualOf(busy(), BARS, 'none');
    none.write(0x30, 4, 0xffff_ffff);
    expect([none.read(0x30, 4), none.romEnabled]).toEqual([0, false]);
  });
});

describe('a list of capabilities that cannot be', () => {
  const faulty = (change: (config: MemoryConfig) => void): MemoryConfig => {
    const config = busy();
    change(config);
    return config;
  };

  it('that has no end is cut', () => {
    const space = virtualOf(faulty(({ view }) => view.setUint8(VPD + 1, POWER)));
    expect(walk(space)).toHaveLength(4);
  });

  it('that leaves its space is cut', () => {
    expect(walk(virtualOf(faulty(({ view }) => view.setUint8(POWER + 1, 0x20))))).toEqual([[POWER, 0x01]]);
  });

  it('whose members overlap, or do not fit, shows the first', () => {
    const space = virtualOf(
      faulty((config) => {
        config.capability(POWER + 4, 0x01);
        config.capability(0xf0, 0x10);
        config.view.setUint16(0xf2, 2, true);
      }),
    );
    expect(walk(space).map(([offset]) => offset)).toEqual([POWER + 4, MSI, EXPRESS, MSIX]);
    expect(space.hidden.filter(({ why }) => why === 'it has no room').map(({ offset }) => offset)).toEqual([0xf0, POWER]);
  });

  it('of the extended kind ends, too', () => {
    const space = virtualOf(faulty(({ view }) => view.setUint32(0x1c0, 0x1501_0018, true)));
    expect(space.read(0x1c0, 4)).toBe(0x0001_0018);
  });
});

const offsets = fc.oneof(fc.nat(4100), fc.integer(), fc.double());
const widths = fc.oneof(fc.constantFrom(1, 2, 4), fc.integer(), fc.double());
const values = fc.oneof(fc.nat(0xffff_ffff), fc.constantFrom(0xffff_ffff, 0x8000, 1), fc.integer(), fc.double());

describe('whatever is asked', () => {
  it('there is a value that fits the width, or a refusal', () => {
    const space = virtualOf(busy());
    fc.assert(
      fc.property(offsets, widths, values, (offset, width, value) => {
        const written = space.write(offset, width, value);
        const read = space.read(offset, width);
        if (typeof read === 'string') {
          expect(written).toBe(read);
          const aligned = offset % width === 0 && offset >= 0 && offset <= space.bytes - width;
          expect([1, 2, 4].includes(width) && Number.isInteger(offset) && aligned).toBe(false);
        } else {
          expect(read).toBeLessThan(2 ** (8 * width));
          expect(['written', 'resetAsked', 'value']).toContain(written);
        }
      }),
    );
  });

  it('no write changes what the function has, what others see, or an address that is shown', () => {
    const config = busy();
    const before = new Uint8Array(config.view.buffer.slice(0));
    const snapshot = finish(takeSnapshot(config, BARS, ROM));
    const witness = new VirtualConfig(snapshot);
    const seen = dump(witness);
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(4095), fc.constantFrom(1, 2, 4), fc.nat(0xffff_ffff)), { maxLength: 200 }), (writes) => {
        const space = new VirtualConfig(snapshot);
        for (const [offset, width, value] of writes) space.write(offset, width, value % 2 ** (8 * width));
        expect(new Uint8Array(config.view.buffer)).toEqual(before);
        expect(config.writes).toEqual([]);
        expect(dump(witness)).toBe(seen);
        // What identifies the function, where its structures are, and its lists are the same for ever.
        expect([space.read(0, 4), space.read(8, 4), space.read(0x2c, 4), space.read(MSIX + 4, 4)]).toEqual([
          0x5845_8086, 0x0108_0203, 0x1100_1af4, 0x2000,
        ]);
        expect(walk(space)).toHaveLength(4);
        space.write(EXPRESS + 8, 2, 0x8000);
        expect(dump(space)).toBe(seen);
      }),
    );
  });

  it('reading is stable, and the same at every width', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(1023), fc.nat(0xffff_ffff))), fc.nat(1023), (writes, word) => {
        const space = virtualOf(busy());
        for (const [at, value] of writes) space.write(4 * at, 4, value);
        const at = 4 * word;
        const whole = space.read(at, 4);
        expect(space.read(at, 4)).toBe(whole);
        expect((space.read(at, 2) as number) + (space.read(at + 2, 2) as number) * 2 ** 16).toBe(whole);
        const bytes = [0, 1, 2, 3].map((byte) => space.read(at + byte, 1) as number);
        expect(bytes.reduce((sum, byte, index) => sum + byte * 256 ** index, 0)).toBe(whole);
      }),
    );
  });

  it('of whatever function, a space is made, or it is known to be wrong', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 4096, maxLength: 4096 }), (bytes) => {
        const config = new MemoryConfig();
        new Uint8Array(config.view.buffer).set(bytes);
        config.view.setUint16(0, 0x8086, true);
        try {
          const space = virtualOf(config);
          expect(walk(space).length).toBeLessThan(64);
        } catch (error) {
          // MSI-X that lies outside of the BARs, which is refused when the function is claimed.
          expect(error).toMatchObject({ code: 'protocol' });
        }
      }),
    );
  });
});
