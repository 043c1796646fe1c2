/**
 * The memory files of a queue whose rings a client maps, by the memory rules of the design: the client writes the request ring; the completion ring it can
 * only read, by its descriptor, by the file's mode, and by seals.
 */
import { closeSync, constants, fchmodSync, ftruncateSync, openSync } from 'node:fs';
import { CompletionRing, RequestRing, completionRingBytes, requestRingBytes } from '../../protocol/index.js';
import { Seal, shm } from '../../native/shm.js';

const OWNER_WRITES = 0o600;
const OWNER_READS = 0o400;

export class QueueFiles {
  readonly requests: number;
  readonly completions: number;
  readonly #keepsPages: boolean;
  readonly #requestBuffer: ArrayBuffer;
  readonly #completionBuffer: ArrayBuffer;
  readonly #requestIndices: Int32Array;
  readonly #completionIndices: Int32Array;
  #closed = false;

  /** `privileged`: for a client that could undo what is done to its files, uid 0 or the server's own. All seals are set then, and nothing is taken back. */
  constructor(entries: number, privileged: boolean) {
    const native = shm();
    this.#keepsPages = privileged;
    this.requests = native.memfdCreate('ringwarden:requests', requestRingBytes(entries));
    try {
      this.completions = native.memfdCreate('ringwarden:completions', completionRingBytes(entries));
    } catch (error) {
      native.close(this.requests);
      throw error;
    }
    try {
      fchmodSync(this.requests, OWNER_WRITES);
      fchmodSync(this.completions, OWNER_READS);
      native.addSeals(this.requests, Seal.shrink | Seal.grow | Seal.seal);
      // Not against shrinking: that is how it is taken back, and nobody but the server can.
      native.addSeals(this.completions, privileged ? Seal.shrink | Seal.grow : Seal.grow);
      this.#requestBuffer = native.map(this.requests, 0, requestRingBytes(entries), false);
      this.#completionBuffer = native.map(this.completions, 0, completionRingBytes(entries), false);
      this.#requestIndices = new Int32Array(this.#requestBuffer);
      this.#completionIndices = new Int32Array(this.#completionBuffer);
    } catch (error) {
      this.#close();
      throw error;
    }
  }

  /** The engine has its mapping: from now on nobody gets one for writing. Returns a descriptor of the completion ring that only reads. */
  seal(): number {
    if (this.#closed) throw new Error('the queue was closed meanwhile');
    shm().addSeals(this.completions, Seal.futureWrite | Seal.seal);
    return openSync(`/proc/self/fd/${this.completions}`, constants.O_RDONLY);
  }

  /** Requests that the client says it has written and that have no completion. A client that lies about it makes the end of the server take its full time. */
  get inFlight(): number {
    if (this.#closed) return 0;
    const written = Atomics.load(this.#requestIndices, RequestRing.requestTail);
    return Math.max(0, (written - Atomics.load(this.#completionIndices, CompletionRing.completionTail)) | 0);
  }

  /** Takes the memory back. `quiet`: the engine has no mapping any more; if that is not certain, its pages have to stay. */
  revoke(quiet: boolean): void {
    if (this.#closed) return;
    shm().unmap(this.#requestBuffer);
    shm().unmap(this.#completionBuffer);
    if (quiet && !this.#keepsPages) ftruncateSync(this.completions, 0);
    this.#close();
  }

  #close(): void {
    this.#closed = true;
    closeSync(this.requests);
    closeSync(this.completions);
  }
}
