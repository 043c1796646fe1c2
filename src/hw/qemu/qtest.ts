/**
 * QEMU's qtest protocol (QEMU, docs/devel/testing/qtest.rst), on the engine thread: one line an access, answered in order.
 *
 * Lines are pipelined. A posted write sends its line and goes on; its answer is taken by `drain`, which must be called often: QEMU stands still
 * when nobody reads its answers. Everything else is a task that ends when its answer is there. An answer that does not come within the limit,
 * or that is none, loses the device. QEMU aborts on a malformed line, so nothing but commands of this file and numbers ever reaches one.
 */
import { HardwareError, type Clock, type Task } from '../task.js';
import { LineReader } from './line-reader.js';
import { LineWriter } from './line-writer.js';
import type { Fate } from './process.js';

export type AccessWidth = 1 | 2 | 4;

const word = (text: string): Uint8Array => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
/** Commands, by the width of the access. */
const READ = { 1: word('readb'), 2: word('readw'), 4: word('readl') } as const;
const WRITE = { 1: word('writeb'), 2: word('writew'), 4: word('writel') } as const;
const READ64 = word('readq');
const WRITE64 = word('writeq');
const IN = { 1: word('inb'), 2: word('inw'), 4: word('inl') } as const;
const OUT = { 1: word('outb'), 2: word('outw'), 4: word('outl') } as const;

/** The longest line sent: a command, an address of 32 and a value of 64 bits. */
const MOST_SENT = 40;
/** The longest answer has 22 bytes. */
const RECEIVE_BYTES = 4096;
/** Some 30 000 posted writes that QEMU has not read yet: more doorbells than commands can be in flight. */
const SEND_BYTES = 1_048_576;

const O = 0x4f;
const K = 0x4b;
const SPACE = 0x20;
const ZERO = 0x30;
const X = 0x78;
const MOST_DIGITS = 16;

/** What somebody waits for: the answer to one line, with a value if it is a read. */
interface Answer {
  readonly valued: boolean;
  there: boolean;
  high: number;
  low: number;
}

export class Qtest {
  readonly #fate: Fate;
  readonly #reader: LineReader;
  readonly #writer: LineWriter;
  readonly #clock: Clock;
  readonly #limit: number;
  /** Lines sent and answered. Both start again at 0 when they meet, which keeps them small. */
  #sent = 0;
  #answered = 0;
  /** Answers that somebody waits for, by the number of the line. */
  readonly #awaited = new Map<number, Answer>();
  /** When QEMU last answered; or when a line went out while none was unanswered. */
  #since = 0;

  /** `limit`: how long QEMU may leave a line unanswered, milliseconds. */
  constructor(socket: number, fate: Fate, clock: Clock, limit: number) {
    this.#fate = fate;
    this.#reader = new LineReader(socket, RECEIVE_BYTES, 'qtest');
    this.#writer = new LineWriter(socket, SEND_BYTES, 'qtest');
    this.#clock = clock;
    this.#limit = limit;
  }

  /** Posted. Addresses and ports are below 2^32, values fit the width: the caller has checked. On a lost device it does nothing. */
  postMemory(address: number, width: AccessWidth, value: number): void {
    this.#send(WRITE[width], address, 0, value, 1);
  }

  postMemory64(address: number, high: number, low: number): void {
    this.#send(WRITE64, address, high, low, 2);
  }

  postPort(port: number, width: AccessWidth, value: number): void {
    this.#send(OUT[width], port, 0, value, 1);
  }

  /** Ends when the write is done. @throws HardwareError `lost`; so do the reads. */
  *writeMemory(address: number, width: AccessWidth, value: number): Task<void> {
    yield* this.#ask(WRITE[width], address, value, 1, false);
  }

  *writePort(port: number, width: AccessWidth, value: number): Task<void> {
    yield* this.#ask(OUT[width], port, value, 1, false);
  }

