import { describe, expect, test } from 'vitest';
import { ASQ, VS } from '../../../src/hw/nvme/spec/index.js';
import { CapabilityId, Command, DEVCAP_FLR, Header, Msix, PciExpress, findCapability, readMsix, sizeBars } from '../../../src/hw/pci/index.js';
import { RawNvme, finish } from '../../support/raw-nvme.js';
import { openBacking, startHost } from './world.js';

describe('the header', () => {
  test('is of type 0, of an NVMe controller, with a list of capabilities', async () => {
    const { config, ...backing } = await parts();
    expect((await backing.run(config.read32(Header.revisionId))) >>> 8).toBe(0x01_08_02);
    expect(await backing.run(config.read8(Header.headerType))).toBe(0);
    expect((await backing.run(config.read16(Header.status))) & 0x10).toBe(0x10);
    const found: number[] = [];
    for (let at = await backing.run(config.read8(Header.capabilities)); at !== 0; at = await backing.run(config.read8(at + 1))) {
      expect(at % 4).toBe(0);
      found.push(await backing.run(config.read8(at)));
    }
    expect(found).toEqual([CapabilityId.powerManagement, CapabilityId.pciExpress, CapabilityId.msix]);
  });

  test('offers a function-level reset, which clears itself', async () => {
    const { config, run } = await parts();
    const express = (await run(findCapability(config, CapabilityId.pciExpress))) ?? 0;
    expect((await run(config.read32(express + PciExpress.deviceCapabilities))) & DEVCAP_FLR).not.toBe(0);
    await run(config.write32(Header.bar0, 0xc000_0000));
    await run(config.write16(Header.command, Command.memory));
    await run(config.write16(express + PciExpress.deviceControl, 0x8000));
    expect((await run(config.read16(express + PciExpress.deviceControl))) & 0x8000).toBe(0);
    expect(await run(config.read16(Header.command))).toBe(0);
    expect(await run(config.read32(Header.bar0))).toBe(0x4);
  });
});

describe('BARs', () => {
  test.each([
    [{ queuePairs: 1, vectors: 1 }, 0x4000, 0x2000],
    [{ queuePairs: 1024, vectors: 2048 }, 0x4000, 0x10000],
    [{ queuePairs: 64, doorbellStride: 4, vectors: 65 }, 0x4000, 0x2000],
    [{ queuePairs: 64, doorbellStride: 8, vectors: 256 }, 2 ** 18, 0x2000],
    [{ queuePairs: 1024, doorbellStride: 15, vectors: 257 }, 2 ** 29, 0x4000],
  ])('of %o have %i and %i bytes', async (options, registers, msix) => {
    const { config, run } = await parts(options);
    const bars = await run(sizeBars(config));
    expect(bars).toEqual([
      { index: 0, kind: 'memory', bytes: registers, is64: true, prefetchable: false },
      { index: 4, kind: 'memory', bytes: msix, is64: true, prefetchable: false },
    ]);
    const capability = await run(readMsix(config, bars));
    expect(capability?.entries).toBe(options.vectors);
    expect(capability?.table).toMatchObject({ bar: 4, offset: 0 });
  });

  test('a controller without vectors has no MSI-X, and no BAR for it', async () => {
    const backing = await openBacking({ vectors: 0 });
    expect(await finish(backing, findCapability(backing.config, CapabilityId.msix))).toBeUndefined();
    expect(backing.interrupts.available).toBe(0);
    const host = await RawNvme.start(backing);
    expect(backing.bars.map(({ index }) => index)).toEqual([0]);
    expect((await host.admin({ opcode: 0x0a, words: { 10: 1 } })).status).toBe(0);
  });

  test('that do not fit into the machine are refused, and everything is given back', async () => {
    // Two BARs of 512 MiB each in a hole of 512 MiB.
    const backing = await openBacking({ queuePairs: 1024, doorbellStride: 15 });
    await expect(finish(backing, backing.claim())).rejects.toMatchObject({ code: 'exhausted' });
    expect(backing.bars).toEqual([]);
    expect((await finish(backing, backing.config.read16(Header.command))) & (Command.memory | Command.busMaster)).toBe(0);
  });
});

describe('MSI-X control', () => {
  test('keeps enable and mask, and nothing else', async () => {
    const { config, run } = await parts({ vectors: 5 });
    const at = (await run(findCapability(config, CapabilityId.msix))) ?? 0;
    await run(config.write16(at + Msix.control, 0xffff));
    expect(await run(config.read16(at + Msix.control))).toBe(0xc004);
    await run(config.write32(at + Msix.table, 0xffff_ffff));
    expect(await run(config.read32(at + Msix.table))).toBe(4);
  });
});

describe('removal', () => {
  test('announced: everything reads as all ones, and the backing is lost', async () => {
    const { backing, host } = await startHost();
    await host.run(backing.removeDevice());
    expect(backing.lost).toMatch(/removed/);
    expect(await host.run(backing.config.read32(0))).toBe(0xffff_ffff);
    expect(await host.run(backing.config.read16(0))).toBe(0xffff);
    expect(await host.run(backing.config.read8(0))).toBe(0xff);
    expect(await host.read32(VS.offset)).toBe(0xffff_ffff);
    expect(await host.run(host.bar.read64(ASQ.offset))).toBe(0xffff_ffff_ffff_ffffn);
    await expect(host.run(backing.reset())).rejects.toMatchObject({ code: 'lost' });
    await host.stop();
    await expect(host.run(backing.claim())).rejects.toMatchObject({ code: 'lost' });
  });

  test('not announced: the backing notices when it looks', async () => {
    const { backing, host } = await startHost();
    await host.run(backing.removeDevice(false));
    expect(backing.lost).toBeUndefined();
    await expect(host.run(backing.reset())).rejects.toMatchObject({ code: 'lost' });
    expect(backing.lost).toMatch(/does not answer/);
  });
});

async function parts(options: Parameters<typeof openBacking>[0] = {}): Promise<{
  config: Awaited<ReturnType<typeof openBacking>>['config'];
  run: <T>(task: Generator<number, T, void>) => Promise<T>;
}> {
  const backing = await openBacking(options);
  return { config: backing.config, run: (task) => finish(backing, task) };
}
