/**
 * From the queue's ring to `completions` messages. Hot path: nothing is made for a completion, one message for a batch.
 *
 * While the session's outlet is choked nothing is taken: the completion ring fills, and the engine stops taking this queue's requests.
 */
import { COMPLETION_HALVES, COMPLETION_WORDS, Code, CompletionWord, MAX_BATCH } from '../../protocol/index.js';
import { MAX_DATA_BYTES, frameCompletions } from '../wire/index.js';
import type { SessionQueue } from './queue.js';
import { cookieIsRead } from './staging.js';
import type { StagingPool } from './staging-pool.js';

// One batch at a time, on one thread.
const words = new Uint32Array(MAX_BATCH * COMPLETION_WORDS);
const wordBytes = new Uint8Array(words.buffer);
const halves = new BigUint64Array(words.buffer);
const cookies = new Int32Array(MAX_BATCH);
/** Of each completion of the batch: bytes of data that go into the message. */
const dataBytes = new Uint32Array(MAX_BATCH);

/** Requests with these codes were given up: the device may still be working on them. */
const isUncertain = (code: number): boolean => code >= Code.timeout;

/** Sends what has arrived, as long as the outlet takes it, or all of it when it is the `last` of the queue. Returns how many completions that were. */
export function deliver(queue: SessionQueue, last: boolean): number {
  const { outlet } = queue.owner;
  let delivered = 0;
  while (last || !outlet.choked) {
    const count = takeBatch(queue);
    if (count === 0) break;
    sendBatch(queue, count);
    delivered += count;
  }
  if (delivered > 0) queue.owner.onRoom();
  return delivered;
}

/** Takes completions whose data fit into one message. */
function takeBatch(queue: SessionQueue): number {
  const { channel } = queue;
  const { stagings } = queue.owner;
  let count = 0;
  let sum = 0;
  if (queue.carriedCookie >= 0) {
    words.set(queue.carried, 0);
    cookies[0] = queue.carriedCookie;
    queue.carriedCookie = -1;
    sum = dataOf(stagings, 0);
    dataBytes[0] = sum;
    count = 1;
  }
  while (count < MAX_BATCH) {
    const at = count * COMPLETION_WORDS;
    const cookie = channel.take(halves, count * COMPLETION_HALVES);
    if (cookie < 0) break;
    cookies[count] = cookie;
    const bytes = dataOf(stagings, count);
    if (bytes > MAX_DATA_BYTES - sum) {
      queue.carried.set(words.subarray(at, at + COMPLETION_WORDS));
      queue.carriedCookie = cookie;
      break;
    }
    dataBytes[count] = bytes;
    sum += bytes;
    count++;
  }
  return count;
}

/** Bytes that completion `index` brings along: those of an inline read that succeeded. */
function dataOf(stagings: StagingPool | undefined, index: number): number {
  const cookie = cookies[index];
  if (!cookieIsRead(cookie)) return 0;
  const at = index * COMPLETION_WORDS;
  if ((words[at + CompletionWord.code] & 0xffff) !== Code.ok) return 0;
  const staging = stagings?.of(cookie);
  if (staging === undefined) return 0;
  const bytes = Math.min(words[at + CompletionWord.bytes], staging.length(cookie));
  words[at + CompletionWord.bytes] = bytes;
  return bytes;
}

function sendBatch(queue: SessionQueue, count: number): void {
  const { stagings } = queue.owner;
  let sum = 0;
  for (let index = 0; index < count; index++) sum += dataBytes[index];
  const frame = frameCompletions(queue.lease, queue.index, count, sum);
  frame.bytes.set(wordBytes.subarray(0, count * COMPLETION_WORDS * 4), frame.entriesAt);
  let to = frame.dataAt;
  for (let index = 0; index < count; index++) {
    const cookie = cookies[index];
    if (cookie === 0) continue;
    const staging = stagings?.of(cookie);
    if (staging === undefined) continue;
    const bytes = dataBytes[index];
    if (bytes > 0) {
      const offset = staging.offset(cookie);
      frame.bytes.set(staging.bytes.subarray(offset, offset + bytes), to);
      to += bytes;
    }
    staging.remove(cookie);
    if (isUncertain(words[index * COMPLETION_WORDS + CompletionWord.code] & 0xffff)) stagings?.retire(staging);
    else stagings?.answered(staging);
  }
  queue.inFlight -= count;
  queue.owner.outlet.send(frame.bytes);
}
