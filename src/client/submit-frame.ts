/**
 * Writes `submit` messages as msgpack, straight from entries and data: the same bytes that a msgpack library would make of the map
 * `{type, lease, queue, entries, data}`, with one copy of the data.
 */
import { ENTRY_BYTES, ENTRY_WORDS } from '../protocol/index.js';

const MAP = 0x80;
const TEXT = 0xa0;
const U16 = 0xcd;
const U32 = 0xce;
const BINARY_32 = 0xc6;

const text = (value: string): Buffer => Buffer.concat([Buffer.of(TEXT | value.length), Buffer.from(value, 'latin1')]);

/** Bytes of the message beside entries and data; a little more than what `prefix` and `DATA_KEY` make. */
const SUBMIT_OVERHEAD = 80;

const LENGTH_BYTES = 4;
const DATA_KEY = Buffer.concat([text('data'), Buffer.of(BINARY_32)]);

function prefixOf(lease: number, queue: number): Buffer {
  const lease32 = Buffer.alloc(4);
  lease32.writeUInt32BE(lease);
  return Buffer.concat([
    Buffer.of(MAP | 4),
    text('type'),
    text('submit'),
    text('lease'),
    Buffer.of(U32),
    lease32,
    text('queue'),
    Buffer.of(U16, queue >>> 8, queue & 0xff),
    text('entries'),
    Buffer.of(BINARY_32),
  ]);
}

/** Messages up to a quarter of it are cut from one piece of memory: an ArrayBuffer of its own costs more than the rest of a message. */
const SLAB_BYTES = 65_536;

/** The message that is being filled, for one queue. */
export class SubmitFrame {
  /** The entries: 16 words each. */
  readonly words: Uint32Array;
  readonly #entries: Buffer;
  readonly #most: number;
  readonly #mostBytes: number;
  readonly #prefix: Buffer;
  /** Data to copy: source, start in it and length of each piece. */
  readonly #sources: Uint8Array[] = [];
  readonly #starts: number[] = [];
  readonly #lengths: number[] = [];
  #count = 0;
  #dataBytes = 0;
  #slab = Buffer.alloc(0);
  #slabUsed = 0;

  /** `most` entries and `mostBytes` in one message. */
  constructor(lease: number, queue: number, most: number, mostBytes: number) {
    this.words = new Uint32Array(most * ENTRY_WORDS);
    this.#entries = Buffer.from(this.words.buffer);
    this.#most = most;
    this.#mostBytes = mostBytes;
    this.#prefix = prefixOf(lease, queue);
  }

  get count(): number {
    return this.#count;
  }

  /** Whether one more entry with `bytes` of data goes into the message. */
  fits(bytes: number): boolean {
    return this.#count < this.#most && SUBMIT_OVERHEAD + (this.#count + 1) * ENTRY_BYTES + this.#dataBytes + bytes <= this.#mostBytes;
  }

  /** Index of the words of the next entry. The caller writes all sixteen. */
  add(): number {
    return this.#count++ * ENTRY_WORDS;
  }

  /** Data of the entry that was added last. They are copied by {@link encode}. */
  addData(source: Uint8Array, start: number, length: number): void {
    this.#sources.push(source);
    this.#starts.push(start);
    this.#lengths.push(length);
    this.#dataBytes += length;
  }

  /** The message; the frame is empty afterwards. */
  encode(): Buffer {
    const entryBytes = this.#count * ENTRY_BYTES;
    const hasData = this.#dataBytes > 0;
    const head = this.#prefix.length + LENGTH_BYTES;
    const tail = hasData ? DATA_KEY.length + LENGTH_BYTES + this.#dataBytes : 0;
    const message = this.#allocate(head + entryBytes + tail);
    this.#prefix.copy(message);
    if (hasData) message[0] = MAP | 5;
    message.writeUInt32BE(entryBytes, this.#prefix.length);
    this.#entries.copy(message, head, 0, entryBytes);
    if (hasData) this.#encodeData(message, head + entryBytes);
    this.#count = 0;
    return message;
  }

  #allocate(bytes: number): Buffer {
    if (bytes > SLAB_BYTES / 4) return Buffer.allocUnsafeSlow(bytes);
    if (bytes > this.#slab.length - this.#slabUsed) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#slabUsed = 0;
    }
    const start = this.#slabUsed;
    this.#slabUsed += bytes;
    return this.#slab.subarray(start, start + bytes);
  }

  #encodeData(message: Buffer, start: number): void {
    DATA_KEY.copy(message, start);
    message.writeUInt32BE(this.#dataBytes, start + DATA_KEY.length);
    let at = start + DATA_KEY.length + LENGTH_BYTES;
    for (let index = 0; index < this.#sources.length; index++) {
      const from = this.#starts[index];
      const length = this.#lengths[index];
      message.set(this.#sources[index].subarray(from, from + length), at);
      at += length;
    }
    this.#sources.length = 0;
    this.#starts.length = 0;
    this.#lengths.length = 0;
    this.#dataBytes = 0;
  }
}
