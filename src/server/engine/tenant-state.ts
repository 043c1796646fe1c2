/** What the engine keeps for a tenant on its device: its turn in the schedule, its rates, and its counters. */
import type { Rates } from './api.js';
import type { ClientQueue } from './client-queue.js';
import type { TenantStatistics } from './counters.js';
import { TokenBucket } from './token-bucket.js';

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

  constructor(index: number, name: string, weight: number, rates: Rates, statistics: TenantStatistics) {
    this.index = index;
    this.name = name;
    this.weight = weight;
    this.statistics = statistics;
    this.operations = new TokenBucket(rates.operations);
    this.bytes = new TokenBucket(rates.bytes);
  }
}
