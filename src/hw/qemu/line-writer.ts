/** Lines for a non-blocking socket, formatted into one buffer that is reused. What the socket does not take stays until the next `flush`. */
import { shm } from '../../native/shm.js';
import { HardwareError } from '../task.js';

const SPACE = 0x20;
const NEWLINE = 0x0a;
const ZERO_X = [0x30, 0x78] as const;
const DIGITS = Uint8Array.from('0123456789abcdef', (digit) => digit.charCodeAt(0));

export class LineWriter {
  readonly #socket: number;
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #start = 0;
  #end = 0;

  constructor(socket: number, capacity: number, what: string) {
    this.#socket = socket;
    this.#bytes = new Uint8Array(capacity);
    this.#what = what;
  }

  /** Bytes that the socket has not taken. */
  get waiting(): number {
    return this.#end - this.#start;
  }

  /** Makes sure that `bytes` more fit. @throws HardwareError `lost` when QEMU has not read for so long that they do not. */
  reserve(bytes: number): void {
    if (this.#bytes.length - this.#end >= bytes) return;
    this.flush();
    this.#bytes.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
    if (this.#bytes.length - this.#end < bytes) throw new HardwareError('lost', `${this.#what}: QEMU does not read what it is sent`);
  }

  /** The writes below need room that was reserved. */
  text(text: Uint8Array): void {
    this.#bytes.set(text, this.#end);
    this.#end += text.length;
  }

  /** A space and a number in hexadecimal, 0 to 2^32 - 1. */
  hex(value: number): void {
    let at = this.#start32();
    for (let shift = 28; shift >= 0; shift -= 4) this.#bytes[at++] = DIGITS[(value >>> shift) & 0xf];
    this.#end = at;
  }

  /** Like `hex`, with the upper 32 bits in front. */
  hex64(high: number, low: number): void {
    this.hex(high);
    let at = this.#end;
    for (let shift = 28; shift >= 0; shift -= 4) this.#bytes[at++] = DIGITS[(low >>> shift) & 0xf];
    this.#end = at;
  }

  endLine(): void {
    this.#bytes[this.#end++] = NEWLINE;
  }

  /** Sends what the socket takes. @throws HardwareError `lost` when nobody is there any more. */
  flush(): void {
    while (this.#end > this.#start) {
      const sent = this.#send();
      if (sent < 0) return;
      this.#start += sent;
    }
    this.#start = this.#end = 0;
  }

  #start32(): number {
    this.#bytes[this.#end] = SPACE;
    this.#bytes[this.#end + 1] = ZERO_X[0];
    this.#bytes[this.#end + 2] = ZERO_X[1];
    return this.#end + 3;
  }

  #send(): number {
    try {
      return shm().send(this.#socket, this.#bytes, this.#start, this.#end - this.#start);
    } catch {
      throw new HardwareError('lost', `${this.#what}: QEMU has ended`); // EPIPE, ECONNRESET
    }
  }
}
