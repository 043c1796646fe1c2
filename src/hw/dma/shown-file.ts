/**
 * A memory file that a client may read and never write: the kernel enforces it (DESIGN, memory rules 3 and 4).
 *
 * It holds one thing for one client. Once the server, and the device where it reaches the file, have mapped it, it is sealed: no writable mapping comes
 * after that, no write, no other seal. Clients get descriptors that were opened for reading only.
 */
import { fchmodSync, ftruncateSync } from 'node:fs';
import { Seal, shm } from '../../native/shm.js';
import { createFile } from './file.js';

/**
 * How a shown file ends. `truncated`: whoever still maps it faults from then on. `orphaned`: it is sealed against that, too, and its pages die with the last
 * mapping; for readers that could open the file for writing (user 0, the server's own user), and so could cut it short under the server.
 */
export type ShownEnd = 'truncated' | 'orphaned';

export class ShownFile {
  readonly bytes: number;
  readonly #end: ShownEnd;
  #fd: number;

  /** A zeroed file of `bytes`, whole pages; `huge`: of huge pages. */
  constructor(name: string, bytes: number, end: ShownEnd, huge = false) {
    this.bytes = bytes;
    this.#end = end;
    this.#fd = createFile(name, bytes, huge);
  }

  /** For those who write it: they map it before `seal`. */
  get fd(): number {
    return this.#fd;
  }

  /** All who write it have mapped it. Only now may it be opened for a client. */
  seal(): void {
    // The mode comes this late because QEMU, which need not be root, opens the file once more.
    fchmodSync(this.#fd, 0o400);
    shm().addSeals(this.#fd, Seal.grow | Seal.futureWrite | Seal.seal | (this.#end === 'orphaned' ? Seal.shrink : 0));
  }

  /** A descriptor that can read, and nothing else. It is the caller's to close. */
  open(): number {
    return shm().openReadOnly(this.#fd);
  }

  /** Nothing here writes it any more. `unmapped`: nothing here maps it any more, either; only then it can be truncated. Once. */
  end(unmapped: boolean): void {
    if (unmapped && this.#end === 'truncated') ftruncateSync(this.#fd, 0);
    shm().close(this.#fd);
    this.#fd = -1;
  }
}
