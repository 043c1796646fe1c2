/** The PRP walker beside a second one, written from the definition as simply as possible, in BigInt, over a map of pages. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Bus } from '../../../src/hw/emulated/bus.js';
import { PrpWalker, mostPages } from '../../../src/hw/emulated/model/prp.js';
import { Transfer } from '../../../src/hw/emulated/transfer.js';
import { Sqe, Status } from '../../../src/hw/nvme/spec/index.js';

const PAGE = 4096;
const PAGES = 64;
const MOST_BYTES = 2 ** 18;

interface Piece {
  readonly address: bigint;
  readonly bytes: number;
}

/** What the specification says (1.4, 4.3), or undefined for an offset that it does not allow. */
function naiveWalk(read: (address: bigint) => bigint, prp1: bigint, prp2: bigint, bytes: number): Piece[] | undefined {
  const inPage = (address: bigint): number => Number(address % BigInt(PAGE));
  if (prp1 % 4n !== 0n) return undefined;
  const pieces: Piece[] = [{ address: prp1, bytes: Math.min(bytes, PAGE - inPage(prp1)) }];
  let left = bytes - pieces[0].bytes;
  if (left > 0 && left <= PAGE) {
    if (inPage(prp2) !== 0) return undefined;
    pieces.push({ address: prp2, bytes: left });
    return pieces;
  }
  if (left > 0 && prp2 % 8n !== 0n) return undefined;
  for (let list = prp2; left > 0; list += 8n) {
    let entry = read(list);
    if (inPage(list) === PAGE - 8 && left > PAGE) {
      if (inPage(entry) !== 0) return undefined;
      list = entry;
      entry = read(list);
    }
    if (inPage(entry) !== 0) return undefined;
    pieces.push({ address: entry, bytes: Math.min(left, PAGE) });
    left -= PAGE;
  }
  return pieces;
}

/** A bus with one memory whose pages lie where `places` says (in pages). */
function makeBus(places: readonly number[]): { bus: Bus; words: Uint32Array; at: (page: number) => bigint } {
  const buffer = new ArrayBuffer(PAGES * PAGE);
  const bus = new Bus(() => undefined);
  bus.attach(0, buffer, 'test');
  bus.point(
    0,
    0,
    Uint32Array.from(places, (place) => (place << 12) >>> 0),
    Uint32Array.from(places, (place) => place >>> 20),
  );
  return { bus, words: new Uint32Array(buffer), at: (page) => BigInt(places[page]) * BigInt(PAGE) };
}

const addressOf = (low: number, high: number): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);

/** Pieces as the transfer has them: coalesced, so as runs of the memory; or bus addresses where there is no memory. */
function found(transfer: Transfer): { slot: number; offset: number; bytes: number; address: bigint }[] {
  return Array.from({ length: transfer.count }, (_, index) => ({
    slot: transfer.slots[index],
    offset: transfer.slots[index] < 0 ? -1 : transfer.offsets[index],
    bytes: transfer.lengths[index],
    address: transfer.slots[index] < 0 ? addressOf(transfer.lows[index], transfer.highs[index]) : -1n,
  }));
}

/** The naive pieces in the same terms. */
function expected(pieces: readonly Piece[], places: readonly number[]): ReturnType<typeof found> {
  const result: ReturnType<typeof found> = [];
  for (const { address, bytes } of pieces) {
    const page = places.indexOf(Number(address / BigInt(PAGE)));
    const offset = page * PAGE + Number(address % BigInt(PAGE));
    const last = result.at(-1);
    if (page < 0) result.push({ slot: -1, offset: -1, bytes, address });
    else if (last !== undefined && last.slot === 0 && last.offset + last.bytes === offset) last.bytes += bytes;
    else result.push({ slot: 0, offset, bytes, address: -1n });
  }
  return result;
}

