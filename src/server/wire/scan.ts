/**
 * The check that a message passes before msgpackr sees it.
 *
 * msgpackr decodes more than this protocol has: extensions, record definitions, keys of any type, and it recurses. So every byte of a message is walked first,
 * without recursion and without allocating by declared lengths, and what is not a plain map of plain values is refused. What passes is complete:
 * one map, nothing after it, every length inside the message. Whether its fields are the right ones is for `guards.ts` to say.
 */
import { isUtf8 } from 'node:buffer';
import { MAX_DEPTH, MAX_TEXT } from '../../protocol/index.js';
import { Refusal } from '../engine/api.js';

/** Keys of one map. The largest request has six. */
const MAX_KEYS = 16;
/** Bytes of a key. The longest real one has 8. */
const MAX_KEY_BYTES = 32;
/** Values in one message, containers included. */
const MAX_ITEMS = 256;
/** Bytes of a text: UTF-8 takes up to four for a character, of which guards allow {@link MAX_TEXT}. */
const MAX_TEXT_BYTES = 4 * MAX_TEXT;

/** Length of what follows the first byte 0xc0 + index, for the types whose length is fixed; -1 for the others. */
const FIXED_BYTES = [0, -1, 0, 0, -1, -1, -1, -1, -1, -1, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1];

const malformed = (at: number, what: string): Refusal => new Refusal('malformed', '', `${what} at byte ${at}`);

/** Big-endian unsigned number of `size` bytes (1, 2 or 4), all inside the message. */
function readLength(bytes: Uint8Array, at: number, size: number): number {
  if (size > bytes.length - at) throw malformed(at, 'truncated length');
  let value = 0;
  for (let index = 0; index < size; index++) value = value * 256 + bytes[at + index];
  return value;
}

// The state of a scan. One scan runs at a time (the main thread, no awaits), so it is kept here instead of being made for each message.
/** Items left in each open container; of a map, keys and values together. */
const left = new Int32Array(MAX_DEPTH);
const isMap = new Uint8Array(MAX_DEPTH);
/** Where each key of each open map starts and how long it is. */
const keyCount = new Int32Array(MAX_DEPTH);
const keyStart = new Int32Array(MAX_DEPTH * MAX_KEYS);
const keyBytes = new Int32Array(MAX_DEPTH * MAX_KEYS);

/**
 * Checks one message.
 *
 * @throws {@link Refusal} `malformed`, whose value says what is wrong at which byte.
 */
export function scan(bytes: Uint8Array): void {
  let at = 0;
  let depth = 0;
  let items = 0;
  do {
    while (depth > 0 && left[depth - 1] === 0) depth--;
    if (depth === 0 && items > 0) break;
    if (at >= bytes.length) throw malformed(at, 'truncated');
    if (++items > MAX_ITEMS) throw malformed(at, 'too many items');

    const first = bytes[at];
    if (depth > 0) {
      left[depth - 1]--;
      if (isMap[depth - 1] === 1 && (left[depth - 1] & 1) === 1) {
        at = scanKey(bytes, at, depth - 1);
        continue;
      }
    } else if (!isMapHead(first)) throw malformed(at, 'not a map');

    if (first <= 0x7f || first >= 0xe0) at += 1;
    else if (isMapHead(first) || isArrayHead(first)) {
      if (depth === MAX_DEPTH) throw malformed(at, 'nested too deep');
      const map = isMapHead(first);
      const short = first < 0xa0;
      const size = short ? 0 : first === 0xdc || first === 0xde ? 2 : 4;
      const count = short ? first & 0x0f : readLength(bytes, at + 1, size);
      if (count > (map ? MAX_KEYS : MAX_ITEMS)) throw malformed(at, map ? 'too many keys' : 'too many items');
      isMap[depth] = map ? 1 : 0;
      left[depth] = map ? 2 * count : count;
      keyCount[depth] = 0;
      depth++;
      at += 1 + size;
    } else at = scanScalar(bytes, at, first);
  } while (depth > 0);
  if (at !== bytes.length) throw malformed(at, 'bytes after the message');
}

const isMapHead = (first: number): boolean => (first & 0xf0) === 0x80 || first === 0xde || first === 0xdf;
const isArrayHead = (first: number): boolean => (first & 0xf0) === 0x90 || first === 0xdc || first === 0xdd;

/** Bytes of the head of a text, with its length field, or 0 if it is not a text. */
const textHead = (first: number): number => ((first & 0xe0) === 0xa0 ? 1 : first === 0xd9 ? 2 : first === 0xda ? 3 : first === 0xdb ? 5 : 0);

/** Checks a value that is not a container, and returns where the next item starts. */
function scanScalar(bytes: Uint8Array, at: number, first: number): number {
  const head = textHead(first);
  if (head > 0) {
    const length = head === 1 ? first & 0x1f : readLength(bytes, at + 1, head - 1);
    if (length > MAX_TEXT_BYTES) throw malformed(at, 'text too long');
    const start = at + head;
    if (length > bytes.length - start) throw malformed(at, 'truncated text');
    if (!isUtf8(bytes.subarray(start, start + length))) throw malformed(at, 'text that is not UTF-8');
    return start + length;
  }
  if (first >= 0xc4 && first <= 0xc6) {
    const size = 1 << (first - 0xc4);
    const start = at + 1 + size;
    const length = readLength(bytes, at + 1, size);
    if (length > bytes.length - start) throw malformed(at, 'truncated binary');
    return start + length;
  }
  const fixed = FIXED_BYTES[first - 0xc0];
  if (fixed < 0) throw malformed(at, first === 0xc1 ? 'the byte that is never used' : 'extension type');
  if (fixed > bytes.length - at - 1) throw malformed(at, 'truncated number');
  return at + 1 + fixed;
}

/** Checks a key of the map at `level`: a short text of printable ASCII that the map does not have yet. Equal bytes are then equal names. */
function scanKey(bytes: Uint8Array, at: number, level: number): number {
  const first = bytes[at];
  const head = textHead(first);
  if (head === 0) throw malformed(at, 'a key that is not text');
  const length = head === 1 ? first & 0x1f : readLength(bytes, at + 1, head - 1);
  const start = at + head;
  if (length > MAX_KEY_BYTES) throw malformed(at, 'key too long');
  if (length > bytes.length - start) throw malformed(at, 'truncated key');
  for (let index = start; index < start + length; index++) {
    if (bytes[index] < 0x21 || bytes[index] > 0x7e) throw malformed(index, 'a key that is not printable ASCII');
  }
  const base = level * MAX_KEYS;
  const count = keyCount[level];
  for (let other = base; other < base + count; other++) {
    if (keyBytes[other] === length && sameBytes(bytes, keyStart[other], start, length)) throw malformed(at, 'duplicate key');
  }
  keyStart[base + count] = start;
  keyBytes[base + count] = length;
  keyCount[level] = count + 1;
  return start + length;
}

function sameBytes(bytes: Uint8Array, one: number, other: number, length: number): boolean {
  for (let index = 0; index < length; index++) if (bytes[one + index] !== bytes[other + index]) return false;
  return true;
}
