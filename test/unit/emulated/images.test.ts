import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { SyncService } from '../../../src/hw/emulated/durability.js';
import { type EmulatedOptions, openEmulated, prepareEmulated } from '../../../src/hw/emulated/index.js';
import {
  AdminOpcode,
  CC,
  CSTS,
  FeatureId,
  LogPageId,
  NvmOpcode,
  SmartLog,
  Sqe,
  Status,
  getField,
  putField,
} from '../../../src/hw/nvme/spec/index.js';
import { Shared } from '../../../src/hw/emulated/shared.js';
import { shm } from '../../../src/native/shm.js';
import { type RawCompletion, RawNvme, type RawPair, blocks, quiet } from '../../support/raw-nvme.js';
import { MIB, PAGE, pattern, startHost } from './world.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringwarden-'));
});
afterEach(() => rmSync(folder, { recursive: true }));
const file = (name: string): string => join(folder, name);

describe.each(['stepped', 'thread'] as const)('an image, %s', (mode) => {
  /** Runs `work` on a controller of its own, from start to end. */
  async function session(options: EmulatedOptions, work: (host: RawNvme, pair: RawPair) => Promise<void>): Promise<void> {
    const prepared = await prepareEmulated({ mode, ...options });
    const backing = openEmulated(prepared.handle);
    try {
      const host = await RawNvme.start(backing);
      await work(host, await host.createPair(1));
      await host.stop();
    } finally {
      backing.dispose();
      await prepared.dispose();
    }
  }

  test('keeps its blocks over a restart, where other tools find them', async () => {
    const options = { namespaces: [{ bytes: MIB, blockBytes: 512 as const, image: file('a') }] };
    const content = new Uint8Array(PAGE);
    pattern(content, 5);
    await session(options, async (host, pair) => {
      const data = await host.allocate(PAGE);
      data.u8.set(content);
      expect((await host.io(pair, { opcode: NvmOpcode.write, nsid: 1, prp1: data.at(0), words: blocks(100, 8) })).status).toBe(0);
      expect((await host.io(pair, { opcode: NvmOpcode.flush, nsid: 1 })).status).toBe(0);
      expect(Uint8Array.from(readFileSync(file('a')).subarray(51_200, 51_200 + PAGE))).toEqual(content);
    });
    await session(options, async (host, pair) => {
      const data = await host.allocate(PAGE);
      expect((await host.io(pair, { opcode: NvmOpcode.read, nsid: 1, prp1: data.at(0), words: blocks(100, 8) })).status).toBe(0);
      expect(Uint8Array.from(data.u8)).toEqual(content);
    });
  });

  test('namespaces can be windows of one file, one behind the other', async () => {
    const image = file('a');
    const options = {
      namespaces: [
        { bytes: 3 * 512, blockBytes: 512 as const, image },
        { bytes: 8192, image },
        { bytes: 4096, image, imageOffset: 65_536 },
      ],
    };
    await session(options, async (host, pair) => {
      const data = await host.allocate(PAGE);
      for (const [nsid, count] of [
        [1, 3],
        [2, 1],
        [3, 1],
      ]) {
        data.u8.fill(nsid);
        expect((await host.io(pair, { opcode: NvmOpcode.write, nsid, prp1: data.at(0), words: blocks(0, count) })).status).toBe(0);
      }
    });
    const bytes = readFileSync(image);
    expect(bytes.length).toBe(65_536 + 4096);
    const runs = { 0: 1, 1535: 1, 1536: 0, 4095: 0, 4096: 2, 8191: 2, 8192: 0, 65_535: 0, 65_536: 3, 69_631: 3 };
    for (const [at, value] of Object.entries(runs)) expect(bytes[Number(at)], at).toBe(value);
  });

  test('flush, forced writes, and writes without a cache are durable when they complete', async () => {
    await session({ namespaces: [{ bytes: MIB, image: file('a') }, { bytes: MIB }, { bytes: MIB, image: file('b') }] }, async (host, pair) => {
      const data = await host.allocate(PAGE);
      const send = (nsid: number, flags = 0): Promise<{ status: number }> =>
        host.io(pair, { opcode: NvmOpcode.write, nsid, prp1: data.at(0), words: blocks(0, 1, flags) });
      for (let turn = 0; turn < 3; turn++) {
        for (const nsid of [1, 2, 3]) expect((await send(nsid)).status).toBe(0);
        for (const nsid of [1, 2, 3, 0xffff_ffff]) expect((await host.io(pair, { opcode: NvmOpcode.flush, nsid })).status).toBe(0);
        expect((await send(1, 2 ** 30)).status).toBe(0);
      }
      await host.admin({ opcode: AdminOpcode.setFeatures, words: { [Sqe.cdw10]: FeatureId.volatileWriteCache, [Sqe.cdw11]: 0 } });
      for (const nsid of [1, 2, 3]) expect((await send(nsid)).status).toBe(0);
      expect((await host.io(pair, { opcode: NvmOpcode.writeZeroes, nsid: 3, words: blocks(0, 256) })).status).toBe(0);
    });
  });

  test('zeros of many blocks take many steps, in which other commands pass, and can be forced to be durable', async () => {
    await session({ namespaces: [{ bytes: 64 * MIB, blockBytes: 512, image: file('a') }] }, async (host, pair) => {
      const data = await host.allocate(PAGE);
      data.u8.fill(0xff);
      await host.io(pair, { opcode: NvmOpcode.write, nsid: 1, prp1: data.at(0), words: blocks(65_000, 8) });
      const long = host.write(pair.submission, { opcode: NvmOpcode.writeZeroes, nsid: 1, words: blocks(0, 65_536, 2 ** 30) });
      const short = host.submit(pair.submission, { opcode: NvmOpcode.read, nsid: 1, prp1: data.at(0), words: blocks(100_000, 8) });
      expect(await host.completion(pair.completion)).toMatchObject({ commandId: short, status: 0 });
      expect(await host.completion(pair.completion)).toMatchObject({ commandId: long, status: 0 });
      data.u8.fill(0xff);
      await host.io(pair, { opcode: NvmOpcode.read, nsid: 1, prp1: data.at(0), words: blocks(65_000, 8) });
      expect(data.u8.every((byte) => byte === 0)).toBe(true);
    });
  });

  test('zeros in the making can be aborted, and end with their queue', async () => {
    await session({ namespaces: [{ bytes: 2 ** 40, image: file('a') }] }, async (host, pair) => {
      const data = await host.allocate(PAGE);
      data.u32.set([0, 2 ** 28, 0, 0]);
      const command = { opcode: NvmOpcode.datasetManagement, nsid: 1, prp1: data.at(0), words: { [Sqe.cdw11]: 4 } };
      const first = host.submit(pair.submission, command);
      await quiet(host.backing, 2);
      expect(host.peek(pair.completion)).toBeUndefined();
      expect(await host.admin({ opcode: AdminOpcode.abort, words: { [Sqe.cdw10]: (1 | (first << 16)) >>> 0 } })).toMatchObject({
        status: 0,
        dword0: 0,
      });
      expect(await host.completion(pair.completion)).toMatchObject({ commandId: first, status: Status.abortRequested });
      const second = host.submit(pair.submission, command);
      await quiet(host.backing, 2);
      await host.admin({ opcode: AdminOpcode.deleteSubmissionQueue, words: { [Sqe.cdw10]: 1 } });
      expect(await host.completion(pair.completion)).toMatchObject({ commandId: second, status: Status.abortedQueueDeleted });
    });
  });

  test('many flushes at once all end', async () => {
    await session({ namespaces: [{ bytes: MIB, image: file('a') }] }, async (host, pair) => {
      const data = await host.allocate(PAGE);
      const sent = Array.from({ length: 60 }, (_, index) =>
        host.write(pair.submission, {
          opcode: index % 2 === 0 ? NvmOpcode.write : NvmOpcode.flush,
          nsid: 1,
          prp1: data.at(0),
          words: blocks(index, 1),
        }),
      );
      host.ring(pair.submission);
      const done: number[] = [];
      for (let index = 0; index < 60; index++) {
        const { commandId, status } = await host.completion(pair.completion);
        expect(status).toBe(0);
        done.push(commandId);
      }
      expect(done.toSorted((a, b) => a - b)).toEqual(sent);
    });
  });

  test('a shutdown ends when everything is durable', async () => {
    await session({ namespaces: [{ bytes: MIB, image: file('a') }] }, async (host, pair) => {
      const data = await host.allocate(PAGE);
      await host.io(pair, { opcode: NvmOpcode.write, nsid: 1, prp1: data.at(0), words: blocks(0, 1) });
      host.bar.write32(CC.offset, ((await host.read32(CC.offset)) | putField(CC.fields.shn, 1)) >>> 0);
      expect(getField(CSTS.fields.shst, await host.status((csts) => getField(CSTS.fields.shst, csts) === 2))).toBe(2);
    });
  });

  test('is held exclusively, and free again after dispose', async () => {
    const options = { namespaces: [{ bytes: MIB, image: file('a') }] };
    const prepared = await prepareEmulated({ mode, ...options });
    await expect(prepareEmulated(options)).rejects.toMatchObject({ code: 'busy', message: expect.stringContaining(file('a')) as string });
    await prepared.dispose();
    await prepared.dispose();
    await session(options, () => Promise.resolve());
  });

  test('zeros do not make a sparse file fat, and make real blocks zeros', async () => {
    const image = file('a');
    await session({ namespaces: [{ bytes: 64 * MIB, image }] }, async (host, pair) => {
      const data = await host.allocate(PAGE);
      data.u8.fill(0xff);
      await host.io(pair, { opcode: NvmOpcode.write, nsid: 1, prp1: data.at(0), words: blocks(9_999, 1) });
      expect((await host.io(pair, { opcode: NvmOpcode.writeZeroes, nsid: 1, words: blocks(0, 16_384) })).status).toBe(0);
      expect((await host.io(pair, { opcode: NvmOpcode.read, nsid: 1, prp1: data.at(0), words: blocks(9_999, 1) })).status).toBe(0);
      expect(data.u8.every((byte) => byte === 0)).toBe(true);
    });
    expect(statSync(image).blocks * 512).toBeLessThan(MIB);
  });
});

