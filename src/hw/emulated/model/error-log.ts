/** The error information log: the last errors, newest first. Filling it allocates nothing, so that a flood of bad commands costs no memory. */
import { ERROR_ENTRY_BYTES, ErrorEntry } from '../../nvme/spec/index.js';
import { putNumber } from './bytes.js';

/** Entries; ELPE is one less. */
export const ERROR_ENTRIES = 64;

export class ErrorLog {
  readonly #entries = new Uint8Array(ERROR_ENTRIES * ERROR_ENTRY_BYTES);
  #count = 0;

  /** Errors since power on. */
  get count(): number {
    return this.#count;
  }

  /**
   * @param queue submission queue and `commandId` of the command; both ffffh for an error that no command caused
   * @param status type << 8 | code
   * @param parameter byte of the command, or ffffh
   */
  add(queue: number, commandId: number, status: number, parameter: number, lba: number, namespace: number): void {
    const base = (this.#count++ % ERROR_ENTRIES) * ERROR_ENTRY_BYTES;
    const bytes = this.#entries;
    putNumber(bytes, ErrorEntry.count, this.#count, base);
    putNumber(bytes, ErrorEntry.sqid, queue, base);
    putNumber(bytes, ErrorEntry.cid, commandId, base);
    putNumber(bytes, ErrorEntry.status, status << 1, base);
    putNumber(bytes, ErrorEntry.parameter, parameter, base);
    putNumber(bytes, ErrorEntry.lba, lba, base);
    putNumber(bytes, ErrorEntry.nsid, namespace, base);
  }

  page(): Uint8Array {
    const page = new Uint8Array(this.#entries.length);
    const filled = Math.min(this.#count, ERROR_ENTRIES);
    for (let index = 0; index < filled; index++) {
      const from = ((this.#count - 1 - index) % ERROR_ENTRIES) * ERROR_ENTRY_BYTES;
      page.set(this.#entries.subarray(from, from + ERROR_ENTRY_BYTES), index * ERROR_ENTRY_BYTES);
    }
    return page;
  }
}
