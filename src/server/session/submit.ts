/**
 * From a `submit` message to the queue's ring. Hot path: nothing is made for a request.
 *
 * The session judges nothing that the validator judges. It only resolves inline data: places them in the staging memory, and writes region and offset into its
 * own copy of the entry. A message is taken as a whole, refused as a whole, or put off as a whole.
 */
import { endianness } from 'node:os';
import {
  Direction,
  ENTRY_BYTES,
  ENTRY_HALVES,
  ENTRY_WORDS,
  EntryFlag,
  EntryWord,
  MAX_BATCH,
  OPERATIONS,
  PAGE_BYTES,
  type SubmitMessage,
} from '../../protocol/index.js';
import type { Domain } from '../domains/index.js';
import { Refusal } from '../engine/api.js';
import { MAX_DATA_BYTES } from '../wire/index.js';
import type { SessionQueue } from './queue.js';
import type { Staging } from './staging.js';
import type { StagingPool } from './staging-pool.js';

if (endianness() !== 'LE') throw new Error('entries are little-endian, and this machine is not');

/** What became of a message: pushed; or nothing happened, because staging memory has to be made, or its free pages lie too far apart. */
export type Outcome = 'pushed' | 'needsStaging' | 'needsRoom';

const INLINE = EntryFlag.inline << 8;
/** Which way inline data go. */
const NONE = 0;
const IN = 1;
const OUT = 2;

// Copies of what the client sent, private to this thread; one message at a time.
const words = new Uint32Array(MAX_BATCH * ENTRY_WORDS);
const wordBytes = new Uint8Array(words.buffer);
const halves = new BigUint64Array(words.buffer);
const cookies = new Int32Array(MAX_BATCH);

/** Of each first byte of an entry: which way its inline data go. Operations without data have none, and keep their flag for the validator to refuse. */
const DIRECTIONS = Uint8Array.from({ length: 256 }, (_, operation) => {
  const facts = OPERATIONS[operation];
  if (facts === undefined) return NONE;
  if (facts.attachment || facts.data === Direction.deviceReads) return IN;
  return facts.data === Direction.deviceWrites ? OUT : NONE;
});

/**
 * Pushes the entries of `message` to `queue`, or throws the reason why none was pushed.
 *
 * @throws {@link Refusal} `queueShared`, `ringFull`, `stagingFull`, `inlineLength`, `outOfRange` (an inline entry that names memory, or is too long), `unknownRegion` (an entry
 * that names staging memory).
 */
export function submit(queue: SessionQueue, domain: Domain, stagings: StagingPool, message: SubmitMessage): Outcome {
  const { entries, data } = message;
  if (queue.offered) throw new Refusal('queueShared', 'queue', queue.index);
  const count = entries.length / ENTRY_BYTES;
  if (count > queue.channel.room()) throw new Refusal('ringFull', 'entries', count);
  wordBytes.set(entries);

  const dataBytes = data === undefined ? 0 : data.length;
  const placed = check(domain, count, dataBytes);
  if (placed.runs > 0) {
    const staging = stagings.current;
    if (staging === undefined) return 'needsStaging';
    if (!(placed.pages <= staging.pages && placed.bytes <= staging.region.bytes - staging.bytesInFlight)) {
      throw new Refusal('stagingFull', 'length', placed.bytes);
    }
    // An empty staging starts anew at its first page, so what fits into it at all can be placed.
    if (!place(staging, queue.key, count) && !(staging.requestsInFlight === 0 && place(staging, queue.key, count))) return 'needsRoom';
    fill(staging, count, data ?? EMPTY);
  } else cookies.fill(0, 0, count);

  const { channel } = queue;
  for (let index = 0; index < count; index++) channel.push(halves, index * ENTRY_HALVES, cookies[index]);
  queue.inFlight += count;
  queue.used = true;
  channel.commit();
  return 'pushed';
}

const EMPTY = new Uint8Array(0);

/** What the inline entries of a message need: how many runs of pages, how many pages and bytes. One object, written anew for each message. */
const needs = { runs: 0, pages: 0, bytes: 0 };

function check(domain: Domain, count: number, dataBytes: number): Readonly<typeof needs> {
  let runs = 0;
  let pages = 0;
  let bytes = 0;
  let sent = 0;
  for (let index = 0, at = 0; index < count; index++, at += ENTRY_WORDS) {
    const region = words[at + EntryWord.region];
    if ((words[at] & INLINE) === 0) {
      if (domain.isStaging(region)) throw new Refusal('unknownRegion', `entries[${index}].region`, region);
      continue;
    }
    if (region !== 0) throw new Refusal('outOfRange', `entries[${index}].region`, region);
    const offsetLow = words[at + EntryWord.offsetLow];
    const offsetHigh = words[at + EntryWord.offsetHigh];
    if (offsetLow !== 0 || offsetHigh !== 0) throw new Refusal('outOfRange', `entries[${index}].offset`, offsetHigh * 2 ** 32 + offsetLow);
    const direction = DIRECTIONS[words[at] & 0xff];
    const length = words[at + EntryWord.length];
    if (direction === NONE || length === 0) continue;
    if (length > MAX_DATA_BYTES) throw new Refusal('outOfRange', `entries[${index}].length`, length);
    runs++;
    bytes += length;
    pages += Math.ceil(length / PAGE_BYTES);
    if (direction === IN) sent += length;
  }
  if (sent !== dataBytes) throw new Refusal('inlineLength', 'data', dataBytes);
  needs.runs = runs;
  needs.pages = pages;
  needs.bytes = bytes;
  return needs;
}

/** Gives every inline entry with data its pages; or none, and says so. */
function place(staging: Staging, owner: number, count: number): boolean {
  for (let index = 0, at = 0; index < count; index++, at += ENTRY_WORDS) {
    cookies[index] = 0;
    if ((words[at] & INLINE) === 0) continue;
    const direction = DIRECTIONS[words[at] & 0xff];
    const length = words[at + EntryWord.length];
    if (direction === NONE || length === 0) continue;
    const cookie = staging.place(length, owner, direction === OUT);
    if (cookie === 0) {
      while (index-- > 0) if (cookies[index] !== 0) staging.remove(cookies[index]);
      return false;
    }
    cookies[index] = cookie;
  }
  return true;
}

/** Copies what is sent and clears what will be read into, and makes the entries name it. */
function fill(staging: Staging, count: number, data: Uint8Array): void {
  let from = 0;
  for (let index = 0, at = 0; index < count; index++, at += ENTRY_WORDS) {
    const cookie = cookies[index];
    if (cookie === 0) continue;
    const offset = staging.offset(cookie);
    const length = words[at + EntryWord.length];
    if (DIRECTIONS[words[at] & 0xff] === IN) {
      staging.bytes.set(data.subarray(from, from + length), offset);
      from += length;
    } else staging.bytes.fill(0, offset, offset + length);
    words[at] &= ~INLINE;
    words[at + EntryWord.region] = staging.region.handle;
    words[at + EntryWord.offsetLow] = offset;
  }
}
