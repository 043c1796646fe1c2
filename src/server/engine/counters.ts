/** Statistics of a tenant in shared memory: the engine writes, the main thread reads at any time. Nothing here allocates for a request. */
import { EntryWord } from '../../protocol/index.js';
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
const LENGTH = TRACED + 1;

/** Requests that a trace keeps for each tenant: a power of two. */
const TRACE_RECORDS = 128;
/** A record of the trace: two 64-bit numbers, then 32-bit words. 64 bytes, a line of the processor's cache. */
const RECORD_BYTES = 64;
const TRACE_BYTES = Math.ceil((LENGTH * 8) / RECORD_BYTES) * RECORD_BYTES;
const RecordNumber = { time: 0, milliseconds: 1 } as const;
const RecordWord = { lease: 4, queue: 5, head: 6, lbaLow: 7, lbaHigh: 8, blocks: 9, region: 10, code: 11 } as const;
const TWO_TO_32 = 0x1_0000_0000;

export const createStatisticsMemory = (): SharedArrayBuffer => new SharedArrayBuffer(TRACE_BYTES + TRACE_RECORDS * RECORD_BYTES);

/** The engine's side. */
export class TenantStatistics {
  readonly #numbers: Float64Array;
  readonly #words: Uint32Array;
  /** Where the next record of the trace goes: its index in the ring, and how many there were. */
  #record: number;
  #traced: number;

  constructor(memory: SharedArrayBuffer) {
    this.#numbers = new Float64Array(memory);
    this.#words = new Uint32Array(memory);
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

  /** `time` in milliseconds since the epoch, `milliseconds` from admission to completion, `lease` and `queue` those whose ring `entry` came from. */
  trace(time: number, milliseconds: number, lease: number, queue: number, entry: Uint32Array, code: number): void {
    const numbers = this.#numbers;
    const words = this.#words;
    const first = (TRACE_BYTES + this.#record * RECORD_BYTES) / 8;
    numbers[first + RecordNumber.time] = time;
    numbers[first + RecordNumber.milliseconds] = milliseconds;
    const at = 2 * first;
    words[at + RecordWord.lease] = lease;
    words[at + RecordWord.queue] = queue;
    words[at + RecordWord.head] = entry[EntryWord.head];
    words[at + RecordWord.lbaLow] = entry[EntryWord.lbaLow];
    words[at + RecordWord.lbaHigh] = entry[EntryWord.lbaHigh];
    words[at + RecordWord.blocks] = entry[EntryWord.blocks];
    words[at + RecordWord.region] = entry[EntryWord.region];
    words[at + RecordWord.code] = code;
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
    const words = new Uint32Array(memory);
    const traced = numbers[TRACED];
    const records: TraceRecord[] = [];
    for (let record = Math.max(0, traced - TRACE_RECORDS); record < traced; record++) {
      const first = (TRACE_BYTES + (record % TRACE_RECORDS) * RECORD_BYTES) / 8;
      const at = 2 * first;
      const head = words[at + RecordWord.head];
      records.push({
        time: numbers[first + RecordNumber.time],
        lease: words[at + RecordWord.lease],
        queue: words[at + RecordWord.queue],
        operation: head & 0xff,
        share: head >>> 16,
        lba: words[at + RecordWord.lbaLow] + words[at + RecordWord.lbaHigh] * TWO_TO_32,
        blocks: words[at + RecordWord.blocks],
        region: words[at + RecordWord.region],
        code: words[at + RecordWord.code],
        microseconds: numbers[first + RecordNumber.milliseconds] * 1000,
      });
    }
    return records;
  }
}
