import { afterEach, describe, expect, it } from 'vitest';
import { DeviceError, RefusedError } from '../../../src/client/index.js';
import { Code, Field, Operation } from '../../../src/protocol/index.js';
import { client, device, disk, entriesHeld, held, hold, release, server, start, stop } from '../../support/scripted-client.js';
import { share } from '../../support/scripted-server.js';
import { bytes, errorOf, until } from '../../support/settled.js';

afterEach(stop);

describe('requests of one tick', () => {
  it('go out in one message, and those of the next tick in another', async () => {
    await start();
    hold();
    const all = [disk.flush(), disk.read(0, 512), disk.write(512, bytes(512))];
    await until(() => held.length === 1);
    all.push(disk.flush());
    await until(() => held.length === 2);
    expect(held.map(({ submitted }) => submitted.entries.length)).toEqual([3, 1]);
    release();
    release();
    await Promise.all(all);
    expect(device.inFlight).toBe(0);
  });

  it('have tags of their own, which are used again only with another sequence', async () => {
    await start({}, 2);
    const tags: bigint[] = [];
    server.onSubmit = (submitted, connection) => {
      tags.push(...submitted.entries.map(({ tag }) => tag));
      connection.complete(submitted);
    };
    for (let round = 0; round < 5; round++) await Promise.all([disk.flush(), disk.flush()]);
    expect(new Set(tags).size).toBe(10);
    expect(new Set(tags.map((tag) => tag & 0xffff_ffffn)).size).toBe(2);
  });

  it('may be completed in any order', async () => {
    await start();
    hold();
    server.blocks[0].set(bytes(4_096));
    const reads = Array.from({ length: 8 }, (_, block) => disk.readBlocks(block, 1));
    await until(() => held.length === 1);
    held[0].submitted.entries.reverse();
    held[0].submitted.data.reverse();
    release();
    expect(Buffer.concat(await Promise.all(reads))).toEqual(bytes(4_096));
  });
});

