/** Blocks in memory, allocated in chunks when they are first written. They are gone with the thread that runs the model. */
import { Status } from '../../nvme/spec/index.js';
import { DURABLE, FlushState, type Media } from './media.js';

const CHUNK_BYTES = 65_536;
/** Chunks in one entry of the directory: 2 to the power of this. Numbers of chunks are below 2^31, since media are smaller than 2^47 bytes. */
const FAN_OUT_SHIFT = 10;
const FAN_OUT = 1 << FAN_OUT_SHIFT;

/** Of a position: the number of its chunk. Positions do not fit into 32 bits, and a remainder of such numbers is slow. */
const chunkOf = (position: number): number => Math.floor(position / CHUNK_BYTES) | 0;

export class MemoryMedia implements Media {
  readonly bytes: number;
  readonly #directory: (Uint8Array | undefined)[][] = [];
  #chunks = 0;

  constructor(bytes: number) {
    this.bytes = bytes;
  }

  get usedBytes(): number {
    return Math.min(this.#chunks * CHUNK_BYTES, this.bytes);
  }

  read(position: number, into: Uint8Array, at: number, bytes: number): number {
    for (let done = 0; done < bytes;) {
      const number = chunkOf(position + done);
      const inChunk = position + done - number * CHUNK_BYTES;
      const length = Math.min(bytes - done, CHUNK_BYTES - inChunk);
      const chunk = this.#chunk(number);
      if (chunk === undefined) into.fill(0, at + done, at + done + length);
      else into.set(chunk.subarray(inChunk, inChunk + length), at + done);
      done += length;
    }
    return Status.success;
  }

  write(position: number, from: Uint8Array, at: number, bytes: number): number {
    for (let done = 0; done < bytes;) {
      const number = chunkOf(position + done);
      const inChunk = position + done - number * CHUNK_BYTES;
      const length = Math.min(bytes - done, CHUNK_BYTES - inChunk);
      const chunk = this.#chunk(number) ?? this.#allocate(number);
      if (chunk === undefined) return Status.writeFault;
      chunk.set(from.subarray(at + done, at + done + length), inChunk);
      done += length;
    }
    return Status.success;
  }

  zero(position: number, bytes: number): number {
    const end = position + bytes;
    for (let from = position; from < end;) {
      const number = chunkOf(from);
      const group = this.#directory[number >>> FAN_OUT_SHIFT];
      if (group === undefined) {
        from = ((number >>> FAN_OUT_SHIFT) + 1) * FAN_OUT * CHUNK_BYTES;
        continue;
      }
      const inChunk = from - number * CHUNK_BYTES;
      const length = Math.min(end - from, CHUNK_BYTES - inChunk);
      this.#zeroChunk(group, number & (FAN_OUT - 1), inChunk, length);
      from += length;
    }
    return Status.success;
  }

  flush(): number {
    return DURABLE;
  }

  flushed(): number {
    return FlushState.done;
  }

  #chunk(number: number): Uint8Array | undefined {
    return this.#directory[number >>> FAN_OUT_SHIFT]?.[number & (FAN_OUT - 1)];
  }

  /** Undefined when the machine has no memory left. */
  #allocate(number: number): Uint8Array | undefined {
    try {
      const group = (this.#directory[number >>> FAN_OUT_SHIFT] ??= []);
      const chunk = new Uint8Array(CHUNK_BYTES);
      group[number & (FAN_OUT - 1)] = chunk;
      this.#chunks++;
      return chunk;
    } catch {
      return undefined;
    }
  }

  #zeroChunk(group: (Uint8Array | undefined)[], index: number, at: number, bytes: number): void {
    const chunk = group[index];
    if (chunk === undefined) return;
    if (bytes < CHUNK_BYTES) {
      chunk.fill(0, at, at + bytes);
    } else {
      group[index] = undefined;
      this.#chunks--;
    }
  }
}
