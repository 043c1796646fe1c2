/**
 * Bytes to messages and back.
 *
 * Decoding is {@link scan}, then msgpackr: its build without code generation and without its C++ part, so that a tenant's bytes reach neither. That
 * build is a copy of its own, which no other user of msgpackr in the process can reconfigure.
 */
import { createRequire } from 'node:module';
import type * as Msgpackr from 'msgpackr';
import type { AnswerMessage, ErrorMessage, EventMessage } from '../../protocol/index.js';
import { Refusal } from '../engine/api.js';
import { scan } from './scan.js';

const { Packr, Unpackr, isNativeAccelerationEnabled } = createRequire(import.meta.url)('msgpackr/index-no-eval') as typeof Msgpackr;
if (isNativeAccelerationEnabled) throw new Error('msgpackr would hand what tenants send to native code');

// 64-bit integers become numbers: a value that a number cannot hold is rounded to one above the largest safe integer, which guards refuse.
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' });
const packr = new Packr({ useRecords: false, variableMapSize: true });

/** A decoded message: a map of plain values whose fields nobody has looked at yet. */
export type RawMessage = Readonly<Record<string, unknown>>;

/**
 * Reads one message. Binary fields are views of `bytes`, which nobody else may write to (the WebSocket hands each message over for good).
 *
 * @throws {@link Refusal} `malformed`, and nothing else.
 */
export function decode(bytes: Uint8Array): RawMessage {
  scan(bytes);
  try {
    return unpackr.unpack(bytes) as RawMessage;
  } catch {
    throw new Refusal('malformed', '', 'undecodable');
  }
}

/**
 * Writes one control message, in memory of its own: a slow reader then holds on to no more than the message. Messages that carry data are
 * written by `encodeCompletions` and `encodeData`.
 */
export function encode(message: AnswerMessage | ErrorMessage | EventMessage): Buffer {
  const packed = packr.pack(message);
  const own = Buffer.allocUnsafeSlow(packed.length);
  own.set(packed);
  return own;
}
