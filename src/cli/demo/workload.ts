/**
 * A workload that knows what it should read: patterned writes, zeroes, reads, compares and flushes at random places, with the expected content of
 * every block in the memory of this program. Workers have blocks of their own, so that two requests in flight never meet.
 */
import { randomInt } from 'node:crypto';
import type { BlockDevice, Region } from '../../client/index.js';
import { messageOf } from '../../server/text.js';
import { type Secret, firstDifference } from './canary.js';
import type { WorkloadReport } from './types.js';
import { within } from './within.js';

const MAX_BLOCKS = 64;
const WORKERS = 4;

export interface WorkloadTenant {
  readonly name: string;
  readonly share: BlockDevice;
  /** Bytes of the share that the workload has, whole blocks. */
  readonly zone: { readonly first: number; readonly bytes: number };
  /** A buffer for each worker, for requests whose data stay in the server's memory. */
  readonly buffers: readonly Region[];
  /** Its mark is in everything that is written. */
  readonly secret: Secret;
}

export const WORKERS_PER_TENANT = WORKERS;
export const BUFFER_BYTES = MAX_BLOCKS * 512;

export class Workload {
  readonly #tenants: readonly WorkloadTenant[];
  readonly #expected: ReadonlyMap<WorkloadTenant, Buffer>;
  readonly #requests: Map<WorkloadTenant, number>;
  readonly #problems: string[] = [];
  #bytes = 0;
  #mismatches = 0;
  #salt = 1_000;
  #stopping = false;
  #running: Promise<unknown> | undefined;

  constructor(tenants: readonly WorkloadTenant[]) {
    this.#tenants = tenants;
    this.#expected = new Map(tenants.map((tenant) => [tenant, Buffer.alloc(tenant.zone.bytes)]));
    this.#requests = new Map(tenants.map((tenant) => [tenant, 0]));
  }

  /** Runs until `stop`. */
  start(): void {
    this.#running = Promise.all(this.#tenants.flatMap((tenant) => Array.from({ length: WORKERS }, (_, worker) => this.#work(tenant, worker))));
  }

  /** Waits until no request is in flight, then reads every block once more. */
  async stop(): Promise<void> {
    this.#stopping = true;
    try {
      await within('the end of all requests', this.#running ?? Promise.resolve());
    } catch (error) {
      this.#mismatch(messageOf(error));
      return;
    }
    for (const tenant of this.#tenants) await this.#verifyAll(tenant);
  }

  /** Requests of each tenant that were answered. */
  get progress(): readonly number[] {
    return [...this.#requests.values()];
  }

  report(): WorkloadReport {
    const requests = this.progress.reduce((sum, count) => sum + count, 0);
    return { tenants: this.#tenants.length, requests, bytes: this.#bytes, mismatches: this.#mismatches };
  }

  /** What did not match, in words, since the last time. */
  takeProblems(): string[] {
    return this.#problems.splice(0);
  }

  async #work(tenant: WorkloadTenant, worker: number): Promise<void> {
    const { blockBytes } = tenant.share;
    const blocks = Math.floor(tenant.zone.bytes / blockBytes / WORKERS);
    while (!this.#stopping) {
      const count = randomInt(1, MAX_BLOCKS + 1);
      const at = (worker * blocks + randomInt(0, blocks - count + 1)) * blockBytes;
      try {
        await this.#one(tenant, worker, at, count * blockBytes);
        this.#requests.set(tenant, (this.#requests.get(tenant) ?? 0) + 1);
      } catch (error) {
        this.#mismatch(`a request of ${tenant.name} failed: ${messageOf(error)}`);
        return;
      }
    }
  }

  async #one(tenant: WorkloadTenant, worker: number, at: number, length: number): Promise<void> {
    const { share, secret, zone } = tenant;
    const offset = zone.first + at;
    const expected = this.#expectedOf(tenant).subarray(at, at + length);
    const buffer = tenant.buffers[worker];
    const kind = randomInt(0, 100);
    if (kind < 30) {
      secret.fill(length, this.#salt++).copy(expected);
      await share.write(offset, Buffer.from(expected));
      this.#bytes += length;
    } else if (kind < 40) {
      secret.fill(length, this.#salt++).copy(expected);
      await buffer.write(0, expected);
      await share.writeFrom(buffer, 0, offset, length);
      this.#bytes += length;
    } else if (kind < 45) {
      expected.fill(0);
      await share.writeZeroes(offset, length);
    } else if (kind < 80) {
      this.#check(tenant, offset, expected, await share.read(offset, length));
    } else if (kind < 88) {
      await share.readInto(buffer, 0, offset, length);
      this.#check(tenant, offset, expected, await buffer.read(0, length));
    } else if (kind < 97) {
      await this.#compare(tenant, offset, expected);
    } else {
      await share.flush();
    }
  }

  /** Compares with the right data, or with data that are wrong in one byte. */
  async #compare(tenant: WorkloadTenant, offset: number, expected: Buffer): Promise<void> {
    const given = Buffer.from(expected);
    const isEqual = randomInt(0, 2) === 0;
    if (!isEqual) given[randomInt(0, given.length)] ^= 0x01;
    if ((await tenant.share.compare(offset, given)) !== isEqual) this.#mismatch(`a compare of ${tenant.name} at byte ${offset} said ${!isEqual}`);
    this.#bytes += given.length;
  }

  #check(tenant: WorkloadTenant, offset: number, expected: Buffer, found: Buffer): void {
    const at = firstDifference(expected, found);
    if (at >= 0) this.#mismatch(`${tenant.name} read something else than it wrote at byte ${offset + at}`);
    this.#bytes += found.length;
  }

  async #verifyAll(tenant: WorkloadTenant): Promise<void> {
    const { share, zone } = tenant;
    try {
      this.#check(tenant, zone.first, this.#expectedOf(tenant), await within('the last read', share.read(zone.first, zone.bytes)));
      this.#requests.set(tenant, (this.#requests.get(tenant) ?? 0) + 1);
    } catch (error) {
      this.#mismatch(`the last read of ${tenant.name} failed: ${messageOf(error)}`);
    }
  }

  #expectedOf(tenant: WorkloadTenant): Buffer {
    const expected = this.#expected.get(tenant);
    if (expected === undefined) throw new Error(`no tenant ${tenant.name}`);
    return expected;
  }

  #mismatch(problem: string): void {
    this.#mismatches++;
    this.#problems.push(problem);
  }
}
