/**
 * Copied DMA: the device never reaches memory that a client maps. Each such region has a copy of the same size in memory of the server; data go there before the
 * device reads them, and come from there after it has written them. Offsets are the same in both, so that translation knows of no difference.
 *
 * What a client does to its memory meanwhile changes what is copied, and nothing else.
 */
import { shm } from '../../native/shm.js';
import type { DmaMemory } from '../backing.js';

interface Copy {
  /** This thread's mapping of the client's memory. */
  readonly buffer: ArrayBuffer;
  readonly client: Int32Array;
  readonly device: Int32Array;
  /** The file of the server's memory. */
  readonly fd: number;
}

export class Copies {
  /** By region slot; undefined where the device reaches the memory itself (staging memory, which no client maps). */
  readonly #copies: (Copy | undefined)[] = [];

  /** `client`: this thread's mapping of the client's memory; `device`: what the device reaches, from the file `fd`. Buffer and descriptor are ours from now on. */
  add(slot: number, client: ArrayBuffer, device: DmaMemory, fd: number): void {
    this.#copies[slot] = { buffer: client, client: new Int32Array(client), device: new Int32Array(device.buffer), fd };
  }

  /** The device has let go of its memory. */
  remove(slot: number): void {
    const copy = this.#copies[slot];
    if (copy === undefined) return;
    this.#copies[slot] = undefined;
    shm().unmap(copy.buffer);
    shm().close(copy.fd);
  }

  /** The client's memory, where the slot has a copy. */
  clientBuffer(slot: number): ArrayBuffer | undefined {
    return this.#copies[slot]?.buffer;
  }

  /** Before the device reads `bytes` at `offset`, both multiples of 4 and inside the region. Hot path, as is {@link toClient}. */
  toDevice(slot: number, offset: number, bytes: number): void {
    const copy = this.#copies[slot];
    if (copy !== undefined) copyWords(copy.client, copy.device, offset, bytes);
  }

  /** After the device has written them. */
  toClient(slot: number, offset: number, bytes: number): void {
    const copy = this.#copies[slot];
    if (copy !== undefined) copyWords(copy.device, copy.client, offset, bytes);
  }
}

/** Word by word, because `set` needs a view for each end, which is an allocation for each request. */
function copyWords(from: Int32Array, to: Int32Array, offset: number, bytes: number): void {
  const end = (offset + bytes) >>> 2;
  for (let word = offset >>> 2; word < end; word++) to[word] = from[word];
}
