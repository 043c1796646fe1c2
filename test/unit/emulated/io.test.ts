import { describe, expect, test } from 'vitest';
import { NvmOpcode, Sqe, Status } from '../../../src/hw/nvme/spec/index.js';
import { type RawMemory, RawNvme, type RawPair, blocks, buildPrps, putAddress } from '../../support/raw-nvme.js';
import { MIB, PAGE, pattern, startHost } from './world.js';

const NAMESPACES = [
  { bytes: 8 * MIB, blockBytes: 512 as const },
  { bytes: 8 * MIB, blockBytes: 4096 as const },
];
const BLOCK_BYTES = [512, 4096];
const FUA = 2 ** 30;

interface Place {
  readonly nsid?: number;
  readonly lba?: number;
  readonly count?: number;
  readonly offset?: number;
  readonly flags?: number;
}

/** A started controller with one pair, data memory and PRP lists. */
class Disk {
  readonly host: RawNvme;
  readonly pair: RawPair;
  readonly data: RawMemory;
  readonly lists: RawMemory;

  constructor(host: RawNvme, pair: RawPair, data: RawMemory, lists: RawMemory) {
    this.host = host;
    this.pair = pair;
    this.data = data;
    this.lists = lists;
  }

  static async open(options: Parameters<typeof startHost>[0] = {}): Promise<Disk> {
    const { host } = await startHost({ namespaces: NAMESPACES, ...options });
    return new Disk(host, await host.createPair(1), await host.allocate(2 * MIB), await host.allocate(4 * PAGE));
  }

  async transfer(opcode: number, { nsid = 1, lba = 0, count = 1, offset = 0, flags = 0 }: Place = {}): Promise<number> {
    const prps = buildPrps(this.data, offset, count * (BLOCK_BYTES[nsid - 1] ?? 512), this.lists);
    return (await this.host.io(this.pair, { opcode, nsid, ...prps, words: blocks(lba, count, flags) })).status;
  }

  /** Dataset Management with these ranges. */
  async deallocate(ranges: readonly (readonly [lba: number, count: number])[], nsid = 1, attributes = 4): Promise<number> {
    const bytes = this.lists.u32;
    for (const [index, [lba, count]] of ranges.entries()) {
      bytes.set([0xffff_ffff, count], 4 * index);
      putAddress(bytes, 4 * index + 2, BigInt(lba));
    }
    const words = { [Sqe.cdw10]: ranges.length - 1, [Sqe.cdw11]: attributes };
    return (await this.host.io(this.pair, { opcode: NvmOpcode.datasetManagement, nsid, prp1: this.lists.at(0), words })).status;
  }

  bytes(offset: number, length: number): Uint8Array {
    return this.data.u8.subarray(offset, offset + length);
  }
}