describe('the account of limits', () => {
  it('never has more in flight than the queue has entries', async () => {
    await start({}, 4);
    hold();
    const all = Array.from({ length: 11 }, () => disk.flush());
    for (let waiting = 11; waiting > 0; waiting -= 4) {
      await until(() => entriesHeld() === Math.min(4, waiting));
      expect(device.inFlight).toBe(Math.min(4, waiting));
      while (held.length > 0) release();
    }
    await Promise.all(all);
  });

  it('never has more in flight than the grant allows', async () => {
    await start({ maxInFlight: 3 }, 16);
    hold();
    expect(device.depth).toBe(3);
    const all = Array.from({ length: 5 }, () => disk.flush());
    await until(() => held.length === 1);
    expect(entriesHeld()).toBe(3);
    release();
    await until(() => held.length === 1);
    expect(entriesHeld()).toBe(2);
    release();
    await Promise.all(all);
  });

  it('never has more data in flight than the staging memory holds, in whole pages', async () => {
    await start({ limits: { stagingBytes: 3 * 4_096 } });
    hold();
    const all = [disk.read(0, 512), disk.write(0, bytes(512)), disk.flush(), disk.read(0, 512), disk.compare(0, bytes(512))];
    await until(() => held.length === 1);
    expect(held[0].submitted.entries.map(({ operation }) => operation)).toEqual([Operation.read, Operation.write, Operation.flush, Operation.read]);
    release();
    await until(() => held.length === 1);
    expect(entriesHeld()).toBe(1);
    release();
    await Promise.all(all);
  });

  it('shares the staging memory between devices, and wakes the one that waits', async () => {
    await start({ limits: { stagingBytes: 4_096 } });
    const other = (await client.openDevice('nvme1')).share(0);
    hold();
    const first = disk.read(0, 512);
    await until(() => held.length === 1);
    const second = other.read(0, 512);
    await client.ping();
    expect(held.length).toBe(1);
    release();
    await until(() => held.length === 1);
    expect(held[0].submitted.lease).toBe(2);
    release();
    await Promise.all([first, second]);
  });

  it('cuts messages at the limits of entries and of bytes', async () => {
    await start({ limits: { batch: 8, messageBytes: 100_000, stagingBytes: 1_048_576 } });
    const messages: number[] = [];
    server.onSubmit = (submitted, connection) => {
      messages.push(submitted.entries.length);
      connection.complete(submitted);
    };
    await Promise.all(Array.from({ length: 20 }, () => disk.flush()));
    expect(messages).toEqual([8, 8, 4]);
    await disk.write(0, bytes(1_048_576));
    expect(Math.max(...server.messageBytes)).toBeLessThanOrEqual(100_000);
    expect(server.blocks[0].subarray(0, 1_048_576).equals(bytes(1_048_576))).toBe(true);
  });

  it('cuts inline requests so that the staging memory holds several, and refuses blocks that never fit', async () => {
    await start({ limits: { stagingBytes: 64 * 1_024 } });
    hold();
    const read = disk.read(0, 128 * 512);
    await until(() => held.length === 1);
    expect(held[0].submitted.entries.map(({ length }) => length)).toEqual([16_384, 16_384, 16_384, 16_384]);
    release();
    await read;
    await stop();
    await start({ limits: { stagingBytes: 4_095 } });
    expect(await errorOf(disk.read(0, 512))).toMatchObject({ code: 'stagingFull' });
    expect(await errorOf(disk.deallocateBlocks({ lba: 0, blocks: 1 }))).toMatchObject({ code: 'stagingFull' });
    const region = await client.allocate(4_096);
    await disk.readInto(region, 0, 0, 512);
  });

  it('lets a small request pass a long transfer', async () => {
    await start({ shares: [share(0, 'data', 4_096, 512, 1)] }, 4);
    hold();
    const ends: string[] = [];
    const long = disk.read(0, 400 * 512).then(() => ends.push('long'));
    await until(() => held.length === 1);
    const short = disk.flush().then(() => ends.push('short'));
    while (ends.length < 2) {
      await until(() => held.length > 0 || ends.length === 2);
      release();
    }
    await Promise.all([long, short]);
    expect(ends).toEqual(['short', 'long']);
  });

  it('gives everything back: a thousand transfers through a narrow queue', async () => {
    await start({ limits: { stagingBytes: 16_384 } }, 2);
    server.blocks[0].set(bytes(2_097_152));
    for (let round = 0; round < 20; round++) {
      const reads = await Promise.all(Array.from({ length: 50 }, (_, index) => disk.read(index * 4_096, 4_096)));
      expect(Buffer.concat(reads).equals(bytes(50 * 4_096))).toBe(true);
    }
    expect(device.inFlight).toBe(0);
  });
});

