import { PAGE_BYTES } from '../protocol/index.js';

/**
 * The SDK's own account of the session's staging memory, where the server keeps the data of inline requests in flight. It is shared by all
 * devices of a client, and kept so that the server never has to refuse a message for want of room.
 */
export class Staging {
  readonly total: number;
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(bytes: number) {
    this.total = Math.floor(bytes / PAGE_BYTES) * PAGE_BYTES;
    this.#free = this.total;
  }

  get free(): number {
    return this.#free;
  }

  /** What `length` bytes of data take: whole pages. */
  static charge(length: number): number {
    return Math.ceil(length / PAGE_BYTES) * PAGE_BYTES;
  }

  /** Takes `charge` bytes; false when they are not free, and then `retry` is called once something is. */
  take(charge: number, retry: () => void): boolean {
    if (charge > this.#free) {
      this.#waiting.add(retry);
      return false;
    }
    this.#free -= charge;
    return true;
  }

  give(charge: number): void {
    this.#free += charge;
  }

  /** Lets those who waited try again; called once for a message of completions. */
  wake(): void {
    if (this.#waiting.size === 0) return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const retry of waiting) retry();
  }
}