describe.each([1, 2])('namespace %i', (nsid) => {
  const size = BLOCK_BYTES[nsid - 1];
  const total = (8 * MIB) / size;

  test('what is written is read, and what was never written is zeros', async () => {
    const disk = await Disk.open();
    pattern(disk.bytes(0, 32 * size), 1);
    expect(await disk.transfer(NvmOpcode.write, { nsid, lba: 5, count: 32 })).toBe(0);
    disk.bytes(MIB, 34 * size).fill(0xcc);
    expect(await disk.transfer(NvmOpcode.read, { nsid, lba: 4, count: 34, offset: MIB })).toBe(0);
    expect(disk.bytes(MIB, size).every((byte) => byte === 0)).toBe(true);
    expect(disk.bytes(MIB + size, 32 * size)).toEqual(disk.bytes(0, 32 * size));
    expect(disk.bytes(MIB + 33 * size, size).every((byte) => byte === 0)).toBe(true);
    expect(disk.data.u8[MIB + 34 * size]).toBe(0);
  });

  test('the last block is the last', async () => {
    const disk = await Disk.open();
    pattern(disk.bytes(0, 2 * size), 2);
    expect(await disk.transfer(NvmOpcode.write, { nsid, lba: total - 2, count: 2 })).toBe(0);
    for (const opcode of [NvmOpcode.read, NvmOpcode.write, NvmOpcode.compare, NvmOpcode.writeZeroes]) {
      for (const place of [{ lba: total - 1, count: 2 }, { lba: total }, { lba: total + 1 }, { lba: 2 ** 32 }, { lba: 2 ** 53 - 1 }]) {
        expect(await disk.transfer(opcode, { nsid, ...place })).toBe(Status.lbaOutOfRange);
      }
    }
    const words = { [Sqe.cdw10]: 0xffff_ffff, [Sqe.cdw11]: 0xffff_ffff, [Sqe.cdw12]: 0xffff };
    expect((await disk.host.io(disk.pair, { opcode: NvmOpcode.writeZeroes, nsid, words })).status).toBe(Status.lbaOutOfRange);
    expect(await disk.transfer(NvmOpcode.read, { nsid, lba: total - 2, count: 2, offset: MIB })).toBe(0);
    expect(disk.bytes(MIB, 2 * size)).toEqual(disk.bytes(0, 2 * size));
  });

  test('write zeroes clears its blocks and no others', async () => {
    const disk = await Disk.open();
    disk.bytes(0, 40 * size).fill(0xff);
    expect(await disk.transfer(NvmOpcode.write, { nsid, lba: 100, count: 40 })).toBe(0);
    expect((await disk.host.io(disk.pair, { opcode: NvmOpcode.writeZeroes, nsid, words: blocks(103, 30) })).status).toBe(0);
    expect(await disk.transfer(NvmOpcode.read, { nsid, lba: 100, count: 40 })).toBe(0);
    for (let block = 0; block < 40; block++) {
      const expected = block >= 3 && block < 33 ? 0 : 0xff;
      expect(disk.bytes(block * size, size).every((byte) => byte === expected)).toBe(true);
    }
  });

  test('write zeroes takes as many blocks as its field can say, whatever MDTS is', async () => {
    const disk = await Disk.open({ namespaces: [{ bytes: 65_536 * 512, blockBytes: 512 }, { bytes: 65_536 * 4096 }], mdts: 1 });
    expect((await disk.host.io(disk.pair, { opcode: NvmOpcode.writeZeroes, nsid, words: blocks(0, 65_536) })).status).toBe(0);
  });

  test('compare tells equal from different, down to the last byte', async () => {
    const disk = await Disk.open();
    pattern(disk.bytes(0, 20 * size), 3);
    expect(await disk.transfer(NvmOpcode.write, { nsid, lba: 9, count: 20 })).toBe(0);
    expect(await disk.transfer(NvmOpcode.compare, { nsid, lba: 9, count: 20 })).toBe(0);
    for (const at of [0, 1, 10 * size + 7, 20 * size - 1]) {
      disk.data.u8[at] ^= 1;
      expect(await disk.transfer(NvmOpcode.compare, { nsid, lba: 9, count: 20 })).toBe(Status.compareFailure);
      disk.data.u8[at] ^= 1;
    }
    expect(await disk.transfer(NvmOpcode.compare, { nsid, lba: 10, count: 19 })).toBe(Status.compareFailure);
  });

  test('deallocated blocks read as zeros, the others stay', async () => {
    const disk = await Disk.open();
    disk.bytes(0, 64 * size).fill(0xff);
    expect(await disk.transfer(NvmOpcode.write, { nsid, lba: 0, count: 64 })).toBe(0);
    expect(
      await disk.deallocate(
        [
          [1, 2],
          [10, 0],
          [60, 4],
          [total, 0],
        ],
        nsid,
      ),
    ).toBe(0);
    expect(await disk.transfer(NvmOpcode.read, { nsid, lba: 0, count: 64 })).toBe(0);
    for (let block = 0; block < 64; block++) {
      const expected = [1, 2, 60, 61, 62, 63].includes(block) ? 0 : 0xff;
      expect(disk.bytes(block * size, size).every((byte) => byte === expected)).toBe(true);
    }
  });

  test('a range that is not inside deallocates nothing', async () => {
    const disk = await Disk.open();
    disk.bytes(0, size).fill(0xff);
    expect(await disk.transfer(NvmOpcode.write, { nsid, lba: 0 })).toBe(0);
    for (const wrong of [
      [total, 1],
      [total - 1, 2],
      [total + 1, 0],
      [2 ** 53 - 1, 1],
      [0, 0xffff_ffff],
    ] as const) {
      expect(await disk.deallocate([[0, 1], wrong], nsid)).toBe(Status.lbaOutOfRange);
    }
    expect(await disk.transfer(NvmOpcode.read, { nsid, lba: 0, offset: PAGE })).toBe(0);
    expect(disk.bytes(PAGE, size).every((byte) => byte === 0xff)).toBe(true);
  });
});