  *readMemory(address: number, width: AccessWidth): Task<number> {
    return cut((yield* this.#ask(READ[width], address, 0, 0, true)).low, width);
  }

  *readMemory64(address: number): Task<bigint> {
    const { high, low } = yield* this.#ask(READ64, address, 0, 0, true);
    return (BigInt(high) << 32n) | BigInt(low);
  }

  *readPort(port: number, width: AccessWidth): Task<number> {
    return cut((yield* this.#ask(IN[width], port, 0, 0, true)).low, width);
  }

  /**
   * Sends what the socket did not take before, and takes answers that are there: how many. Never throws: what goes wrong loses the device.
   */
  drain(): number {
    if (this.#fate.lost !== undefined) return 0;
    let taken = 0;
    try {
      if (this.#writer.waiting > 0) this.#writer.flush();
      this.#reader.receive();
      for (; this.#reader.next(); taken++) this.#takeLine();
    } catch (error) {
      this.#fate.lose(error instanceof Error ? error.message : String(error));
    }
    if (taken > 0) this.#since = this.#clock();
    return taken;
  }

  /** Loses the device if QEMU has left a line unanswered for too long. */
  checkLimit(): void {
    if (this.#sent > 0 && this.#clock() - this.#since > this.#limit) this.#fate.lose(`qtest: QEMU has not answered for ${this.#limit} ms`);
  }

  *#ask(command: Uint8Array, address: number, value: number, values: 0 | 1, valued: boolean): Task<Answer> {
    const answer: Answer = { valued, there: false, high: 0, low: 0 };
    const line = this.#sent;
    if (this.#send(command, address, 0, value, values)) this.#awaited.set(line, answer);
    for (;;) {
      this.drain();
      if (answer.there) return answer;
      this.checkLimit();
      if (this.#fate.lost !== undefined) throw new HardwareError('lost', this.#fate.lost);
      yield 1;
    }
  }

  /** `values` is 0 for a read, 1 for a write, 2 for a write of 64 bits. False if the device is lost. */
  #send(command: Uint8Array, address: number, high: number, low: number, values: 0 | 1 | 2): boolean {
    if (this.#fate.lost !== undefined) return false;
    try {
      this.#writer.reserve(MOST_SENT);
      this.#writer.text(command);
      this.#writer.hex(address);
      if (values === 1) this.#writer.hex(low);
      else if (values === 2) this.#writer.hex64(high, low);
      this.#writer.endLine();
      this.#writer.flush();
    } catch (error) {
      this.#fate.lose(error instanceof Error ? error.message : String(error));
      return false;
    }
    if (this.#sent === 0) this.#since = this.#clock();
    this.#sent++;
    return true;
  }

  /** @throws HardwareError `protocol`. */
  #takeLine(): void {
    const { bytes, start, end } = this.#reader;
    if (this.#answered === this.#sent) throw new HardwareError('protocol', 'qtest: QEMU answers what nobody asked');
    const awaited = this.#awaited.size === 0 ? undefined : this.#awaited.get(this.#answered);
    const plain = end - start === 2 && bytes[start] === O && bytes[start + 1] === K;
    if (awaited === undefined ? !plain : !parseAnswer(bytes, start, end, plain, awaited)) {
      throw new HardwareError(
        'protocol',
        `qtest: QEMU answers ${JSON.stringify(Buffer.from(bytes.subarray(start, Math.min(end, start + 60))).toString('latin1'))}`,
      );
    }
    if (awaited !== undefined) {
      awaited.there = true;
      this.#awaited.delete(this.#answered);
    }
    this.#answered++;
    if (this.#answered === this.#sent) this.#sent = this.#answered = 0;
  }
}

function cut(value: number, width: AccessWidth): number {
  return width === 4 ? value : value & (width === 2 ? 0xffff : 0xff);
}

/** `OK`, or `OK 0x` and up to 16 hexadecimal digits where a value is due. */
function parseAnswer(bytes: Uint8Array, start: number, end: number, plain: boolean, into: Answer): boolean {
  if (!into.valued) return plain;
  const digits = start + 5;
  const framed = bytes[start] === O && bytes[start + 1] === K && bytes[start + 2] === SPACE && bytes[start + 3] === ZERO && bytes[start + 4] === X;
  if (!framed || end <= digits || end - digits > MOST_DIGITS) return false;
  for (let at = digits; at < end; at++) {
    const digit = digitOf(bytes[at]);
    if (digit < 0) return false;
    into.high = ((into.high << 4) | (into.low >>> 28)) >>> 0;
    into.low = ((into.low << 4) | digit) >>> 0;
  }
  return true;
}

function digitOf(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  return byte >= 0x61 && byte <= 0x66 ? byte - 0x57 : -1;
}
