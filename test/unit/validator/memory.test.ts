/** What the engine asks before it fetches an attachment. */
import { describe, expect, test } from 'vitest';
import { Code, codeName, MAX_ATTACHMENT_BYTES, type RequestFields } from '../../../src/protocol/index.js';
import { attachmentToFetch, memoryRule } from '../../../src/validator/index.js';
import { OPERATION_NAMES, pack, REGION, REGION_BYTES, REGIONS, valid } from './fixture.js';

const place = (fields: Partial<RequestFields>): string | undefined => codeName(memoryRule(pack({ ...valid('deallocate'), ...fields }), REGIONS));
const bytes = (fields: Partial<RequestFields>): number => attachmentToFetch(pack({ ...valid('deallocate'), ...fields }), REGIONS);

describe('memoryRule', () => {
  test('judges region, offset and length, and nothing else of an entry', () => {
    expect(place({ operation: 0, lease: 0, queue: 0, generation: 0, share: 99 })).toBe('ok');
    expect(place({ length: 1 })).toBe('ok');
    expect(place({ length: REGION_BYTES, offset: 0n })).toBe('ok');
  });
  test('names the same reasons as admission', () => {
    expect(place({ region: 0 })).toBe('unknownRegion');
    expect(place({ region: 1 })).toBe('unknownRegion');
    expect(place({ region: REGION ^ 0x1_0000 })).toBe('unknownRegion');
    expect(place({ region: 3 })).toBe('unknownRegion');
    expect(place({ length: REGION_BYTES + 1, offset: 0n })).toBe('offsetOutsideRegion');
    expect(place({ offset: 0x1_0000_0000n })).toBe('offsetOutsideRegion');
    expect(place({ offset: 66n })).toBe('offsetMisaligned');
  });
  test('region 0 names no free slot, whatever size the slot had', () => {
    const entry = pack({ ...valid('deallocate'), region: 0, offset: 0n });
    expect(memoryRule(entry, { words: Uint32Array.of(0, 1e6, 0, 1e6, 0, 1e6, 0, 1e6) })).toBe(Code.unknownRegion);
  });
});

describe('attachmentToFetch', () => {
  test('the length of an attachment that can be fetched', () => {
    expect(bytes({})).toBe(32);
    expect(bytes({ length: 16 })).toBe(16);
    expect(bytes({ length: MAX_ATTACHMENT_BYTES })).toBe(MAX_ATTACHMENT_BYTES);
  });
  test('nothing for an operation that has none, or that there is not', () => {
    for (const name of OPERATION_NAMES.filter((each) => each !== 'deallocate')) {
      expect(attachmentToFetch(pack({ ...valid(name), region: REGION, length: 32 }), REGIONS), name).toBe(0);
    }
    for (const operation of [0, 7, 255]) expect(bytes({ operation })).toBe(0);
  });
  test('nothing beyond the limit, or outside of the region', () => {
    for (const length of [0, 8, 15, 17, 4097, 4112, 8192, 0xffff_fff0]) expect(bytes({ length, offset: 0n }), String(length)).toBe(0);
    expect(bytes({ region: 0 })).toBe(0);
    expect(bytes({ offset: BigInt(REGION_BYTES - 16) })).toBe(0);
    expect(bytes({ offset: 66n })).toBe(0);
  });
});
