import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type BlockDevice, type Client, connect, type Device, RefusedError } from '../../../src/client/index.js';
import { EntryFlag, Operation, RANGE_BYTES } from '../../../src/protocol/index.js';
import { bytes } from '../../support/settled.js';
import { ScriptedServer, share, type Submitted } from '../../support/scripted-server.js';

let server: ScriptedServer;
let client: Client;
let device: Device;
let disk: BlockDevice;
let submitted: Submitted[];

beforeEach(async () => {
  server = await ScriptedServer.start({ shares: [share(0, 'data', 4_096, 512, 64), share(1, 'log', 1_024, 4_096)] });
  submitted = [];
  server.onSubmit = (batch, connection) => {
    submitted.push(batch);
    connection.complete(batch);
  };
  client = await connect({ socket: server.path });
  device = await client.openDevice('nvme0');
  disk = device.share('data');
});

afterEach(async () => {
  await client.close();
  await server.stop();
});

describe('a share', () => {
  it('is found by name and by index, and says what it is', () => {
    expect(device.share(1).name).toBe('log');
    expect([disk.name, disk.index, disk.blocks, disk.blockBytes, disk.size, disk.maxBlocks]).toEqual(['data', 0, 4_096, 512, 4_096 * 512, 64]);
    expect(disk.access).toEqual(['read', 'write']);
    expect(disk.operations).toContain('deallocate');
    for (const which of ['none', 2, undefined])
      expect(() => device.share(which)).toThrow(expect.objectContaining({ code: 'unknownShare', number: 8 }));
  });

  it('reads what was written, in bytes and in blocks', async () => {
    const data = bytes(2 * 512);
    await disk.write(1_024, data);
    expect(await disk.read(1_024, 1_024)).toEqual(data);
    expect(await disk.readBlocks(3, 1)).toEqual(data.subarray(512));
    await disk.writeBlocks(0, data.subarray(512));
    expect(server.blocks[0].subarray(0, 512)).toEqual(data.subarray(512));
    const entry = submitted[0].entries[0];
    expect(entry).toMatchObject({
      operation: Operation.write,
      flags: EntryFlag.inline,
      share: 0,
      lba: 2n,
      blocks: 2,
      length: 1_024,
      region: 0,
      offset: 0n,
    });
    expect(entry).toMatchObject({ lease: device.lease, queue: 0, generation: 1 });
  });

  it('reads into memory of the program, and only there', async () => {
    server.blocks[0].set(bytes(512), 512);
    const memory = new Uint8Array(2_048);
    const into = memory.subarray(512, 1_024);
    await disk.read(512, 512, { into });
    expect(Buffer.from(memory.subarray(512, 1_024))).toEqual(bytes(512));
    expect(memory.subarray(0, 512).every((value) => value === 0)).toBe(true);
    expect(memory.subarray(1_024).every((value) => value === 0)).toBe(true);
    await expect(disk.read(0, 512, { into: new Uint8Array(100) })).rejects.toMatchObject({ code: 'invalidArgument', field: 'into' });
  });

  it('writes durably when asked to', async () => {
    await disk.write(0, bytes(512), { durable: true });
    await disk.writeZeroes(0, 512, { durable: true });
    expect(submitted.map(({ entries }) => entries[0].flags)).toEqual([EntryFlag.inline | EntryFlag.forceUnitAccess, EntryFlag.forceUnitAccess]);
  });

  it('flushes, zeroes and compares', async () => {
    await disk.write(0, bytes(1_024));
    expect(await disk.compare(0, bytes(1_024))).toBe(true);
    expect(await disk.compareBlocks(1, bytes(512))).toBe(false);
    await disk.writeZeroes(512, 512);
    await disk.writeZeroBlocks(0, 1);
    expect(server.blocks[0].subarray(0, 1_024).every((value) => value === 0)).toBe(true);
    await disk.flush();
    const flush = submitted[submitted.length - 1].entries[0];
    expect(flush).toMatchObject({ operation: Operation.flush, flags: 0, lba: 0n, blocks: 0, length: 0, region: 0 });
  });

  it('deallocates ranges as an attachment, and cuts more than 256 of them', async () => {
    await disk.deallocate([{ offset: 512, length: 1_024 }]);
    await disk.deallocateBlocks({ lba: 7, blocks: 9 });
    const [first, second] = submitted;
    expect(first.entries[0]).toMatchObject({ operation: Operation.deallocate, flags: EntryFlag.inline, lba: 0n, blocks: 0, length: RANGE_BYTES });
    expect([...new Uint32Array(Uint8Array.from(first.data[0]).buffer)]).toEqual([1, 0, 2, 0]);
    expect([...new Uint32Array(Uint8Array.from(second.data[0]).buffer)]).toEqual([7, 0, 9, 0]);
    submitted.length = 0;
    await disk.deallocateBlocks(Array.from({ length: 300 }, (_, lba) => ({ lba, blocks: 1 })));
    expect(submitted.flatMap(({ entries }) => entries.map(({ length }) => length))).toEqual([256 * RANGE_BYTES, 44 * RANGE_BYTES]);
  });

  it('cuts a long transfer at maxBlocks and puts it together again', async () => {
    const data = bytes(300 * 512);
    await disk.write(512, data);
    const parts = submitted.flatMap(({ entries }) => entries.map(({ lba, blocks }) => [Number(lba), blocks]));
    expect(parts).toEqual([
      [1, 64],
      [65, 64],
      [129, 64],
      [193, 64],
      [257, 44],
    ]);
    expect(server.blocks[0].subarray(512, 512 + data.length)).toEqual(data);
    expect(await disk.read(512, data.length)).toEqual(data);
    expect(await disk.compare(512, data)).toBe(true);
    await disk.writeZeroes(0, disk.size);
    expect(submitted[submitted.length - 1].entries.length).toBe(64);
  });

  it('keeps block addresses above 2^32 whole', async () => {
    const big = await ScriptedServer.start({ shares: [share(0, 'huge', 2 ** 40, 4_096)] });
    big.onSubmit = (batch, connection) => {
      submitted.push(batch);
      connection.complete(batch, () => ({ code: 0 }));
    };
    const other = await connect({ socket: big.path });
    const huge = (await other.openDevice('nvme0')).share();
    await huge.writeZeroBlocks(2 ** 33 + 5, 1);
    expect(submitted[0].entries[0].lba).toBe(2n ** 33n + 5n);
    await huge.deallocateBlocks({ lba: 2 ** 33, blocks: 2 ** 32 });
    expect([...new Uint32Array(Uint8Array.from(submitted[1].data[0]).buffer)]).toEqual([0, 2, 0xffff_ffff, 0, 0xffff_ffff, 2, 1, 0]);
    await other.close();
    await big.stop();
  });

  it('refuses before anything is sent what could not succeed', async () => {
    const sent = server.received.length;
    const cases: [Promise<unknown>, string, string][] = [
      [disk.read(1, 512), 'misaligned', 'offset'],
      [disk.read(0, 100), 'misaligned', 'length'],
      [disk.write(0, bytes(100)), 'misaligned', 'length'],
      [disk.write(0, bytes(0)), 'blocksZero', 'blocks'],
      [disk.read(disk.size, 512), 'lbaOutsideShare', 'lba'],
      [disk.read(disk.size - 512, 1_024), 'lbaOutsideShare', 'lba'],
      [disk.readBlocks(2 ** 53, 1), 'invalidArgument', 'offset'],
      [disk.readBlocks(-1, 1), 'invalidArgument', 'offset'],
      [disk.read(Number.NaN, 512), 'invalidArgument', 'offset'],
      [disk.read(0, Infinity), 'invalidArgument', 'length'],
      [disk.read(0, 2 ** 50), 'lbaOutsideShare', 'lba'],
      [disk.write(0, 'text' as unknown as Uint8Array), 'invalidArgument', 'data'],
      [disk.writeZeroes(0, 0), 'blocksZero', 'blocks'],
      [disk.compare(256, bytes(512)), 'misaligned', 'offset'],
      [disk.deallocate([]), 'blocksZero', 'blocks'],
      [disk.deallocateBlocks({ lba: 4_095, blocks: 2 }), 'lbaOutsideShare', 'lba'],
    ];
    for (const [promise, code, field] of cases) {
      const error: unknown = await promise.then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(RefusedError);
      expect(error).toMatchObject({ code, field });
    }
    expect(server.received.length).toBe(sent);
  });
});

