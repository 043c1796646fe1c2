/** Every limit from below, at, and from above; and the places where 32, 53, 63 and 64 bits end. */
import { describe, expect, test } from 'vitest';
import { MAX_ATTACHMENT_BYTES, MAX_BLOCKS, MAX_REGION_BYTES } from '../../../src/protocol/index.js';
import { type Range, ranges, REGION, verdict } from './fixture.js';

const BITS = [32n, 53n, 63n].flatMap((bits) => [(1n << bits) - 1n, 1n << bits, (1n << bits) + 1n]);
const TOP = [(1n << 64n) - 2n, (1n << 64n) - 1n];

/** A world with one region of `bytes`. */
const withRegion = (bytes: number) => ({ lease: { regions: { words: Uint32Array.of(0, 0, 0, 0, REGION, bytes) } } });

describe('lba', () => {
  /** Four blocks at `lba` in a share of `blocks`. */
  const at = (lba: bigint, blocks: number): string => verdict('read', { lba }, { share: { blocks } });

  test.each([4, 5, 1000, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 40 + 3, 2 ** 53 - 2, 2 ** 53 - 1])(
    'the last place in a share of %d blocks',
    (blocks) => {
      const last = BigInt(blocks) - 4n;
      if (last > 0n) expect(at(last - 1n, blocks)).toBe('ok');
      expect(at(last, blocks)).toBe('ok');
      expect(at(last + 1n, blocks)).toBe('lbaOutsideShare');
    },
  );
  test.each([...BITS, ...TOP])('a start of %d is judged by its true value', (lba) => {
    for (const blocks of [0, 1000, 2 ** 32, 2 ** 53 - 1]) expect(at(lba, blocks)).toBe(lba + 4n <= BigInt(blocks) ? 'ok' : 'lbaOutsideShare');
  });
  test('a share smaller than the request, or empty', () => {
    expect(at(0n, 4)).toBe('ok');
    expect(at(0n, 3)).toBe('lbaOutsideShare');
    expect(at(0n, 0)).toBe('lbaOutsideShare');
    expect(at((1n << 64n) - 1n, 3)).toBe('lbaOutsideShare');
  });
  test('a start that a number cannot hold is refused even where rounding would bring it inside', () => {
    // Outside the contract of a share: 2^53 blocks. The start is 2^53 + 1, and as a number 2^53.
    expect(verdict('writeZeroes', { lba: (1n << 53n) + 1n, blocks: 1 }, { share: { blocks: 2 ** 53 + 2 } })).toBe('lbaOutsideShare');
  });
  test('a share whose size is not a number holds nothing', () => {
    expect(at(0n, Number.NaN)).toBe('lbaOutsideShare');
  });
});

describe('blocks', () => {
  test.each([1, 2, 8, 255, 65_535, MAX_BLOCKS])('at most %d', (maxBlocks) => {
    const asked = (blocks: number): string => verdict('writeZeroes', { lba: 0n, blocks }, { share: { blocks: 2 ** 40, maxBlocks } });
    expect(asked(maxBlocks - 1)).toBe(maxBlocks === 1 ? 'blocksZero' : 'ok');
    expect(asked(maxBlocks)).toBe('ok');
    expect(asked(maxBlocks + 1)).toBe('blocksTooMany');
    expect(asked(0xffff_ffff)).toBe('blocksTooMany');
  });
});

describe('length', () => {
  test.each([9, 10, 11, 12, 13, 14, 15, 16])('with blocks of 2^%d bytes', (blockShift) => {
    const asked = (length: number): string => verdict('read', { length, offset: 0n }, { share: { blockShift }, ...withRegion(MAX_REGION_BYTES) });
    const right = 4 * 2 ** blockShift;
    expect(asked(right - 1)).toBe('lengthMismatch');
    expect(asked(right)).toBe('ok');
    expect(asked(right + 1)).toBe('lengthMismatch');
  });
  test('65536 blocks of 65536 bytes are 2^32 bytes, which no length says', () => {
    const asked = (blocks: number, length: number): string =>
      verdict(
        'read',
        { lba: 0n, blocks, length, offset: 0n },
        { share: { blocks: 2 ** 40, blockShift: 16, maxBlocks: MAX_BLOCKS }, ...withRegion(MAX_REGION_BYTES) },
      );
    expect(asked(65_536, 0)).toBe('lengthMismatch');
    expect(asked(65_536, 0xffff_ffff)).toBe('lengthMismatch');
    expect(asked(65_535, 0xffff_0000)).toBe('offsetOutsideRegion');
    expect(asked(32_769, 0x8001_0000)).toBe('offsetOutsideRegion');
    expect(asked(32_768, 0x8000_0000)).toBe('ok');
  });
  test('of an attachment: 1 to 256 whole ranges', () => {
    const asked = (count: number, length = count * 16): string =>
      verdict('deallocate', { length, offset: 0n }, { attachment: ranges(...Array.from({ length: count }, () => ({ lba: 0n, blocks: 1 }))) });
    expect(asked(0)).toBe('attachmentLength');
    expect(asked(1)).toBe('ok');
    expect(asked(1, 8)).toBe('attachmentLength');
    expect(asked(2)).toBe('ok');
    expect(asked(255)).toBe('ok');
    expect(asked(256)).toBe('ok');
    expect(asked(256, MAX_ATTACHMENT_BYTES - 1)).toBe('attachmentLength');
    expect(asked(256, MAX_ATTACHMENT_BYTES + 1)).toBe('attachmentLength');
    expect(asked(257)).toBe('attachmentLength');
  });
});

