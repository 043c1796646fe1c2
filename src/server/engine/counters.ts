/** Statistics of a tenant in shared memory: the engine writes, the main thread reads at any time. Nothing here allocates for a request. */
import type { CounterView, TenantCounters, TraceRecord } from './api.js';

const OPERATIONS = 8;
const CODES = 256;
/** Latency buckets: upper bounds of 1 us, 2 us, 4 us ... 2^27 us (134 s); the last one takes all above. */
const BUCKETS = 29;

const REQUESTS = 0;
const BY_CODE = REQUESTS + OPERATIONS;
const LATENCY = BY_CODE + CODES;
const LATENCY_SUM = LATENCY + BUCKETS;
const BYTES_READ = LATENCY_SUM + 1;
const BYTES_WRITTEN = BYTES_READ + 1;
const IN_FLIGHT = BYTES_WRITTEN + 1;
const RESETS = IN_FLIGHT + 1;
const TRACED = RESETS + 1;
const TRACE = TRACED + 1;

/** Requests that a trace keeps for each tenant: a power of two. */
const TRACE_RECORDS = 128;
const TRACE_FIELDS = 10;
const LENGTH = TRACE + TRACE_RECORDS * TRACE_FIELDS;

export const createStatisticsMemory = (): SharedArrayBuffer => new SharedArrayBuffer(LENGTH * 8);

/** The engine's side. */
export class TenantStatistics {
  readonly #numbers: Float64Array;
  /** Where the next record of the trace goes: its index in the ring, and how many there were. */
  #record: number;
  #traced: number;

  constructor(memory: SharedArrayBuffer) {
    this.#numbers = new Float64Array(memory);
    this.#traced = this.#numbers[TRACED];
    this.#record = this.#traced % TRACE_RECORDS;
  }

  set inFlight(count: number) {
    this.#numbers[IN_FLIGHT] = count;
  }

  countReset(): void {
    this.#numbers[RESETS]++;
  }

  countRefused(code: number): void {
    this.#numbers[BY_CODE + code]++;
  }

  /** `milliseconds` from admission to completion. */
  countCompleted(operation: number, code: number, bytesRead: number, bytesWritten: number, milliseconds: number): void {
    const numbers = this.#numbers;
    numbers[REQUESTS + operation]++;
    if (code !== 0) numbers[BY_CODE + code]++;
    numbers[BYTES_READ] += bytesRead;
    numbers[BYTES_WRITTEN] += bytesWritten;
    const bucket = 32 - Math.clz32(milliseconds * 1000);
    numbers[LATENCY + (bucket < BUCKETS ? bucket : BUCKETS - 1)]++;
    numbers[LATENCY_SUM] += milliseconds / 1000;
  }

  /** `time` in milliseconds since the epoch. */
  trace(
    time: number,
    lease: number,
    queue: number,
    operation: number,
    share: number,
    lba: number,
    blocks: number,
    region: number,
    code: number,
    microseconds: number,
  ): void {
    const numbers = this.#numbers;
    const at = TRACE + this.#record * TRACE_FIELDS;
    numbers[at] = time;
    numbers[at + 1] = lease;
    numbers[at + 2] = queue;
    numbers[at + 3] = operation;
    numbers[at + 4] = share;
    numbers[at + 5] = lba;
    numbers[at + 6] = blocks;
    numbers[at + 7] = region;
    numbers[at + 8] = code;
    numbers[at + 9] = microseconds;
    this.#record = (this.#record + 1) & (TRACE_RECORDS - 1);
    numbers[TRACED] = ++this.#traced;
  }
}

/** The main thread's side. */
export class Counters implements CounterView {
  readonly #memory = new Map<number, SharedArrayBuffer>();

  /** Memory of a tenant's statistics, made at the first use. */
  memory(index: number): SharedArrayBuffer {
    let memory = this.#memory.get(index);
    if (memory === undefined) {
      memory = createStatisticsMemory();
      this.#memory.set(index, memory);
    }
    return memory;
  }

  tenant(index: number): TenantCounters {
    const numbers = new Float64Array(this.#memory.get(index) ?? new SharedArrayBuffer(LENGTH * 8));
    const byCode = new Map<number, number>();
    for (let code = 1; code < CODES; code++) if (numbers[BY_CODE + code] > 0) byCode.set(code, numbers[BY_CODE + code]);
    return {
      requests: [...numbers.subarray(REQUESTS, REQUESTS + OPERATIONS)],
      bytesRead: numbers[BYTES_READ],
      bytesWritten: numbers[BYTES_WRITTEN],
      byCode,
      inFlight: numbers[IN_FLIGHT],
      resets: numbers[RESETS],
      latency: {
        bounds: Array.from({ length: BUCKETS }, (_, bucket) => (bucket === BUCKETS - 1 ? Infinity : 2 ** bucket / 1e6)),
        counts: [...numbers.subarray(LATENCY, LATENCY + BUCKETS)],
        sum: numbers[LATENCY_SUM],
      },
    };
  }

  trace(index: number): TraceRecord[] {
    const memory = this.#memory.get(index);
    if (memory === undefined) return [];
    const numbers = new Float64Array(memory);
    const traced = numbers[TRACED];
    const records: TraceRecord[] = [];
    for (let record = Math.max(0, traced - TRACE_RECORDS); record < traced; record++) {
      const at = TRACE + (record % TRACE_RECORDS) * TRACE_FIELDS;
      const [time, lease, queue, operation, share, lba, blocks, region, code, microseconds] = numbers.subarray(at, at + TRACE_FIELDS);
      records.push({ time, lease, queue, operation, share, lba, blocks, region, code, microseconds });
    }
    return records;
  }
}
