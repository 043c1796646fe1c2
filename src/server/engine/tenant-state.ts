/** What the engine keeps for a tenant on its device, over all its leases: its turn in the schedule, its rates, its counters, and its strikes. */
import type { Rates } from './api.js';
import type { ClientQueue } from './client-queue.js';
import type { TenantStatistics } from './counters.js';
import { TokenBucket } from './token-bucket.js';

/** So many strikes within this time put a tenant out. */
const MAX_STRIKES = 3;
const STRIKES_MS = 5 * 60_000;

export class TenantState {
  readonly index: number;
  readonly name: string;
  readonly statistics: TenantStatistics;
  weight: number;
  readonly operations: TokenBucket;
  readonly bytes: TokenBucket;
  /** Queues that are polled, served in turn. */
  readonly queues: ClientQueue[] = [];
  nextQueue = 0;
  /** What it may still use of this round, in cost units; carried over when negative. */
  deficit = 0;
  /** In the scheduler's round. */
  scheduled = false;
  /** Requests in flight of the tenant on this device. */
  inFlight = 0;
  leases = 0;
  /** When the last strikes were, oldest first; milliseconds of the engine's clock. */
  readonly #strikes = Array.from({ length: MAX_STRIKES }, () => -Infinity);

  constructor(index: number, name: string, weight: number, rates: Rates, statistics: TenantStatistics) {
    this.index = index;
    this.name = name;
    this.weight = weight;
    this.statistics = statistics;
    this.operations = new TokenBucket(rates.operations);
    this.bytes = new TokenBucket(rates.bytes);
  }

  /** Something of the tenant cost the others: see {@link Lease.strike}. */
  strike(now: number): void {
    this.#strikes.shift();
    this.#strikes.push(now);
  }

  /** Strikes that count. */
  strikes(now: number): number {
    return this.#strikes.filter((at) => now - at < STRIKES_MS).length;
  }

  /** It has had its strikes: it gets no lease until the first of them is forgiven. */
  isOut(now: number): boolean {
    return this.strikes(now) === MAX_STRIKES;
  }
}