describe('a batch', () => {
  it('is one message and one await, with a result for each request', async () => {
    await start();
    server.blocks[0].set(bytes(1_024));
    const batch = disk.batch();
    const read = batch.read(0, 1_024);
    const write = batch.writeBlocks(10, bytes(512, 7));
    const same = batch.compare(0, bytes(512));
    const differs = batch.compareBlocks(1, bytes(512));
    batch.flush();
    batch.writeZeroBlocks(20, 1);
    batch.deallocateBlocks([{ lba: 30, blocks: 2 }]);
    const block = batch.readBlocks(1, 1, { into: new Uint8Array(512) });
    expect(batch.length).toBe(8);
    expect(() => read.value).toThrow(RefusedError);
    await batch.submit();
    expect(server.messages('submit').length).toBe(1);
    expect(read.value).toEqual(bytes(1_024));
    expect(block.value).toEqual(bytes(1_024).subarray(512));
    expect([write.value, write.error, same.value, differs.value, differs.error]).toEqual([undefined, undefined, true, false, undefined]);
    expect(server.blocks[0].subarray(10 * 512, 11 * 512)).toEqual(bytes(512, 7));
  });

  it('uses regions too', async () => {
    await start();
    const region = await client.allocate(8_192);
    await region.write(0, bytes(4_096));
    const first = disk.batch();
    first.writeFrom(region, 0, 0, 4_096, { durable: true });
    await first.submit();
    const second = disk.batch();
    second.readInto(region, 4_096, 0, 4_096);
    const equal = second.compareWith(region, 0, 0, 4_096);
    await second.submit();
    expect(await region.read(4_096, 4_096)).toEqual(bytes(4_096));
    expect(equal.value).toBe(true);
  });

  it('says of each request what became of it', async () => {
    await start();
    server.onSubmit = (submitted, connection) =>
      connection.complete(submitted, (entry) =>
        entry.lba === 5n
          ? { code: Code.noWriteRight, field: Field.share, value: 3n }
          : entry.lba === 6n
            ? { code: Code.deviceError, status: 0x281 }
            : {},
      );
    const batch = disk.batch();
    const entries = [4, 5, 6, 7].map((lba) => batch.writeBlocks(lba, bytes(512)));
    await batch.settle();
    expect(entries.map(({ error }) => error?.code)).toEqual([undefined, 'noWriteRight', 'deviceError', undefined]);
    expect(() => entries[2].value).toThrow(DeviceError);
    const again = disk.batch();
    again.writeBlocks(6, bytes(512));
    const refused = again.writeBlocks(5, bytes(512));
    expect(await errorOf(again.submit())).toMatchObject({ code: 'deviceError' });
    expect(refused.error).toMatchObject({ code: 'noWriteRight' });
  });

  it('refuses bad arguments when they are added, and requests once it was sent', async () => {
    await start();
    const batch = disk.batch();
    expect(() => batch.read(1, 512)).toThrow(expect.objectContaining({ code: 'misaligned' }));
    expect(batch.length).toBe(0);
    await batch.submit();
    expect(() => batch.flush()).toThrow(RefusedError);
    expect(server.messages('submit').length).toBe(0);
  });

  it('that ended can be sent again, with what its memory holds then', async () => {
    await start();
    const batch = disk.batch();
    const data = bytes(1_024, 7);
    const write = batch.write(512, data);
    const read = batch.read(4_096, 512);
    await batch.submit();
    expect(read.value).toEqual(Buffer.alloc(512));
    data.fill(9);
    server.blocks[0].set(bytes(512), 4_096);
    server.onSubmit = (submitted, connection) => connection.complete(submitted, ({ lba }) => (lba === 1n ? { code: Code.noWriteRight } : {}));
    await batch.settle();
    expect(write.error).toMatchObject({ code: 'noWriteRight' });
    expect(read.value).toEqual(bytes(512));
    server.onSubmit = (submitted, connection) => connection.complete(submitted);
    await batch.submit();
    expect(write.error).toBeUndefined();
    expect(server.blocks[0].subarray(512, 1_536)).toEqual(Buffer.alloc(1_024, 9));
    expect(server.messages('submit').length).toBe(3);
  });

  it('is not sent again while it is under way, and its results are gone until it ends', async () => {
    await start();
    const batch = disk.batch();
    const read = batch.read(0, 512);
    await batch.submit();
    hold();
    const again = batch.submit();
    expect(await errorOf(batch.submit())).toMatchObject({ code: 'invalidArgument' });
    expect(() => read.value).toThrow(RefusedError);
    await until(() => held.length === 1);
    release();
    await again;
    expect(read.value).toEqual(Buffer.alloc(512));
  });

  it('longer than a message and than the queue is sent as there is room', async () => {
    await start({}, 16);
    const messages: number[] = [];
    server.onSubmit = (submitted, connection) => {
      messages.push(submitted.entries.length);
      connection.complete(submitted);
    };
    const batch = disk.batch();
    for (let index = 0; index < 40; index++) batch.flush();
    await batch.submit();
    expect(messages).toEqual([16, 16, 8]);
  });
});