describe('an image that cannot be had', () => {
  const prepare = (image: string, bytes = MIB): Promise<unknown> =>
    prepareEmulated({
      namespaces: [
        { bytes: MIB, image: file('first') },
        { bytes, image },
      ],
    });

  test.each([
    ['in a folder that is not there', () => file('none/a'), MIB, 'absent'],
    ['a folder', () => folder, MIB, 'absent'],
    ['a device', () => '/dev/full', MIB, 'unsupported'],
    ['larger than a file can be', () => file('a'), 2 ** 53 - 4096, 'exhausted'],
  ])('%s: the error says so, and nothing is left behind', async (_what, path, bytes, code) => {
    await expect(prepare(path(), bytes)).rejects.toMatchObject({ code, message: expect.stringContaining(path()) as string });
    expect(existsSync(file('first'))).toBe(false);
    expect(existsSync(file('a'))).toBe(false);
    writeFileSync(file('first'), 'content');
    await expect(prepare(path(), bytes)).rejects.toMatchObject({ code });
    expect(readFileSync(file('first'), 'latin1').slice(0, 7)).toBe('content');
  });

  test('the same file under two names', async () => {
    writeFileSync(file('a'), '');
    symlinkSync(file('a'), file('b'));
    const namespaces = [
      { bytes: MIB, image: file('a') },
      { bytes: MIB, image: file('b') },
    ];
    await expect(prepareEmulated({ namespaces })).rejects.toMatchObject({ code: 'busy' });
  });

  test('windows that overlap', async () => {
    const image = file('a');
    await expect(
      prepareEmulated({
        namespaces: [
          { bytes: MIB, image },
          { bytes: MIB, image, imageOffset: MIB - 4096 },
        ],
      }),
    ).rejects.toThrow(RangeError);
    expect(existsSync(image)).toBe(false);
  });

  test('a file that is too short grows, one that is longer stays', async () => {
    writeFileSync(file('short'), Buffer.alloc(1000, 1));
    writeFileSync(file('long'), Buffer.alloc(2 * MIB, 2));
    const prepared = await prepareEmulated({
      namespaces: [
        { bytes: MIB, image: file('short') },
        { bytes: MIB, image: file('long') },
      ],
    });
    await prepared.dispose();
    expect(statSync(file('short')).size).toBe(MIB);
    expect(readFileSync(file('short'))[999]).toBe(1);
    expect(statSync(file('long')).size).toBe(2 * MIB);
  });
});

