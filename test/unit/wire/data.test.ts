import { Unpackr } from 'msgpackr';
import { expect, it } from 'vitest';
import { COMPLETION_BYTES, MAX_BATCH, MAX_MESSAGE_BYTES } from '../../../src/protocol/index.js';
import { MAX_DATA_BYTES, encode, encodeData, frameCompletions } from '../../../src/server/wire/index.js';

const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true });

it('completions are what msgpack says, with and without data', () => {
  for (const [count, dataBytes] of [
    [1, 0],
    [3, 5],
    [MAX_BATCH, MAX_DATA_BYTES],
  ]) {
    const frame = frameCompletions(0xffff_fffe, 0xffff, count, dataBytes);
    const entries = Buffer.alloc(count * COMPLETION_BYTES, 0xab);
    const data = Buffer.alloc(dataBytes, 0xcd);
    entries.copy(frame.bytes, frame.entriesAt);
    data.copy(frame.bytes, frame.dataAt);
    expect(frame.bytes.length).toBeLessThanOrEqual(MAX_MESSAGE_BYTES);
    const message = unpackr.unpack(frame.bytes) as Record<string, unknown>;
    expect(Object.keys(message)).toEqual(['type', 'lease', 'queue', 'entries', ...(dataBytes > 0 ? ['data'] : [])]);
    expect(message).toMatchObject({ type: 'completions', lease: 0xffff_fffe, queue: 0xffff });
    expect(entries.equals(message['entries'] as Buffer)).toBe(true);
    if (dataBytes > 0) expect(data.equals(message['data'] as Buffer)).toBe(true);
  }
});

it.each([1, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER])('the answer with data has its id, %d', (id) => {
  const data = Buffer.from('some data');
  const message = unpackr.unpack(encodeData(id, data)) as { id: number; data: Buffer };
  expect(message).toMatchObject({ type: 'answer', id });
  expect(data.equals(message.data)).toBe(true);
});

it('a control message owns its memory, and no more than it needs', () => {
  const bytes = encode({ type: 'answer', id: 1 });
  expect(bytes.buffer.byteLength).toBe(bytes.length);
  expect(unpackr.unpack(bytes)).toEqual({ type: 'answer', id: 1 });
});
