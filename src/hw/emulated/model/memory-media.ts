/** Blocks in memory, allocated in chunks when they are first written. They are gone with the thread that runs the model. */
import { Status } from '../../nvme/spec/index.js';
import { DURABLE, FlushState, type Media } from './media.js';

const CHUNK_BYTES = 65_536;
/** Chunks in one entry of the directory. */
const FAN_OUT = 1024;

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
      const inChunk = (position + done) % CHUNK_BYTES;
      const length = Math.min(bytes - done, CHUNK_BYTES - inChunk);
      const chunk = this.#chunk((position + done - inChunk) / CHUNK_BYTES);
      if (chunk === undefined) into.fill(0, at + done, at + done + length);
      else into.set(chunk.subarray(inChunk, inChunk + length), at + done);
      done += length;
    }
    return Status.success;
  }

  write(position: number, from: Uint8Array, at: number, bytes: number): number {
    for (let done = 0; done < bytes;) {
      const inChunk = (position + done) % CHUNK_BYTES;
      const length = Math.min(bytes - done, CHUNK_BYTES - inChunk);
      const number = (position + done - inChunk) / CHUNK_BYTES;
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
      const inChunk = from % CHUNK_BYTES;
      const number = (from - inChunk) / CHUNK_BYTES;
      const group = this.#directory[Math.floor(number / FAN_OUT)];
      if (group === undefined) {
        from = (Math.floor(number / FAN_OUT) + 1) * FAN_OUT * CHUNK_BYTES;
        continue;
      }
      const length = Math.min(end - from, CHUNK_BYTES - inChunk);
      this.#zeroChunk(group, number % FAN_OUT, inChunk, length);
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
    return this.#directory[Math.floor(number / FAN_OUT)]?.[number % FAN_OUT];
  }

  /** Undefined when the machine has no memory left. */
  #allocate(number: number): Uint8Array | undefined {
    try {
      const group = (this.#directory[Math.floor(number / FAN_OUT)] ??= []);
      const chunk = new Uint8Array(CHUNK_BYTES);
      group[number % FAN_OUT] = chunk;
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
