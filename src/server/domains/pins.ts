/** How much memory each tenant has pinned: the one place where it is counted (R27). */
import { Refusal } from '../engine/api.js';

export class PinAccounts {
  readonly #bytes = new Map<string, number>();

  /** @throws {@link Refusal} `pinLimit` when the tenant would go over `limit` bytes; nothing is charged then. */
  charge(tenant: string, bytes: number, limit: number): void {
    const pinned = this.pinned(tenant);
    if (!(bytes <= limit && pinned <= limit - bytes)) throw new Refusal('pinLimit', 'bytes', bytes);
    this.#bytes.set(tenant, pinned + bytes);
  }

  release(tenant: string, bytes: number): void {
    const left = this.pinned(tenant) - bytes;
    if (left > 0) this.#bytes.set(tenant, left);
    else this.#bytes.delete(tenant);
  }

  /** Bytes pinned now: regions, staging, and what waits in quarantine. */
  pinned(tenant: string): number {
    return this.#bytes.get(tenant) ?? 0;
  }
}
