/** The ROM is read once, with nothing else decoded, and only what is valid of it. */
import { expect, test } from 'vitest';
import { shadowRom } from '../../../src/hw/pci/index.js';
import type { Task } from '../../../src/hw/task.js';
import { romImage } from '../../support/rom.js';
import { finish, MemoryConfig } from './function.js';

const ADDRESS = 0xc000_0000;
const COMMAND = 0x04;
const REGISTER = 0x30;

/** A function with a ROM of these bytes behind a register that decodes `decoded`; BARs without addresses. */
class RomFunction extends MemoryConfig {
  readonly rom: Uint8Array;
  reads = 0;
  constructor(rom: Uint8Array, decoded = 2 ** Math.ceil(Math.log2(rom.length))) {
    super();
    this.rom = rom;
    this.view.setUint16(COMMAND, 0x0400, true);
    this.writable.set(REGISTER, ((-decoded & 0xffff_f800) | 1) >>> 0);
  }

  /** As a function with one decoder: the ROM answers only while it is on, at its address. */
  readonly read = (offset: number): Task<number> => this.#read(offset);
  *#read(offset: number): Task<number> {
    this.reads++;
    expect(this.view.getUint32(REGISTER, true)).toBe((ADDRESS | 1) >>> 0);
    expect(this.view.getUint16(COMMAND, true)).toBe(0x0402);
    return offset < this.rom.length ? new DataView(this.rom.buffer, this.rom.byteOffset).getUint32(offset, true) : 0xffff_ffff;
  }

  shadow() {
    return finish(shadowRom(this, ADDRESS, this.read));
  }

  /** Decode and ROM are off again. */
  expectOff(): void {
    expect(this.view.getUint16(COMMAND, true)).toBe(0x0400);
    expect(this.view.getUint32(REGISTER, true)).toBe(0);
  }
}

test('is read with memory decode on for the reading alone', () => {
  const rom = romImage(1536);
  const device = new RomFunction(rom);
  expect(device.shadow()).toEqual({ image: rom, decodedBytes: 2048 });
  device.expectOff();
  expect(device.writes.filter(([offset]) => offset !== REGISTER && offset !== COMMAND)).toEqual([]);
});

test('of several images all are read, and nothing behind the last', () => {
  const rom = Buffer.concat([romImage(1024, { last: false }), romImage(512), Buffer.alloc(512, 0x77)]);
  const device = new RomFunction(rom);
  expect(device.shadow()?.image).toEqual(new Uint8Array(rom.subarray(0, 1536)));
});

test('an image that is none ends those before it', () => {
  const rom = Buffer.concat([romImage(1024, { last: false }), Buffer.alloc(1024, 0x55)]);
  expect(new RomFunction(rom).shadow()?.image).toHaveLength(1024);
});

test.each([
  ['no signature', romImage(1024, { signature: 0x1234 })],
  ['no data structure', romImage(1024, { pcir: 0 })],
  ['a data structure outside', romImage(1024, { pointer: 0xfff0 })],
  ['no length', romImage(1024, { units: 0 })],
  ['a length beyond its end', romImage(1024, { units: 9 })],
])('a ROM with %s is none', (_name, rom) => {
  const device = new RomFunction(rom, 4096);
  expect(device.shadow()).toBeUndefined();
  device.expectOff();
});

test('one that is too large is not read at all', () => {
  const device = new RomFunction(romImage(1024), 2 ** 21);
  expect([device.shadow(), device.reads]).toEqual([undefined, 0]);
  device.expectOff();
});

test('a function without the register has none', () => {
  const device = new RomFunction(romImage(1024));
  device.writable.set(REGISTER, 0);
  expect([device.shadow(), device.reads]).toEqual([undefined, 0]);
});

test('is not read while memory is decoded, or once a BAR has an address', () => {
  const decoding = new RomFunction(romImage(1024));
  decoding.view.setUint16(COMMAND, 0x0002, true);
  expect(() => decoding.shadow()).toThrow(/decode off/);
  const placed = new RomFunction(romImage(1024));
  placed.view.setUint32(0x18, 0xd000_0000, true);
  expect(() => placed.shadow()).toThrow(/before BAR 2 has an address/);
  expect([decoding.reads, placed.reads]).toEqual([0, 0]);
  placed.expectOff();
});

test('a device that fails while it is read has its ROM off', () => {
  const device = new RomFunction(romImage(1024));
  const failing = function* (): Task<number> {
    yield 0;
    throw new Error('gone');
  };
  expect(() => finish(shadowRom(device, ADDRESS, failing))).toThrow('gone');
  device.expectOff();
});
