/** The PCI function in the hands of tenants, through the server and the SDK as they are published. */
import { writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { workspace } from '../support/processes.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { romImage } from '../support/rom.js';
import { Server, configuration, device } from '../support/server.js';

const ORDERLY = { status: 0, signal: null };
const WAYS = [
  ['the embedded controller', 'emulated', 'shm'],
  ['the embedded controller', 'emulated', 'socket'],
  [qemuName, 'qemu', 'shm'],
] as const;

describe.for(WAYS)('on %s (%s), over %s', { timeout: 60_000 }, ([, kind, transport]) => {
  const it = test.skipIf(kind === 'qemu' && !hasQemu);

  it('each tenant has its own view, the work of both goes on, and an attacker finds nothing', async () => {
    const space = workspace();
    const rom = romImage(300 * 1024);
    writeFileSync(space.path('rom.bin'), rom);
    const server = await Server.start(space, configuration({ devices: [device({ kind, rom: space.path('rom.bin') })] }));
    const [alice, bob] = await Promise.all(['alice', 'bob'].map((name) => server.connect(name, { transport })));
    const [attacker, victim] = await Promise.all([alice, bob].map((client) => client.openDevice('nvme0')));
    const { pci } = attacker;
    expect((await pci.readConfig(0x08, 4)) >>> 8).toBe(0x01_08_02);

    const data = Buffer.alloc(65_536, 'bob');
    await victim.share().write(0, data);
    const working = (async () => {
      for (let round = 0; round < 50; round++) expect(Buffer.from(await victim.share().read(0, data.length)).equals(data)).toBe(true);
    })();
    // Bus mastering off, BARs moved, interrupts away, asleep: what would end the work of everybody on the function itself.
    for (let offset = 4; offset < 256; offset += 4) await pci.writeConfig(offset, 4, 0);
    for (let offset = 4; offset < 256; offset += 4) await pci.writeConfig(offset, 4, 0xffff_ffff);
    await working;
    expect(await victim.pci.readConfig(0x10, 4)).toBe(0x4);
    expect(await victim.pci.readConfig(0x04, 2)).toBe(0);

    const regions = await pci.regions();
    expect(regions.map(({ kind: what }) => what)).toContain('rom');
    for (const { name, offset } of regions[0].readable) expect([name, (await pci.readRegister(0, offset)) === 0xffff_ffff]).toEqual([name, false]);
    for (const { index, kind: what, bytes } of regions) {
      for (const offset of [0x1000, 0x2000, 0x3000, bytes - 4, bytes]) {
        await expect(pci.readRegister(index, offset)).rejects.toMatchObject({ code: what === 'rom' ? 'unknownBar' : 'notReadable' });
      }
    }
    expect(Buffer.from(await victim.pci.rom()).equals(rom)).toBe(true);
    expect(await victim.pci.readConfig(0x30, 4)).toBe(0);
    await victim.share().write(0, data);
    await Promise.all([alice.close(), bob.close()]);
    expect(await server.stop()).toEqual(ORDERLY);
  });
});

test('ringwarden show --pci tells what a tenant may see, as text and as JSON', async () => {
  const space = workspace();
  writeFileSync(space.path('rom.bin'), romImage(2048));
  const server = await Server.start(space, configuration({ devices: [device({ rom: space.path('rom.bin') })] }));
  const show = (...args: string[]) =>
    space.ringwarden(['show', 'nvme0', '--pci', '--tenant', 'alice', '--socket', server.ready.socket ?? '', ...args]);
  const shown = await show();
  expect(shown.stderr).toBe('');
  expect(shown.stdout.trimEnd().split('\n')).toEqual([
    'device    : nvme0',
    'function  : 5257:4e56, revision 01',
    'class     : 010802 (NVMe controller)',
    'subsystem : 5257:0001',
    '',
    'BAR0 : memory, 16 KiB, 64-bit, not prefetchable, readable: CAP VS CSTS',
    'BAR4 : memory, 8 KiB, 64-bit, not prefetchable, not readable',
    'ROM  : rom, 2 KiB',
    '',
    '[40] : power management',
    '[50] : PCI Express, version 2: link 8 GT/s, 4 lanes',
    '[90] : MSI-X: 33 vectors, table in BAR4 at 0x0, pending bits in BAR4 at 0x1000',
    '',
    'CAP  : 0x0a0103ff (BAR0 at 0x0)',
    'CAP  : 0x00000020 (BAR0 at 0x4)',
    'VS   : 0x00010400 (BAR0 at 0x8)',
    'CSTS : 0x00000001 (BAR0 at 0x1c)',
  ]);
  expect(JSON.parse((await show('-o', 'json')).stdout)).toMatchObject({
    vendor: 0x5257,
    class: 0x01_08_02,
    regions: [{ name: 'BAR0' }, {}, { name: 'ROM' }],
  });
  expect(await server.stop()).toEqual(ORDERLY);
});
