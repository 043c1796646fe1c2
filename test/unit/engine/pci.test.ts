/** What a lease may see of the PCI function and do to its own view of it, on the embedded model and on QEMU: R14, R16, R19, R20, R25, R31, R32. */
import { afterEach, describe, expect, test } from 'vitest';
import type { Backing } from '../../../src/hw/backing.js';
import { readMsix } from '../../../src/hw/pci/index.js';
import type { Task } from '../../../src/hw/task.js';
import { Operation } from '../../../src/protocol/index.js';
import { EngineWorld } from '../../support/engine-world.js';
import { romImage } from '../../support/rom.js';
import { hasQemu, qemuName } from '../../support/qemu.js';
import { QemuWorld } from '../../support/qemu-world.js';

const COMMAND = 0x04;
const BAR0 = 0x10;
const ROM = 0x30;

let world: EngineWorld<Backing>;
afterEach(() => world.end());

function pciContract(makeWorld: (rom: Uint8Array | undefined) => Promise<EngineWorld<Backing>>): void {
  async function start(rom?: Uint8Array): Promise<{ lease: number; other: number }> {
    world = await makeWorld(rom);
    return { lease: world.openLease(1).lease, other: world.openLease(2).lease };
  }
  const read = (lease: number, offset: number, width = 4): number => world.run(world.methods.readPciConfig(lease, offset, width));
  const write = (lease: number, offset: number, value: number, width = 4): boolean =>
    world.run(world.methods.writePciConfig(lease, offset, width, value));
  const register = (lease: number, bar: number, offset: number, width = 4): number =>
    world.run(world.methods.readPciRegister(lease, bar, offset, width));

  /** Everything that the function itself has. */
  function real(): string {
    const { config } = world.backing;
    return Buffer.from(
      Array.from({ length: config.bytes / 4 }, (_, word) => world.run(config.read32(4 * word))).flatMap((value) => [
        value & 0xff,
        (value >>> 8) & 0xff,
        (value >>> 16) & 0xff,
        value >>> 24,
      ]),
    ).toString('hex');
  }

  /** Offset of a capability, as a tenant finds it. */
  function capability(lease: number, id: number): number {
    for (let at = read(lease, 0x34, 1); at !== 0; at = read(lease, at + 1, 1)) if (read(lease, at, 1) === id) return at;
    throw new Error(`no capability ${id}`);
  }

  test('R25: a lease sees which function it is, and no bus address', async () => {
    const { lease } = await start();
    const { config } = world.backing;
    for (const offset of [0x00, 0x08, 0x2c]) expect(read(lease, offset)).toBe(world.run(config.read32(offset)));
    expect(world.run(config.read32(BAR0)) & ~0xf).not.toBe(0);
    expect(read(lease, BAR0)).toBe(0x4);
    expect(read(lease, COMMAND, 2)).toBe(0);
    const msix = world.run(readMsix(config, world.backing.bars));
    const at = capability(lease, 0x11);
    expect(read(lease, at + 2, 2)).toBe((msix?.entries ?? 0) - 1);
    expect(read(lease, at + 4)).toBe((msix?.table.offset ?? 0) | (msix?.table.bar ?? 0));
    for (const id of [0x01, 0x10]) expect(capability(lease, id)).toBeGreaterThan(0x3f);
  });

  test('R25: BARs answer sizing in the lease alone', async () => {
    const { lease, other } = await start();
    const before = real();
    write(lease, BAR0, 0xffff_ffff);
    expect(-(read(lease, BAR0) & ~0xf) >>> 0).toBe(world.backing.bars[0].bytes);
    expect(read(other, BAR0)).toBe(0x4);
    expect(real()).toBe(before);
  });

  test('R25: whatever a lease writes, the function and the other lease notice nothing', async () => {
    const { lease, other } = await start();
    const before = real();
    const seen = Array.from({ length: 64 }, (_, word) => read(other, 4 * word));
    for (const value of [0xffff_ffff, 0, 0x5a5a_a5a5]) {
      for (let offset = 0; offset < world.backing.config.bytes; offset += 4) write(lease, offset, value);
    }
    expect(Array.from({ length: 64 }, (_, word) => read(other, 4 * word))).toEqual(seen);
    expect(real()).toBe(before);
    const tenant = world.tenant(3);
    expect(world.execute(tenant, world.request(tenant, { operation: Operation.write }))[0]).toMatchObject({ code: 0 });
  });

  test('R25: a function-level reset is noted, and resets the view alone', async () => {
    const { lease } = await start();
    const before = real();
    const control = capability(lease, 0x10) + 8;
    write(lease, COMMAND, 0x0007, 2);
    expect(write(lease, control, 0x8000, 2)).toBe(true);
    expect(read(lease, COMMAND, 2)).toBe(0);
    expect(read(lease, control, 2)).toBe(0);
    expect(real()).toBe(before);
    expect(world.events()).toEqual([]);
    expect(JSON.stringify(world.engine.inspect())).toContain('"resetsAsked":1');
  });

  test('R16: an access outside, misaligned or of no width is refused', async () => {
    const { lease } = await start();
    const { bytes } = world.backing.config;
    expect(() => read(lease, bytes)).toThrow(expect.objectContaining({ code: 'outsideConfig', field: 'offset', value: String(bytes) }));
    expect(() => read(lease, bytes - 1, 2)).toThrow(expect.objectContaining({ code: 'accessMisaligned' }));
    expect(() => write(lease, 2, 0)).toThrow(expect.objectContaining({ code: 'accessMisaligned', field: 'offset', value: '2' }));
    expect(() => read(lease, 0, 3)).toThrow(expect.objectContaining({ code: 'outOfRange', field: 'width', value: '3' }));
    expect(() => write(lease, 0x3c, 256, 1)).toThrow(expect.objectContaining({ code: 'outOfRange', field: 'value', value: '256' }));
    expect(() => read(4711, 0)).toThrow(expect.objectContaining({ code: 'unknownLease' }));
  });

  test('R14, R32: regions are named with kind and size, and with the areas that may be read', async () => {
    const { lease } = await start(romImage(1024));
    const regions = world.run(world.methods.listPciRegions(lease));
    expect(regions.map(({ name, kind, bytes }) => ({ name, kind, bytes }))).toEqual([
      ...world.backing.bars.map(({ index, kind, bytes }) => ({ name: `BAR${index}`, kind, bytes })),
      { name: 'ROM', kind: 'rom', bytes: 1024 },
    ]);
    expect(regions[0].readable.map(({ name }) => name)).toEqual(['CAP', 'VS', 'CSTS']);
    for (const { readable } of regions.slice(1)) expect(readable).toEqual([]);
    const addresses = world.backing.bars.map(({ index }) => world.run(world.backing.config.read32(BAR0 + 4 * index)) & ~0xf);
    for (const address of addresses) expect(JSON.stringify(regions)).not.toContain(String(address >>> 0));
  });

  test('R32: what the driver names is read from the device', async () => {
    const { lease } = await start();
    expect(register(lease, 0, 0x08)).toBe(0x0001_0400);
    expect(register(lease, 0, 0x1c) & 1).toBe(1);
    expect(register(lease, 0, 0x00) & 0xffff).toBeGreaterThan(0);
    expect(register(lease, 0, 0x04)).toBe(world.run(world.backing.bar(0).read32(4)));
  });

  test('R31: MSI-X table, pending bits, doorbells and everything else is refused', async () => {
    const { lease } = await start();
    const msix = world.run(readMsix(world.backing.config, world.backing.bars));
    if (msix === undefined) throw new Error('no MSI-X');
    for (const { bar, offset } of [msix.table, msix.pendingBits, { bar: 0, offset: 0x1000 }, { bar: 0, offset: 0x28 }, { bar: 0, offset: 0x14 }]) {
      expect(() => register(lease, bar, offset)).toThrow(expect.objectContaining({ code: 'notReadable', field: 'offset' }));
    }
    for (const offset of [world.backing.bars[0].bytes, 2 ** 32, Number.MAX_SAFE_INTEGER, 0x06]) {
      expect(() => register(lease, 0, offset)).toThrow(expect.objectContaining({ code: 'notReadable' }));
    }
    expect(() => register(lease, 0, 0x08, 2)).toThrow(expect.objectContaining({ code: 'notReadable' }));
    for (const bar of [1, 5, 6, 7]) expect(() => register(lease, bar, 0)).toThrow(expect.objectContaining({ code: 'unknownBar' }));
  });

  test('R19: the ROM is read from its shadow, while the lease has it on', async () => {
    const rom = romImage(1536);
    const { lease, other } = await start(rom);
    const before = real();
    const readRom = (handle: number, offset: number, length: number): Uint8Array => world.run(world.methods.readPciRom(handle, offset, length));
    expect(() => readRom(lease, 0, 16)).toThrow(expect.objectContaining({ code: 'romDisabled' }));
    write(lease, ROM, 0xffff_ffff);
    expect(read(lease, ROM)).toBe(0xffff_f801);
    expect(readRom(lease, 0, rom.length)).toEqual(rom);
    expect(readRom(lease, 512, 0)).toHaveLength(0);
    expect(() => readRom(other, 0, 16)).toThrow(expect.objectContaining({ code: 'romDisabled' }));
    for (const [offset, length] of [
      [0, rom.length + 1],
      [rom.length, 1],
      [rom.length + 1, 0],
      [2 ** 31, 2 ** 22],
      [-1, 1],
      [0, -1],
      [Number.NaN, 1],
    ]) {
      expect(() => readRom(lease, offset, length)).toThrow(expect.objectContaining({ code: 'outsideRom' }));
    }
    expect(() => register(lease, 6, 0)).toThrow(expect.objectContaining({ code: 'unknownBar' }));
    write(lease, ROM, 0);
    expect(() => readRom(lease, 0, 16)).toThrow(expect.objectContaining({ code: 'romDisabled' }));
    expect(real()).toBe(before);
  });

  test('without a ROM there is none, whatever the register is told', async () => {
    const { lease } = await start();
    write(lease, ROM, 0xffff_ffff);
    expect(read(lease, ROM)).toBe(0);
    expect(() => world.run(world.methods.readPciRom(lease, 0, 1))).toThrow(expect.objectContaining({ code: 'noRom' }));
  });

  test('R20: many who read at once all get what one alone would', async () => {
    const { lease, other } = await start();
    const { tasks } = world.engine;
    const values: number[] = [];
    for (let index = 0; index < 40; index++) {
      const handle = index % 2 === 0 ? lease : other;
      const task = index % 4 < 2 ? world.methods.readPciRegister(handle, 0, 0x08, 4) : world.methods.readPciConfig(handle, 0x08, 4);
      tasks.start(
        'read',
        task,
        (value) => values.push(value),
        (error) => {
          throw error as Error;
        },
      );
    }
    world.until(() => values.length === 40);
    expect(new Set(values)).toEqual(new Set([0x0001_0400, world.run(world.backing.config.read32(0x08))]));
  });

  test('whatever happens to the device and its leases meanwhile, everybody who reads gets a value or a refusal', async () => {
    await start();
    const { tasks, device } = world.engine;
    let asked = 0;
    const ends: string[] = [];
    const ask = <T>(task: Task<T>): void => {
      asked++;
      tasks.start(
        'ask',
        task,
        () => ends.push('value'),
        (error) => ends.push(error instanceof Error ? error.name : 'unknown'),
      );
    };
    for (let round = 0; round < 30; round++) {
      const { lease } = world.openLease(3 + round);
      for (let count = 0; count < 4; count++) {
        ask(world.methods.readPciRegister(lease, 0, 0x1c, 4));
        ask(world.methods.readPciConfig(lease, 0x04, 2));
        ask(world.methods.listPciRegions(lease));
      }
      if (round % 3 === 0) ask(world.methods.resetController('a test'));
      if (round % 3 === 1) ask(world.methods.resetLease(lease));
      if (round % 2 === 0) ask(world.methods.closeLease(lease));
      for (let turn = 0; turn < round; turn++) world.engine.turn();
    }
    world.until(() => ends.length === asked);
    expect(new Set(ends)).toEqual(new Set(['value', 'Refusal']));
    expect(device.state).toBe('open');
    const tenant = world.tenant(1);
    expect(world.execute(tenant, world.request(tenant))[0]).toMatchObject({ code: 0 });
  });

  test('a lease that is given back has no view; the next one has a fresh one', async () => {
    const { lease } = await start();
    write(lease, COMMAND, 6, 2);
    world.run(world.methods.closeLease(lease));
    expect(() => read(lease, COMMAND, 2)).toThrow(expect.objectContaining({ code: 'unknownLease' }));
    expect(read(world.openLease(1).lease, COMMAND, 2)).toBe(0);
  });

  test('a controller reset leaves views as they are, and registers can be read after it', async () => {
    const { lease } = await start();
    write(lease, COMMAND, 6, 2);
    world.run(world.methods.resetController('asked for'));
    expect(read(lease, COMMAND, 2)).toBe(6);
    expect(register(lease, 0, 0x1c)).toBe(1);
  });
}

