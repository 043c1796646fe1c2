/** Lines of bytes from a non-blocking socket, without an event loop. The other side is not trusted to keep lines short. */
import { shm } from '../../native/shm.js';
import { HardwareError } from '../task.js';

const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;

export class LineReader {
  readonly #socket: number;
  readonly #what: string;
  /** Holds what was received; a line lies in it at [start, end). */
  readonly bytes: Uint8Array;
  start = 0;
  end = 0;
  /** First byte behind the current line, first byte not searched yet, first byte not received yet. */
  #next = 0;
  #searched = 0;
  #filled = 0;

  /** Lines are shorter than `capacity` bytes. */
  constructor(socket: number, capacity: number, what: string) {
    this.#socket = socket;
    this.#what = what;
    this.bytes = new Uint8Array(capacity);
  }

  /**
   * Receives once: how many bytes, or -1 if nothing is there yet. Ends the current line.
   * @throws HardwareError `lost` at the end of the stream, `protocol` for a line that is too long.
   */
  receive(): number {
    if (this.#next > 0) {
      this.bytes.copyWithin(0, this.#next, this.#filled);
      this.#filled -= this.#next;
      this.#searched -= this.#next;
      this.#next = 0;
    }
    const room = this.bytes.length - this.#filled;
    if (room === 0) throw new HardwareError('protocol', `${this.#what}: a line of more than ${this.bytes.length} bytes`);
    const received = receiveFrom(this.#socket, this.bytes, this.#filled, room);
    if (received === 0) throw new HardwareError('lost', `${this.#what}: QEMU has ended`);
    if (received > 0) this.#filled += received;
    return received;
  }

  /** Goes to the next whole line, without its end of line; false if there is none. */
  next(): boolean {
    let end = this.#searched;
    while (end < this.#filled && this.bytes[end] !== NEWLINE) end++;
    this.#searched = end;
    if (end === this.#filled) return false;
    this.start = this.#next;
    this.end = end > this.#next && this.bytes[end - 1] === CARRIAGE_RETURN ? end - 1 : end;
    this.#next = end + 1;
    this.#searched = end + 1;
    return true;
  }

  /** Nothing was received that is not part of a line handed out. */
  get empty(): boolean {
    return this.#next === this.#filled;
  }
}

/** A connection that was reset has ended like any other. */
function receiveFrom(socket: number, into: Uint8Array, at: number, length: number): number {
  try {
    return shm().receive(socket, into, at, length);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ECONNRESET') return 0;
    throw error;
  }
}