describe('offset', () => {
  /** 2048 bytes at `offset` in a region of `bytes`. */
  const at = (offset: bigint, bytes: number): string => verdict('read', { offset }, withRegion(bytes));

  test.each([4096, 8192, 2 ** 30, MAX_REGION_BYTES])('the last place in a region of %d bytes', (bytes) => {
    const last = BigInt(bytes) - 2048n;
    expect(at(last - 4n, bytes)).toBe('ok');
    expect(at(last - 1n, bytes)).toBe('offsetMisaligned');
    expect(at(last, bytes)).toBe('ok');
    expect(at(last + 1n, bytes)).toBe('offsetOutsideRegion');
    expect(at(last + 4n, bytes)).toBe('offsetOutsideRegion');
  });
  test.each([...BITS, ...TOP, 0xffff_f800n, 0xffff_fffcn])('an offset of %d is outside every region', (offset) => {
    for (const bytes of [0, 4096, MAX_REGION_BYTES]) expect(at(offset, bytes)).toBe('offsetOutsideRegion');
  });
  test('a region smaller than the data', () => {
    expect(at(0n, 2048)).toBe('ok');
    expect(at(0n, 2047)).toBe('offsetOutsideRegion');
    expect(at(0n, 0)).toBe('offsetOutsideRegion');
  });
});

describe('region', () => {
  test('the slots end where the arrays end', () => {
    const lease = { regions: { words: Uint32Array.of(0x0001_0000, 4096, 0x0001_0001, 4096) } };
    expect(verdict('read', { region: 0x0001_0000 }, { lease })).toBe('ok');
    expect(verdict('read', { region: 0x0001_0001 }, { lease })).toBe('ok');
    expect(verdict('read', { region: 0x0001_0002 }, { lease })).toBe('unknownRegion');
  });
  test('a domain without regions', () => {
    expect(verdict('read', {}, { lease: { regions: { words: new Uint32Array(0) } } })).toBe('unknownRegion');
  });
});

describe('share', () => {
  test('the index ends where the grant ends', () => {
    expect(verdict('flush', { share: 0 })).toBe('ok');
    expect(verdict('flush', { share: 1 })).toBe('ok');
    expect(verdict('flush', { share: 2 })).toBe('unknownShare');
  });
});

describe('ranges', () => {
  const one = (lba: bigint, count: number, blocks: number): string =>
    verdict('deallocate', { length: 16 }, { share: { blocks }, attachment: ranges({ lba, blocks: count }) });

  test.each([1, 1000, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1])('the last block of a share of %d blocks', (blocks) => {
    const last = BigInt(blocks) - 1n;
    expect(one(last, 1, blocks)).toBe('ok');
    expect(one(last, 2, blocks)).toBe('rangeOutsideShare');
    expect(one(last + 1n, 1, blocks)).toBe('rangeOutsideShare');
  });
  test('a range may be longer than a request may be: up to the whole share', () => {
    expect(one(0n, 1000, 1000)).toBe('ok');
    expect(one(0n, 1001, 1000)).toBe('rangeOutsideShare');
    expect(one(0n, 0xffff_ffff, 2 ** 32)).toBe('ok');
    expect(one(1n, 0xffff_ffff, 2 ** 32)).toBe('ok');
    expect(one(2n, 0xffff_ffff, 2 ** 32)).toBe('rangeOutsideShare');
  });
  test.each([...BITS, ...TOP])('a start of %d is judged by its true value', (lba) => {
    for (const blocks of [1000, 2 ** 32, 2 ** 53 - 1]) expect(one(lba, 1, blocks)).toBe(lba + 1n <= BigInt(blocks) ? 'ok' : 'rangeOutsideShare');
  });
  test('the last range counts as much as the first', () => {
    const list: Range[] = Array.from({ length: 256 }, (_, at) => ({ lba: BigInt(at), blocks: 1 }));
    const asked = (): string => verdict('deallocate', { offset: 0n, length: 4096 }, { attachment: ranges(...list) });
    expect(asked()).toBe('ok');
    list[255] = { lba: 1000n, blocks: 1 };
    expect(asked()).toBe('rangeOutsideShare');
  });
  test('what lies behind the attachment is not judged', () => {
    const attachment = { words: Uint32Array.of(0, 0, 1, 0, 0, 0, 0, 9), bytes: 16 };
    expect(verdict('deallocate', { length: 16 }, { attachment })).toBe('ok');
  });
});

describe('in flight', () => {
  test.each([1, 2, 1024])('at most %d', (maxInFlight) => {
    const asked = (inFlight: number): string => verdict('flush', {}, { maxInFlight, lease: { inFlight } });
    expect(asked(maxInFlight - 1)).toBe('ok');
    expect(asked(maxInFlight)).toBe('inFlightLimit');
    expect(asked(maxInFlight + 1)).toBe('inFlightLimit');
  });
  test('a limit that is not a number admits nothing', () => expect(verdict('flush', {}, { maxInFlight: Number.NaN })).toBe('inFlightLimit'));
});
