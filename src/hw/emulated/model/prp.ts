/**
 * Physical region pages (Base Specification 1.4, 4.3).
 *
 * PRP1 may start anywhere in its page at a multiple of 4. What is left is in PRP2: a page, if one is enough, else a list, which may start
 * anywhere in its page at a multiple of 8. The last entry of a list page leads to the next list page if more entries are needed than this one.
 */
import { PAGE_BYTES, PRP_BYTES, Sqe, Status } from '../../nvme/spec/index.js';
import type { Transfer } from '../transfer.js';

const OFFSET_MASK = PAGE_BYTES - 1;

/** Pages that `bytes` can touch, at most. */
export function mostPages(bytes: number): number {
  return Math.ceil(bytes / PAGE_BYTES) + 1;
}

export class PrpWalker {
  readonly #transfer: Transfer;
  readonly #entry = new Int32Array(2);

  constructor(transfer: Transfer) {
    this.#transfer = transfer;
  }

  /**
   * Finds the memory of a command's data pointer for `bytes` (> 0) and leaves it in the transfer.
   * @param write whether the device writes to it
   * @returns a status
   */
  walk(command: Int32Array, bytes: number, write: boolean): number {
    const transfer = this.#transfer;
    transfer.begin(write);
    const low = command[Sqe.prp1Low];
    if ((low & 3) !== 0) return Status.invalidPrpOffset;
    const first = Math.min(bytes, PAGE_BYTES - (low & OFFSET_MASK));
    transfer.add(low, command[Sqe.prp1High], first);
    const left = bytes - first;
    if (left === 0) return Status.success;
    if (left > PAGE_BYTES) return this.#walkList(command[Sqe.prp2Low], command[Sqe.prp2High], left);
    if ((command[Sqe.prp2Low] & OFFSET_MASK) !== 0) return Status.invalidPrpOffset;
    transfer.add(command[Sqe.prp2Low], command[Sqe.prp2High], left);
    return Status.success;
  }

  #walkList(low: number, high: number, bytes: number): number {
    const { bus } = this.#transfer;
    const entry = this.#entry;
    if ((low & 7) !== 0) return Status.invalidPrpOffset;
    let listLow = low;
    let listHigh = high;
    let left = bytes;
    while (left > 0) {
      bus.readWords(listLow, listHigh, entry, 2);
      if ((entry[0] & OFFSET_MASK) !== 0) return Status.invalidPrpOffset;
      if (left > PAGE_BYTES && (listLow & OFFSET_MASK) === PAGE_BYTES - PRP_BYTES) {
        listLow = entry[0];
        listHigh = entry[1];
        continue;
      }
      const length = left < PAGE_BYTES ? left : PAGE_BYTES;
      this.#transfer.add(entry[0], entry[1], length);
      left -= length;
      listLow += PRP_BYTES;
    }
    return Status.success;
  }
}
