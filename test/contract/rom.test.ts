/** R19 on every backing: the expansion ROM is shadowed once, by the first claim, and is off again before the BARs have addresses. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import type { Backing, PreparedBacking } from '../../src/hw/backing.js';
import { openEmulated, prepareEmulated } from '../../src/hw/emulated/index.js';
import { VS } from '../../src/hw/nvme/spec/index.js';
import { Command, Header, ROM_ENABLE } from '../../src/hw/pci/index.js';
import { openQemu, prepare } from '../../src/hw/qemu/index.js';
import type { Task } from '../../src/hw/task.js';
import { finish } from '../support/raw-nvme.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { qemuDefaults } from '../support/qemu-world.js';
import { romImage } from '../support/rom.js';

const ROM_BAR = 6;
const MAX_ROM_BYTES = 2 ** 20;
let end: () => Promise<void> = async () => {};
afterEach(() => end());

type Rom = Uint8Array | string | undefined;

function open<Handle>(prepared: PreparedBacking<Handle>, backing: Backing): Backing {
  end = async () => {
    backing.dispose();
    await prepared.dispose();
  };
  return backing;
}

async function emulated(mode: 'stepped' | 'thread', rom: Rom): Promise<Backing> {
  const prepared = await prepareEmulated({ mode, rom, namespaces: [{ bytes: 2 ** 20 }] });
  return open(prepared, openEmulated(prepared.handle));
}

async function qemu(rom: Rom): Promise<Backing> {
  const prepared = await prepare({ ...qemuDefaults, rom });
  return open(prepared, openQemu(prepared.handle));
}

function romContract(makeBacking: (rom: Rom) => Promise<Backing>): void {
  /** A claimed function, and what runs its tasks. */
  async function claimed(rom: Rom) {
    const backing = await makeBacking(rom);
    const run = <T>(task: Task<T>): Promise<T> => finish(backing, task);
    await run(backing.claim());
    return { backing, run };
  }

  test('R19: the shadow is the image, and the ROM is off when the BARs are on', async () => {
    const rom = romImage(4096);
    const { backing, run } = await claimed(rom);
    expect(backing.rom?.image).toEqual(rom);
    expect(backing.rom?.decodedBytes).toBe(4096);
    expect(await run(backing.config.read32(Header.expansionRom))).toBe(0);
    expect((await run(backing.config.read16(Header.command))) & Command.memory).toBe(Command.memory);
    expect(await run(backing.bar(0).read32(VS.offset))).toBe(0x0001_0400);
    expect(backing.bars.map(({ index }) => index)).not.toContain(ROM_BAR);
    expect(() => backing.bar(ROM_BAR)).toThrow(RangeError);
  });

  test('R19: it is read once; later claims do not switch the ROM on again', async () => {
    const { backing, run } = await claimed(romImage(512));
    const shadow = backing.rom;
    await run(backing.reset());
    await run(backing.release());
    const written: number[] = [];
    const { config } = backing;
    const write32 = config.write32.bind(config);
    config.write32 = (offset, value) => {
      if (offset === Header.expansionRom) written.push(value & ROM_ENABLE);
      return write32(offset, value);
    };
    await run(backing.claim());
    expect(backing.rom).toBe(shadow);
    expect(written).toEqual([]);
    expect(await run(backing.bar(0).read32(VS.offset))).toBe(0x0001_0400);
  });

  test('a file is taken as well', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ringwarden-'));
    try {
      writeFileSync(join(folder, 'rom'), romImage(1024));
      const { backing } = await claimed(join(folder, 'rom'));
      expect(backing.rom?.image).toEqual(romImage(1024));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test.each([
    ['no ROM', undefined],
    ['a ROM without a signature', romImage(512, { signature: 0 })],
    ['a ROM that is too large', new Uint8Array([...romImage(512), ...new Uint8Array(MAX_ROM_BYTES)])],
  ])('%s is none, and the function works', async (_name, rom) => {
    const { backing, run } = await claimed(rom);
    expect(backing.rom).toBeUndefined();
    expect(await run(backing.config.read32(Header.expansionRom))).toBe(0);
    expect(await run(backing.bar(0).read32(VS.offset))).toBe(0x0001_0400);
  });

  test('a file that is not there, or no ROM by its size, is refused before anything is started', async () => {
    await expect(makeBacking('/nowhere/rom')).rejects.toMatchObject({ code: 'absent', message: expect.stringContaining('/nowhere/rom') as string });
    await expect(makeBacking(new Uint8Array(0))).rejects.toThrow(RangeError);
  });
}

describe('the embedded model, stepped', () => {
  romContract((rom) => emulated('stepped', rom));

  test('has one decoder: with its ROM on, its BARs are not there', async () => {
    const backing = await emulated('stepped', romImage(2048));
    const run = <T>(task: Task<T>): Promise<T> => finish(backing, task);
    await run(backing.claim());
    const { config } = backing;
    await run(config.write32(Header.expansionRom, 0xd000_0001));
    expect(await run(config.read32(Header.expansionRom))).toBe(0xd000_0001);
    expect(await run(backing.bar(0).read32(VS.offset))).toBe(0xffff_ffff);
    await run(config.write32(Header.expansionRom, 0xd000_0000));
    expect(await run(backing.bar(0).read32(VS.offset))).toBe(0x0001_0400);
  });
});
describe('the embedded model, on a thread', () => romContract((rom) => emulated('thread', rom)));
describe.skipIf(!hasQemu)(qemuName, () => romContract(qemu));