const places = fc.uniqueArray(fc.integer({ min: 0x1_0000, max: 0x8f_ffff }), { minLength: PAGES, maxLength: PAGES });
/** A page of the memory with an offset in it that is mostly right. */
const pointer = fc.tuple(
  fc.integer({ min: 0, max: PAGES - 1 }),
  fc.oneof(
    fc.constant(0),
    fc.constantFrom(8, 16, 4080, 4088, 4, 2, 1),
    fc.integer({ min: 0, max: 511 }).map((n) => 8 * n),
  ),
);
/** A list entry: a page of the memory, seldom something else. */
const entry = fc.oneof(
  { weight: 40, arbitrary: fc.integer({ min: 0, max: PAGES - 1 }).map((page) => ({ page, extra: 0n })) },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.integer({ min: 0, max: PAGES - 1 }), fc.constantFrom(1n, 8n, 512n, 4095n)).map(([page, extra]) => ({ page, extra })),
  },
  { weight: 1, arbitrary: fc.constantFrom(0x66_6666_6000n, 1n << 45n, 0xffff_ffff_ffff_f000n).map((extra) => ({ page: -1, extra })) },
);

describe('the PRP walker', () => {
  test('agrees with the naive one, on lists that are right and wrong', () => {
    const property = fc.property(
      places,
      pointer,
      pointer,
      fc.integer({ min: 1, max: MOST_BYTES / 4 }).map((words) => 4 * words),
      fc.array(entry, { minLength: 1, maxLength: 100 }),
      fc.boolean(),
      (where, [page1, offset1], [page2, offset2], bytes, entries, write) => {
        const { bus, words, at } = makeBus(where);
        const table = new BigUint64Array(words.buffer);
        const addresses = Array.from({ length: PAGES }, (_, page) => at(page));
        for (let index = 0; index < table.length; index++) {
          const { page, extra } = entries[index % entries.length];
          table[index] = page < 0 ? extra : addresses[(page + index) % PAGES] + extra;
        }
        const prp1 = at(page1) + BigInt(offset1);
        const prp2 = at(page2) + BigInt(offset2);
        const command = new Int32Array(16);
        const view = new BigUint64Array(command.buffer);
        view[Sqe.prp1Low / 2] = prp1;
        view[Sqe.prp2Low / 2] = prp2;
        const transfer = new Transfer(bus, mostPages(MOST_BYTES));
        const status = new PrpWalker(transfer).walk(command, bytes, write);
        const read = (address: bigint): bigint => {
          const page = where.indexOf(Number(address / BigInt(PAGE)));
          if (page < 0) return 0xffff_ffff_ffff_ffffn;
          const word = (page * PAGE + Number(address % BigInt(PAGE))) / 4;
          return addressOf(words[word], words[word + 1]);
        };
        const naive = naiveWalk(read, prp1, prp2, bytes);
        expect(status).toBe(naive === undefined ? Status.invalidPrpOffset : Status.success);
        if (naive === undefined) return;
        expect(found(transfer)).toEqual(expected(naive, where));
        expect(transfer.bytes).toBe(bytes);
      },
    );
    fc.assert(property, { numRuns: 300 });
  });

  test('pages that follow each other in a memory become one piece, wherever they lie on the bus', () => {
    const where = Array.from({ length: PAGES }, (_, page) => 0x10_0000 + ((page * 37) % PAGES));
    const { bus, words, at } = makeBus(where);
    for (let index = 0; index < 16; index++) {
      words[2 * index] = Number(at(9 + index) & 0xffff_ffffn);
      words[2 * index + 1] = Number(at(9 + index) >> 32n);
    }
    const command = new Int32Array(16);
    const view = new BigUint64Array(command.buffer);
    view[Sqe.prp1Low / 2] = at(8) + 512n;
    view[Sqe.prp2Low / 2] = at(0);
    const transfer = new Transfer(bus, 20);
    expect(new PrpWalker(transfer).walk(command, 16 * PAGE, true)).toBe(0);
    expect(found(transfer)).toEqual([{ slot: 0, offset: 8 * PAGE + 512, bytes: 16 * PAGE, address: -1n }]);
  });
});