describe('a medium that fails', () => {
  async function smart(host: RawNvme): Promise<{ mediaErrors: number; errorEntries: number }> {
    const log = await host.allocate(PAGE);
    await host.admin({ opcode: AdminOpcode.getLogPage, prp1: log.at(0), words: { [Sqe.cdw10]: LogPageId.smart | (127 << 16) } });
    return { mediaErrors: log.u8[SmartLog.mediaErrors.at], errorEntries: log.u8[SmartLog.errorEntries.at] };
  }

  test('a full disk is a write fault, and reads go on', async () => {
    // Every write to this device says that the disk is full; every read gives zeros.
    const full = openSync('/dev/full', 'r+');
    const options = { namespaces: [{ bytes: MIB, image: file('a') }] };
    const { host } = await startHost(options, 0, (handle) => ({ ...handle, images: [full] }));
    const pair = await host.createPair(1);
    const data = await host.allocate(PAGE);
    data.u8.fill(1);
    const send = (opcode: number): Promise<{ status: number; doNotRetry: boolean }> =>
      host.io(pair, { opcode, nsid: 1, prp1: data.at(0), words: blocks(0, 1) });
    expect(await send(NvmOpcode.write)).toMatchObject({ status: Status.writeFault, doNotRetry: false });
    expect((await send(NvmOpcode.read)).status).toBe(0);
    // Nothing but zeros is there already.
    expect((await send(NvmOpcode.writeZeroes)).status).toBe(0);
    expect(await smart(host)).toEqual({ mediaErrors: 1, errorEntries: 1 });
    closeSync(full);
  });

  test('a file that somebody cut is an unrecovered read error where it is missing', async () => {
    const { host } = await startHost({ namespaces: [{ bytes: MIB, image: file('a') }] });
    const pair = await host.createPair(1);
    const data = await host.allocate(PAGE);
    truncateSync(file('a'), 65_536);
    const read = (opcode: number, lba: number): Promise<{ status: number }> =>
      host.io(pair, { opcode, nsid: 1, prp1: data.at(0), words: blocks(lba, 1) });
    expect((await read(NvmOpcode.read, 15)).status).toBe(0);
    expect((await read(NvmOpcode.read, 16)).status).toBe(Status.unrecoveredReadError);
    expect((await read(NvmOpcode.compare, 16)).status).toBe(Status.unrecoveredReadError);
    // Writing brings the blocks back.
    expect((await read(NvmOpcode.write, 16)).status).toBe(0);
    expect((await read(NvmOpcode.read, 16)).status).toBe(0);
    expect(await smart(host)).toEqual({ mediaErrors: 2, errorEntries: 2 });
  });

  test('a descriptor that does not work is an error status, for every command, and the controller lives on', async () => {
    const options = { namespaces: [{ bytes: MIB, image: file('a') }, { bytes: MIB }] };
    const { host } = await startHost(options, 0, (handle) => ({ ...handle, images: [1_000_000] }));
    const pair = await host.createPair(1);
    const data = await host.allocate(2 * PAGE);
    const send = (opcode: number, nsid: number): Promise<{ status: number }> =>
      host.io(pair, { opcode, nsid, prp1: data.at(0), words: { ...blocks(0, 1), [Sqe.cdw11]: opcode === NvmOpcode.datasetManagement ? 4 : 0 } });
    data.u32.set([0, 1, 0, 0]);
    expect((await send(NvmOpcode.write, 1)).status).toBe(Status.writeFault);
    expect((await send(NvmOpcode.read, 1)).status).toBe(Status.unrecoveredReadError);
    expect((await send(NvmOpcode.writeZeroes, 1)).status).toBe(Status.writeFault);
    expect((await send(NvmOpcode.datasetManagement, 1)).status).toBe(Status.writeFault);
    expect((await send(NvmOpcode.write, 2)).status).toBe(0);
  });

  test('a flush that fails is a write fault, and so is a forced write; a later one may succeed', async () => {
    const descriptors = [1_000_000];
    let signal = (): void => undefined;
    const { backing, host } = await startHost({ namespaces: [{ bytes: MIB, image: file('a') }, { bytes: MIB }] }, 0, (handle) => {
      // A durability service of our own, whose descriptor does not work.
      const shared = new Shared(handle.shared);
      const service = new SyncService(shared, descriptors, () => signal());
      const waker = shm().createWaker(() => service.wake());
      onTestFinished(async () => {
        shm().closeWaker(waker);
        await service.close();
      });
      signal = () => shared.signalEngine(handle.event);
      return { ...handle, waker };
    });
    const pair = await host.createPair(1);
    const data = await host.allocate(PAGE);
    const write = (flags = 0): Promise<RawCompletion> =>
      host.io(pair, { opcode: NvmOpcode.write, nsid: 1, prp1: data.at(0), words: blocks(0, 1, flags) });
    const flush = (nsid: number): Promise<RawCompletion> => host.io(pair, { opcode: NvmOpcode.flush, nsid });
    expect((await flush(1)).status).toBe(0);
    expect((await write()).status).toBe(0);
    expect(await flush(1)).toMatchObject({ status: Status.writeFault, doNotRetry: false, more: true });
    expect((await flush(0xffff_ffff)).status).toBe(Status.writeFault);
    expect((await flush(2)).status).toBe(0);
    expect((await write(2 ** 30)).status).toBe(Status.writeFault);
    const good = openSync(file('a'), 'r');
    onTestFinished(() => closeSync(good));
    descriptors[0] = good;
    expect((await flush(1)).status).toBe(0);
    expect((await flush(1)).status).toBe(0);
    expect(backing.lost).toBeUndefined();
  });

  test('without anybody to make it durable, a flush fails at once', async () => {
    const { host } = await startHost({ namespaces: [{ bytes: MIB, image: file('a') }] }, 0, (handle) => ({ ...handle, waker: 2 ** 31 - 1 }));
    const pair = await host.createPair(1);
    const data = await host.allocate(PAGE);
    expect((await host.io(pair, { opcode: NvmOpcode.flush, nsid: 1 })).status).toBe(0);
    expect((await host.io(pair, { opcode: NvmOpcode.write, nsid: 1, prp1: data.at(0), words: blocks(0, 1) })).status).toBe(0);
    expect((await host.io(pair, { opcode: NvmOpcode.flush, nsid: 1 })).status).toBe(Status.writeFault);
  });
});