const BYTES = 64 * 1_048_576;
describe('the embedded model', () => {
  pciContract((rom) => EngineWorld.create({ rom, namespaces: [{ bytes: BYTES, blockBytes: 512 }] }));

  test('a device that is gone says so, and its leases end with their views', async () => {
    const emulated = await EngineWorld.create();
    world = emulated;
    const [lease, late] = [world.openLease(1).lease, world.openLease(2).lease];
    expect(world.run(world.methods.readPciConfig(lease, 0, 2))).toBe(0x5257);
    world.run(emulated.backing.removeDevice());
    expect(() => world.run(world.methods.readPciConfig(late, 0, 2))).toThrow(expect.objectContaining({ code: 'deviceLost' }));
    world.until(() => world.engine.device.leases.size === 0);
    expect(world.engine.device.state).toBe('lost');
    expect(() => world.run(world.methods.readPciConfig(lease, 0, 2))).toThrow(expect.objectContaining({ code: 'unknownLease' }));
    expect(() => world.run(world.methods.readPciRegister(lease, 0, 8, 4))).toThrow(expect.objectContaining({ code: 'unknownLease' }));
  });
});
describe.skipIf(!hasQemu)(qemuName, () => {
  pciContract(async (rom) => {
    const qemu = await QemuWorld.start(rom === undefined ? {} : { rom });
    return EngineWorld.over(qemu.backing, {}, () => qemu.end());
  });
});