describe('Dataset Management', () => {
  test('takes 256 ranges', async () => {
    const disk = await Disk.open();
    disk.bytes(0, 512 * 512).fill(0xff);
    expect(await disk.transfer(NvmOpcode.write, { count: 512 })).toBe(0);
    expect(await disk.deallocate(Array.from({ length: 256 }, (_, index) => [2 * index, 1] as const))).toBe(0);
    expect(await disk.transfer(NvmOpcode.read, { count: 512 })).toBe(0);
    for (let block = 0; block < 512; block++) expect(disk.data.u8[block * 512]).toBe(block % 2 === 0 ? 0 : 0xff);
  });

  test('without the deallocate attribute is a hint', async () => {
    const disk = await Disk.open();
    disk.bytes(0, 512).fill(0xff);
    expect(await disk.transfer(NvmOpcode.write)).toBe(0);
    expect(await disk.deallocate([[0, 1]], 1, 3)).toBe(0);
    expect(await disk.transfer(NvmOpcode.read, { offset: PAGE })).toBe(0);
    expect(disk.data.u8[PAGE]).toBe(0xff);
  });
});

describe('statuses', () => {
  test.each([0, 3, 0xffff_fffe, 0xffff_ffff])('namespace %i is invalid', async (nsid) => {
    const disk = await Disk.open();
    for (const opcode of [NvmOpcode.read, NvmOpcode.write, NvmOpcode.compare, NvmOpcode.writeZeroes, NvmOpcode.datasetManagement]) {
      expect(await disk.transfer(opcode, { nsid })).toBe(Status.invalidNamespace);
    }
    if (nsid !== 0xffff_ffff) expect(await disk.transfer(NvmOpcode.flush, { nsid })).toBe(Status.invalidNamespace);
  });

  test.each([NvmOpcode.writeUncorrectable, NvmOpcode.verify, NvmOpcode.copy, NvmOpcode.reservationAcquire, 0x03, 0x7f, 0x80, 0xff])(
    'opcode %i is invalid, in whatever namespace',
    async (opcode) => {
      const disk = await Disk.open();
      for (const nsid of [1, 9]) expect(await disk.transfer(opcode, { nsid })).toBe(Status.invalidOpcode);
    },
  );

  test('more than MDTS is an invalid field, exactly that much is not', async () => {
    const disk = await Disk.open({ mdts: 2 });
    for (const opcode of [NvmOpcode.read, NvmOpcode.write, NvmOpcode.compare]) {
      expect(await disk.transfer(opcode, { count: 33 })).toBe(Status.invalidField);
      expect(await disk.transfer(opcode, { nsid: 2, count: 5 })).toBe(Status.invalidField);
      expect(await disk.transfer(opcode, { count: 32, offset: 4 })).toBe(0);
      expect(await disk.transfer(opcode, { nsid: 2, count: 4, offset: 2048 })).toBe(0);
    }
  });

  test('without MDTS, transfers are as large as their field can say', async () => {
    const disk = await Disk.open({ mdts: 0 });
    const data = await disk.host.allocate(65_536 * 512 + PAGE);
    const lists = await disk.host.allocate(32 * PAGE);
    // The namespace has fewer blocks than the field can say.
    const count = 16_384;
    pattern(data.u8.subarray(0, count * 512), 7);
    const send = (opcode: number): Promise<{ status: number }> =>
      disk.host.io(disk.pair, { opcode, nsid: 1, ...buildPrps(data, 0, count * 512, lists), words: blocks(0, count) });
    expect((await send(NvmOpcode.write)).status).toBe(0);
    expect((await send(NvmOpcode.compare)).status).toBe(0);
    expect((await send(NvmOpcode.read)).status).toBe(0);
  });

  test.each([
    ['PRP1 not on a multiple of 4', 2n, 0n, 1],
    ['PRP2 inside a page', 0n, 8n, 9],
    ['a list not on a multiple of 8', 0n, 4n, 17],
  ])('%s is an invalid offset', async (_what, first, second, count) => {
    const disk = await Disk.open();
    for (const opcode of [NvmOpcode.read, NvmOpcode.write, NvmOpcode.compare]) {
      const command = { opcode, nsid: 1, prp1: disk.data.at(0) + first, prp2: disk.lists.at(0) + second, words: blocks(0, count) };
      expect((await disk.host.io(disk.pair, command)).status).toBe(Status.invalidPrpOffset);
    }
  });

  test('an entry of a list inside a page is an invalid offset', async () => {
    const disk = await Disk.open();
    buildPrps(disk.data, 0, 32 * 512, disk.lists);
    disk.lists.u32[2] += 512;
    const command = { opcode: NvmOpcode.read, nsid: 1, prp1: disk.data.at(0), prp2: disk.lists.at(0), words: blocks(0, 32) };
    expect((await disk.host.io(disk.pair, command)).status).toBe(Status.invalidPrpOffset);
  });
});

