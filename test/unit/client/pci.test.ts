/** The PCI function behind a device, over a scripted server: what is asked, and what is made of the answers. */
import { afterEach, describe, expect, it } from 'vitest';
import { ConnectionError, RefusedError } from '../../../src/client/index.js';
import { device, server, start, stop } from '../../support/scripted-client.js';
import type { Fields } from '../../support/scripted-server.js';
import { errorOf } from '../../support/settled.js';

afterEach(stop);

const BAR0: Fields = { index: 0, name: 'BAR0', kind: 'memory', bytes: 16_384, is64: true, prefetchable: false, readable: [] };
const rom = (bytes: number): Fields => ({ ...BAR0, index: 6, name: 'ROM', kind: 'rom', bytes });

describe('configuration space', () => {
  it('is read and written by offset and width, for the lease', async () => {
    await start();
    server.script('readPciConfig', () => ({ value: 0x1af4 }));
    server.script('writePciConfig', ({ value }) => ({ resetAsked: value === 0x8000 }));
    expect(await device.pci.readConfig(0x2c, 2)).toBe(0x1af4);
    expect(await device.pci.writeConfig(0x58, 2, 0x8000)).toBe(true);
    expect(await device.pci.writeConfig(0x04, 2, 6)).toBe(false);
    expect(server.messages('readPciConfig')).toMatchObject([{ lease: device.lease, offset: 0x2c, width: 2 }]);
    expect(server.messages('writePciConfig')[1]).toMatchObject({ lease: device.lease, offset: 0x04, width: 2, value: 6 });
  });

  it('a refusal has its code and its field', async () => {
    await start();
    server.script('readPciConfig', ({ id }, connection) => (connection.refuse(Number(id), 'outsideConfig', 'offset', '4096'), null));
    const error = await errorOf(device.pci.readConfig(4096, 4));
    expect(error).toBeInstanceOf(RefusedError);
    expect(error).toMatchObject({ code: 'outsideConfig', number: 166, field: 'offset', value: '4096' });
  });
});

describe('regions', () => {
  it('are told with what may be read', async () => {
    await start();
    const readable = [{ name: 'VS', offset: 8, bytes: 4, width: 4 }];
    server.script('listPciRegions', () => ({ regions: [{ ...BAR0, readable }] }));
    server.script('readPciRegister', () => ({ value: 0x0001_0400 }));
    expect(await device.pci.regions()).toEqual([{ ...BAR0, readable }]);
    expect(await device.pci.readRegister(0, 8)).toBe(0x0001_0400);
    expect(server.messages('readPciRegister')).toMatchObject([{ lease: device.lease, bar: 0, offset: 8, width: 4 }]);
  });
});

describe('the ROM', () => {
  it('is switched on, read in parts, and put back as it was', async () => {
    await start();
    const content = Buffer.alloc(150_000, 'rom');
    let register = 0xfe00_0000;
    server.script('listPciRegions', () => ({ regions: [BAR0, rom(content.length)] }));
    server.script('readPciConfig', () => ({ value: register }));
    server.script('writePciConfig', ({ value }) => ((register = value as number), { resetAsked: false }));
    const enabled: number[] = [];
    server.script('readPciRom', ({ offset, length }) => {
      enabled.push(register & 1);
      return { data: content.subarray(Number(offset), Number(offset) + Number(length)) };
    });
    expect(Buffer.from(await device.pci.rom()).equals(content)).toBe(true);
    expect([register, enabled]).toEqual([0xfe00_0000, [1, 1, 1]]);
  });

  it('is put back as it was when it cannot be read', async () => {
    await start();
    let register = 0;
    server.script('listPciRegions', () => ({ regions: [rom(512)] }));
    server.script('readPciConfig', () => ({ value: register }));
    server.script('writePciConfig', ({ value }) => ((register = value as number), { resetAsked: false }));
    server.script('readPciRom', ({ id }, connection) => (connection.refuse(Number(id), 'leaseNotActive'), null));
    expect(await errorOf(device.pci.rom())).toMatchObject({ code: 'leaseNotActive' });
    expect(register).toBe(0);
  });

  it('that there is not is refused here', async () => {
    await start();
    server.script('listPciRegions', () => ({ regions: [BAR0] }));
    expect(await errorOf(device.pci.rom())).toMatchObject({ code: 'noRom', severity: 'refuse' });
    expect(server.messages('writePciConfig')).toEqual([]);
  });
});

describe('an answer that is not one ends the connection', () => {
  it.each<[name: string, type: string, answer: Fields]>([
    ['a value wider than was asked for', 'readPciConfig', { value: 0x1_0000 }],
    ['no value', 'readPciConfig', {}],
    ['a region of no kind', 'listPciRegions', { regions: [{ ...BAR0, kind: 'other' }] }],
    ['a register of no width', 'listPciRegions', { regions: [{ ...BAR0, readable: [{ name: 'VS', offset: 8, bytes: 4, width: 3 }] }] }],
  ])('%s', async (_name, type, answer) => {
    await start();
    server.script(type, () => answer);
    const asked = type === 'readPciConfig' ? device.pci.readConfig(0, 2) : device.pci.regions();
    expect(await errorOf(asked)).toBeInstanceOf(ConnectionError);
  });
});