describe('a region', () => {
  it('holds data that requests move without the socket', async () => {
    const region = await client.allocate(10_000);
    expect(region.bytes).toBe(12_288);
    const data = bytes(2_048);
    await region.write(4, data);
    await disk.writeFrom(region, 4, 512, 2_048);
    expect(server.blocks[0].subarray(512, 2_560)).toEqual(data);
    expect(submitted[0].entries[0]).toMatchObject({ flags: 0, region: region.region, offset: 4n, length: 2_048 });
    expect(submitted[0].data[0].length).toBe(0);
    await disk.readInto(region, 8_192, 512, 2_048);
    expect(await region.read(8_192, 2_048)).toEqual(data);
    expect(await disk.compareWith(region, 8_192, 512, 2_048)).toBe(true);
    expect(await disk.compareWith(region, 0, 512, 2_048)).toBe(false);
    await region.unmap();
    await region.close();
    expect(server.messages('unmapMemory').length).toBe(1);
    await expect(region.read(0, 1)).rejects.toMatchObject({ code: 'closed' });
    await expect(disk.readInto(region, 0, 0, 512)).rejects.toMatchObject({ code: 'closed' });
  });

  it('is advanced through by the parts of a long transfer', async () => {
    const region = await client.allocate(128 * 512);
    server.blocks[0].set(bytes(128 * 512));
    await disk.readInto(region, 0, 0, 128 * 512);
    expect(submitted.flatMap(({ entries }) => entries.map(({ offset }) => offset))).toEqual([0n, 64n * 512n]);
    expect(await region.read(0, 128 * 512)).toEqual(bytes(128 * 512));
  });

  it('is written and read in several messages when it is large', async () => {
    const data = bytes(6 * 1_048_576 + 5);
    const region = await client.allocate(data.length + 3);
    await region.write(3, data);
    expect(server.messages('writeMemory').length).toBe(7);
    expect((await region.read(3, data.length)).equals(data)).toBe(true);
    await region.write(0, new Uint8Array(0));
    expect((await region.read(0, 0)).length).toBe(0);
  });

  it('refuses what lies outside it, or is misaligned for the device', async () => {
    const region = await client.allocate(4_096);
    await expect(region.write(4_090, bytes(7))).rejects.toMatchObject({ code: 'rangeOutsideRegion' });
    await expect(region.read(-1, 1)).rejects.toMatchObject({ code: 'rangeOutsideRegion' });
    await expect(region.read(0, Number.NaN)).rejects.toMatchObject({ code: 'invalidArgument' });
    await expect(disk.readInto(region, 2, 0, 512)).rejects.toMatchObject({ code: 'offsetMisaligned' });
    await expect(disk.readInto(region, 4_000, 0, 512)).rejects.toMatchObject({ code: 'rangeOutsideRegion' });
    await expect(client.allocate(0)).rejects.toMatchObject({ code: 'invalidArgument' });
    await expect(client.allocate(2 ** 31 + 1)).rejects.toMatchObject({ code: 'invalidArgument' });
  });

  it('is still mapped after a refused unmap', async () => {
    const region = await client.allocate(4_096);
    server.script('unmapMemory', (message, connection) => {
      connection.refuse(Number(message['id']), 'regionBusy', 'region', String(message['region']));
      return null;
    });
    await expect(region.unmap()).rejects.toMatchObject({ code: 'regionBusy', number: 126, severity: 'refuse' });
    server.scripts.delete('unmapMemory');
    expect((await region.read(0, 4)).length).toBe(4);
    await region[Symbol.asyncDispose]();
    expect(server.connection.regions.size).toBe(0);
  });
});