describe('Flush', () => {
  test('of one namespace, of all, and with Force Unit Access', async () => {
    const disk = await Disk.open();
    for (const nsid of [1, 2, 0xffff_ffff]) {
      expect((await disk.host.io(disk.pair, { opcode: NvmOpcode.flush, nsid })).status).toBe(0);
    }
    expect(await disk.transfer(NvmOpcode.write, { flags: FUA })).toBe(0);
    expect(await disk.transfer(NvmOpcode.read, { flags: FUA })).toBe(0);
  });
});

describe('memory that is not memory', () => {
  test('writing from nothing writes all ones, reading to nothing does nothing', async () => {
    const disk = await Disk.open();
    const nowhere = 0x66_6666_6000n;
    const send = (opcode: number): Promise<{ status: number }> => disk.host.io(disk.pair, { opcode, nsid: 1, prp1: nowhere, words: blocks(0, 8) });
    expect((await send(NvmOpcode.write)).status).toBe(0);
    expect((await send(NvmOpcode.compare)).status).toBe(0);
    expect((await send(NvmOpcode.read)).status).toBe(0);
    expect(await disk.transfer(NvmOpcode.read, { count: 8 })).toBe(0);
    expect(disk.bytes(0, PAGE).every((byte) => byte === 0xff)).toBe(true);
  });

  test('beyond the address bits of the bus there is nothing', async () => {
    const disk = await Disk.open();
    for (const address of [0xffff_ffff_ffff_f000n, 1n << 40n, disk.data.at(0) | (1n << 63n)]) {
      disk.bytes(0, PAGE).fill(0xaa);
      expect((await disk.host.io(disk.pair, { opcode: NvmOpcode.read, nsid: 1, prp1: address, words: blocks(0, 8) })).status).toBe(0);
      expect(disk.bytes(0, PAGE).every((byte) => byte === 0xaa)).toBe(true);
    }
  });

  test('a list in nothing is all ones, which is no offset', async () => {
    const disk = await Disk.open();
    const command = { opcode: NvmOpcode.read, nsid: 1, prp1: disk.data.at(0), prp2: 0x66_6666_6000n, words: blocks(0, 32) };
    expect((await disk.host.io(disk.pair, command)).status).toBe(Status.invalidPrpOffset);
  });
});
