/** The server's state at one moment, as plain values for JSON and metrics. */
import { codeName, OPERATIONS } from '../../protocol/index.js';
import type { DeviceReport, EngineHost, TenantCounters, TraceRecord } from '../engine/api.js';
import { messageOf } from '../text.js';
import type { AdminSources } from './sources.js';

/** Longest wait for an engine's answer: an administrator wants to hear of the others too. */
const ANSWER_MILLISECONDS = 2_000;

export interface DeviceSnapshot {
  readonly name: string;
  readonly engine: EngineHost;
  /** Undefined when the engine did not answer; `silent` says why. */
  readonly report: DeviceReport | undefined;
  readonly silent: string;
}

export interface TenantSnapshot {
  readonly name: string;
  readonly index: number;
  readonly sessions: number;
  readonly pinnedBytes: number;
}

export interface Snapshot {
  readonly sources: AdminSources;
  readonly devices: readonly DeviceSnapshot[];
  readonly tenants: readonly TenantSnapshot[];
}

/** `promise`, or an Error when there is no answer in time. */
export function inTime<T>(promise: Promise<T>, what: string, milliseconds = ANSWER_MILLISECONDS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not answer within ${milliseconds} ms`)), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function deviceSnapshot(name: string, engine: EngineHost): Promise<DeviceSnapshot> {
  try {
    return { name, engine, report: await inTime(engine.report(), `device ${name}`), silent: '' };
  } catch (error) {
    return { name, engine, report: undefined, silent: messageOf(error) };
  }
}

export async function takeSnapshot(sources: AdminSources): Promise<Snapshot> {
  const devices = await Promise.all([...sources.engines].map(([name, engine]) => deviceSnapshot(name, engine)));
  const sessions = new Map<string, number>();
  for (const { tenant } of sources.sessions()) sessions.set(tenant, (sessions.get(tenant) ?? 0) + 1);
  const tenants = sources.directory().all.map(({ name, index }) => ({
    name,
    index,
    sessions: sessions.get(name) ?? 0,
    pinnedBytes: sources.pinnedBytes(name),
  }));
  return { sources, devices, tenants };
}

/** The name of an operation, or its number where it has none. */
export const operationName = (operation: number): string => OPERATIONS[operation]?.name ?? String(operation);
/** The name of a code, or its number where it has none. */
export const nameOfCode = (code: number): string => codeName(code) ?? String(code);

/** Counters with names in place of numbers. */
export function namedCounters(counters: TenantCounters): object {
  const requests = counters.requests.flatMap((count, operation) =>
    operation > 0 && operation < OPERATIONS.length ? [[OPERATIONS[operation].name, count] as const] : [],
  );
  const { bounds, counts, sum } = counters.latency;
  return {
    requests: Object.fromEntries(requests),
    bytesRead: counters.bytesRead,
    bytesWritten: counters.bytesWritten,
    inFlight: counters.inFlight,
    resets: counters.resets,
    codes: Object.fromEntries([...counters.byCode].map(([code, count]) => [nameOfCode(code), count])),
    latency: {
      count: counts.reduce((total, count) => total + count, 0),
      sumSeconds: sum,
      p50Seconds: quantile(bounds, counts, 0.5),
      p99Seconds: quantile(bounds, counts, 0.99),
      p999Seconds: quantile(bounds, counts, 0.999),
    },
  };
}

/** Upper bound of the bucket in which the quantile lies; 0 without observations, and the largest finite bound where the bucket has none. */
export function quantile(bounds: readonly number[], counts: readonly number[], q: number): number {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return 0;
  let seen = 0;
  for (let index = 0; index < counts.length; index++) {
    seen += counts[index];
    if (seen >= q * total) return Number.isFinite(bounds[index]) ? bounds[index] : bounds[index - 1];
  }
  return bounds[bounds.length - 1];
}

/** Trace records of one tenant over all devices, oldest first, with names. */
export function namedTrace(devices: readonly Pick<DeviceSnapshot, 'name' | 'engine'>[], index: number): object[] {
  const records = devices.flatMap(({ name, engine }) => engine.counters.trace(index).map((record) => ({ device: name, record })));
  return records.sort((a, b) => a.record.time - b.record.time).map(({ device, record }) => ({ device, ...nameRecord(record) }));
}

const nameRecord = ({ time, operation, code, ...rest }: TraceRecord): object => ({
  time: new Date(time).toISOString(),
  operation: operationName(operation),
  ...rest,
  code: nameOfCode(code),
});
