/**
 * Blocks in a file, or in a window of one. Read and written in place, so they survive the process.
 *
 * What the file system refuses becomes a media error of the command (Base Specification 1.4, figure 132), never an exception: a full disk is
 * a write fault. Durability is somebody else's job ({@link Durability}), because it may take a disk's time.
 */
import { readSync, writeSync } from 'node:fs';
import { Status } from '../../nvme/spec/index.js';
import { DURABLE, FlushState, type Media } from './media.js';

/** Makes files durable without holding up the model. */
export interface Durability {
  /** Asks that all that was written to any image so far become durable. Returns a ticket, never {@link DURABLE}. */
  request(): number;
  /** One of {@link FlushState}, for the image with this index. */
  state(image: number, ticket: number): number;
}

export interface ImageWindow {
  readonly fd: number;
  /** Index of the image, for {@link Durability}. */
  readonly image: number;
  /** First byte and size of the window. */
  readonly offset: number;
  readonly bytes: number;
}

const CHUNK_BYTES = 65_536;
const ZEROS = new Uint8Array(CHUNK_BYTES);

export class ImageMedia implements Media {
  readonly bytes: number;
  readonly #window: ImageWindow;
  readonly #durability: Durability;
  readonly #scratch = new Uint8Array(CHUNK_BYTES);
  #dirty = false;
  #ticket = DURABLE;

  constructor(window: ImageWindow, durability: Durability) {
    this.bytes = window.bytes;
    this.#window = window;
    this.#durability = durability;
  }

  get usedBytes(): number {
    return this.bytes;
  }

  read(position: number, into: Uint8Array, at: number, bytes: number): number {
    const { fd, offset } = this.#window;
    try {
      for (let done = 0; done < bytes;) {
        const count = readSync(fd, into, at + done, bytes - done, offset + position + done);
        // The file is at least as long as its windows; somebody cut it.
        if (count === 0) return Status.unrecoveredReadError;
        done += count;
      }
      return Status.success;
    } catch {
      return Status.unrecoveredReadError;
    }
  }

  write(position: number, from: Uint8Array, at: number, bytes: number): number {
    const { fd, offset } = this.#window;
    this.#dirty = true;
    try {
      for (let done = 0; done < bytes;) {
        const count = writeSync(fd, from, at + done, bytes - done, offset + position + done);
        if (count === 0) return Status.writeFault;
        done += count;
      }
      return Status.success;
    } catch {
      return Status.writeFault;
    }
  }

  /** Writes only where something else is, so that holes of a sparse file stay holes. */
  zero(position: number, bytes: number): number {
    for (let done = 0; done < bytes; done += CHUNK_BYTES) {
      const length = Math.min(CHUNK_BYTES, bytes - done);
      let status = this.read(position + done, this.#scratch, 0, length);
      const differs = status === Status.success && Buffer.compare(this.#scratch.subarray(0, length), ZEROS.subarray(0, length)) !== 0;
      // What cannot be read may still be written.
      if (differs || status !== Status.success) status = this.write(position + done, ZEROS, 0, length);
      if (status !== Status.success) return status;
    }
    return Status.success;
  }

  flush(): number {
    if (this.#dirty) {
      this.#ticket = this.#durability.request();
      this.#dirty = false;
    }
    return this.#ticket;
  }

  flushed(ticket: number): number {
    if (ticket === DURABLE) return FlushState.done;
    const state = this.#durability.state(this.#window.image, ticket);
    if (state === FlushState.failed) this.#dirty = true;
    return state;
  }
}
