/** Rings that a client has mapped too: the engine's mappings of their files, and the doorbell. */
import { shm } from '../../native/shm.js';
import { completionRingBytes, requestRingBytes } from '../../protocol/index.js';
import type { ChannelMemory } from './channel.js';
import type { Doorbell } from './doorbell.js';

/** Descriptors of one queue's files and of its connection. The engine keeps none of the files, and takes the connection over. */
export interface RingFiles {
  readonly requests: number;
  readonly completions: number;
  readonly doorbell: number;
}

export class SharedRings {
  readonly memory: ChannelMemory;
  readonly doorbell: Doorbell;
  readonly #buffers: readonly ArrayBuffer[];

  private constructor(entries: number, requests: ArrayBuffer, completions: ArrayBuffer, doorbell: Doorbell) {
    this.#buffers = [requests, completions];
    this.doorbell = doorbell;
    // Nobody stands between the client and the engine who would need a number back.
    this.memory = { entries, requests, completions, requestCookies: new ArrayBuffer(entries * 4), completionCookies: new ArrayBuffer(entries * 4) };
  }

  /** Maps the files. When it throws, nothing was kept and the connection was not taken. */
  static map(entries: number, files: RingFiles, openDoorbell: (fd: number) => Doorbell): SharedRings {
    const requests = shm().map(files.requests, 0, requestRingBytes(entries), false);
    let completions: ArrayBuffer | undefined;
    try {
      completions = shm().map(files.completions, 0, completionRingBytes(entries), true);
      return new SharedRings(entries, requests, completions, openDoorbell(files.doorbell));
    } catch (error) {
      if (completions !== undefined) shm().unmap(completions);
      shm().unmap(requests);
      throw error;
    }
  }

  /** When it returns, the files may be truncated. */
  end(): void {
    this.doorbell.close();
    for (const buffer of this.#buffers) shm().unmap(buffer);
  }
}
