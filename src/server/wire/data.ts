/**
 * The two messages of the server that carry data, written by hand: the data go from a mapped region into the message in one copy, and
 * msgpackr's own buffer stays small.
 */
import { COMPLETION_BYTES } from '../../protocol/index.js';

/** Room for everything in a message but its data: heads, keys, and the completions of a full batch. */
export const DATA_OVERHEAD_BYTES = 65_536;

const UINT32 = 0xce;
const FLOAT64 = 0xcb;
const BIN32 = 0xc6;
const LENGTH_BYTES = 4;

/** A map head with the given number of fields, then the given short texts, one after the other. */
function head(fields: number, ...texts: string[]): Uint8Array {
  return Buffer.concat([Buffer.of(0x80 | fields), ...texts.map(text)]);
}
const text = (value: string): Buffer => Buffer.concat([Buffer.of(0xa0 | value.length), Buffer.from(value, 'latin1')]);

const WITHOUT_DATA = Buffer.concat([head(4, 'type', 'completions', 'lease'), Buffer.of(UINT32)]);
const WITH_DATA = Buffer.concat([head(5, 'type', 'completions', 'lease'), Buffer.of(UINT32)]);
const QUEUE = Buffer.concat([text('queue'), Buffer.of(UINT32)]);
const ENTRIES = Buffer.concat([text('entries'), Buffer.of(BIN32)]);
const DATA = Buffer.concat([text('data'), Buffer.of(BIN32)]);
const ANSWER = head(3, 'type', 'answer', 'id');

/** Where the parts of a `completions` message lie that its maker fills in. */
export interface CompletionsFrame {
  readonly bytes: Buffer;
  /** Offset of the first completion. */
  readonly entriesAt: number;
  /** Offset of the data; the length of the message where there are none. */
  readonly dataAt: number;
}

/** Makes a `completions` message for `count` completions and `dataBytes` of data; the caller copies both in. */
export function frameCompletions(lease: number, queue: number, count: number, dataBytes: number): CompletionsFrame {
  const start = dataBytes === 0 ? WITHOUT_DATA : WITH_DATA;
  const entryBytes = count * COMPLETION_BYTES;
  const entriesAt = start.length + LENGTH_BYTES + QUEUE.length + LENGTH_BYTES + ENTRIES.length + LENGTH_BYTES;
  const dataHead = dataBytes === 0 ? 0 : DATA.length + LENGTH_BYTES;
  const dataAt = entriesAt + entryBytes + dataHead;
  const bytes = Buffer.allocUnsafe(dataAt + dataBytes);
  bytes.set(start, 0);
  let at = bytes.writeUInt32BE(lease, start.length);
  bytes.set(QUEUE, at);
  at = bytes.writeUInt32BE(queue, at + QUEUE.length);
  bytes.set(ENTRIES, at);
  at = bytes.writeUInt32BE(entryBytes, at + ENTRIES.length) + entryBytes;
  if (dataBytes > 0) {
    bytes.set(DATA, at);
    bytes.writeUInt32BE(dataBytes, at + DATA.length);
  }
  return { bytes, entriesAt, dataAt };
}

/** The answer to `readMemory`: `data` is copied. */
export function encodeData(id: number, data: Uint8Array): Buffer {
  const small = id <= 0xffff_ffff;
  const idBytes = small ? 5 : 9;
  const bytes = Buffer.allocUnsafeSlow(ANSWER.length + idBytes + DATA.length + LENGTH_BYTES + data.length);
  bytes.set(ANSWER, 0);
  let at = bytes.writeUInt8(small ? UINT32 : FLOAT64, ANSWER.length);
  at = small ? bytes.writeUInt32BE(id, at) : bytes.writeDoubleBE(id, at);
  bytes.set(DATA, at);
  at = bytes.writeUInt32BE(data.length, at + DATA.length);
  bytes.set(data, at);
  return bytes;
}
