/** The stagings of one session: the one in use, made when the first inline request comes, and those that were retired. */
import { MAX_REGION_BYTES } from '../../protocol/index.js';
import type { Domain } from '../domains/index.js';
import { Refusal } from '../engine/api.js';
import type { TenantLimits } from '../policy.js';
import { MAX_SERIAL, Staging, cookieSerial } from './staging.js';

export class StagingPool {
  /** Where new requests are placed; undefined until `make`, and after the one in use was retired. */
  current: Staging | undefined;
  readonly #domain: Domain;
  readonly #limits: () => TenantLimits;
  readonly #all = new Map<number, Staging>();
  /** Regions on their way to being freed. */
  readonly #dropping = new Set<Promise<void>>();
  #serial = 0;
  #closed = false;

  constructor(domain: Domain, limits: () => TenantLimits) {
    this.#domain = domain;
    this.#limits = limits;
  }

  /** The staging in which a request with this cookie (not 0) is placed. */
  of(cookie: number): Staging | undefined {
    return this.#all.get(cookieSerial(cookie));
  }

  /**
   * Makes the staging memory, of the size that the tenant may have.
   *
   * @throws {@link Refusal} `stagingFull` when the tenant may have none, `pinLimit`, or what an engine says.
   */
  async make(): Promise<void> {
    if (this.current !== undefined) return;
    const limits = this.#limits();
    const bytes = Math.min(limits.stagingBytes, MAX_REGION_BYTES);
    if (bytes <= 0) throw new Refusal('stagingFull', 'length', bytes);
    let region;
    try {
      region = await this.#domain.map(bytes, limits, true);
    } catch (error) {
      if (!(error instanceof Refusal && error.code === 'pinLimit') || this.#dropping.size === 0) throw error;
      // What was retired may be all that is in the way.
      await Promise.all(this.#dropping);
      region = await this.#domain.map(bytes, limits, true);
    }
    if (this.#closed) {
      await this.#domain.drop(region);
      throw new Refusal('noDomain');
    }
    do this.#serial = this.#serial === MAX_SERIAL ? 1 : this.#serial + 1;
    while (this.#all.has(this.#serial));
    this.current = new Staging(this.#serial, this.#domain, region);
    this.#all.set(this.#serial, this.current);
  }

  /** Nothing new is placed in it, and it goes once its requests have been answered. */
  retire(staging: Staging): void {
    if (staging === this.current) this.current = undefined;
    if (staging.requestsInFlight > 0 || !this.#all.delete(staging.serial)) return;
    const dropping: Promise<void> = this.#domain.drop(staging.region).finally(() => this.#dropping.delete(dropping));
    this.#dropping.add(dropping);
  }

  /** A request of `staging` was answered: if it was the last one of a retired staging, that goes. */
  answered(staging: Staging): void {
    if (staging !== this.current && staging.requestsInFlight === 0) this.retire(staging);
  }

  /** A queue is gone for good. What it never answered may still be written by the device. */
  forgetQueue(owner: number): void {
    for (const staging of this.#all.values()) if (staging.removeOwner(owner) > 0) this.retire(staging);
  }

  /** Gives everything up. The caller has closed the leases. */
  async close(): Promise<void> {
    this.#closed = true;
    const stagings = [...this.#all.values()];
    this.#all.clear();
    this.current = undefined;
    await Promise.all([...stagings.map((staging) => this.#domain.drop(staging.region)), ...this.#dropping]);
  }
}
