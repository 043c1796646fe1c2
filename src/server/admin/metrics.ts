/** Every metric of the server. Labels are bounded: tenants beyond the first {@link NAMED_TENANTS} are one, `other`. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { IntervalHistogram } from 'node:perf_hooks';
import { OPERATIONS } from '../../protocol/index.js';
import type { TenantCounters } from '../engine/api.js';
import { Metrics, histogramSamples } from './prometheus.js';
import type { MetricSource, Sample } from './prometheus.js';
import { nameOfCode } from './snapshot.js';
import type { Snapshot } from './snapshot.js';

/** Tenants with labels of their own. */
export const NAMED_TENANTS = 256;
const OTHER = 'other';
/** How finely the delay of the event loop is watched. */
const LOOP_MILLISECONDS = 20;
const STATES = ['closed', 'open', 'resetting', 'lost'] as const;

const label = (tenant: { readonly name: string; readonly index: number }): string => (tenant.index < NAMED_TENANTS ? tenant.name : OTHER);

/** Adds up samples with the same labels: that is how the tenants beyond the bound become one. */
function summed(samples: readonly Sample[]): Sample[] {
  const byLabels = new Map<string, Sample>();
  for (const sample of samples) {
    const key = JSON.stringify([sample.suffix, Object.entries(sample.labels)]);
    const earlier = byLabels.get(key);
    byLabels.set(key, earlier === undefined ? sample : { ...sample, value: earlier.value + sample.value });
  }
  return [...byLabels.values()];
}

/** Samples from the counters of each tenant on each device. */
const perTenant =
  (samples: (counters: TenantCounters, labels: Readonly<Record<string, string>>) => readonly Sample[]) =>
  ({ devices, tenants }: Snapshot): Sample[] =>
    summed(
      devices.flatMap(({ name, engine }) =>
        tenants.flatMap((tenant) => samples(engine.counters.tenant(tenant.index), { device: name, tenant: label(tenant) })),
      ),
    );

const perDevice =
  (value: (device: Snapshot['devices'][number]) => number | undefined) =>
  ({ devices }: Snapshot): Sample[] =>
    devices.flatMap((device) => {
      const result = value(device);
      return result === undefined ? [] : [{ labels: { device: device.name }, value: result }];
    });

type Source = MetricSource<Snapshot>;

const requestMetrics: readonly Source[] = [
  {
    name: 'ringwarden_requests_total',
    help: 'Requests completed.',
    type: 'counter',
    collect: perTenant(({ requests }, labels) =>
      OPERATIONS.slice(1).map(({ name }, index) => ({ labels: { ...labels, operation: name }, value: requests[index + 1] ?? 0 })),
    ),
  },
  {
    name: 'ringwarden_request_codes_total',
    help: 'Requests that were refused or ended badly, by code.',
    type: 'counter',
    collect: perTenant(({ byCode }, labels) => [...byCode].map(([code, value]) => ({ labels: { ...labels, code: nameOfCode(code) }, value }))),
  },
  {
    name: 'ringwarden_bytes_total',
    help: 'Bytes of data moved.',
    type: 'counter',
    collect: perTenant(({ bytesRead, bytesWritten }, labels) => [
      { labels: { ...labels, direction: 'read' }, value: bytesRead },
      { labels: { ...labels, direction: 'written' }, value: bytesWritten },
    ]),
  },
  {
    name: 'ringwarden_request_duration_seconds',
    help: 'Time from admission to completion.',
    type: 'histogram',
    collect: perTenant(({ latency }, labels) => histogramSamples(labels, latency)),
  },
  {
    name: 'ringwarden_requests_in_flight',
    help: 'Requests in flight: the depth of the queues.',
    type: 'gauge',
    collect: perTenant(({ inFlight }, labels) => [{ labels, value: inFlight }]),
  },
  {
    name: 'ringwarden_lease_resets_total',
    help: 'Resets that the tenant caused.',
    type: 'counter',
    collect: perTenant(({ resets }, labels) => [{ labels, value: resets }]),
  },
];

const deviceMetrics: readonly Source[] = [
  {
    name: 'ringwarden_device_state',
    help: '1 for the state that the device is in.',
    type: 'gauge',
    collect: ({ devices }) =>
      devices.flatMap(({ name, report }) => STATES.map((state) => ({ labels: { device: name, state }, value: report?.state === state ? 1 : 0 }))),
  },
  { name: 'ringwarden_device_leases', help: 'Leases on the device.', type: 'gauge', collect: perDevice(({ report }) => report?.leases.length) },
  { name: 'ringwarden_device_resets_total', help: 'Controller resets.', type: 'counter', collect: perDevice(({ report }) => report?.resets) },
  {
    name: 'ringwarden_quarantine_bytes',
    help: 'Memory that waits until the device can no longer write to it.',
    type: 'gauge',
    collect: perDevice(({ report }) => report?.quarantineBytes),
  },
];

const serverMetrics: readonly Source[] = [
  {
    name: 'ringwarden_sessions',
    help: 'Connected sessions.',
    type: 'gauge',
    collect: ({ tenants }) => summed(tenants.map((tenant) => ({ labels: { tenant: label(tenant) }, value: tenant.sessions }))),
  },
  {
    name: 'ringwarden_pinned_bytes',
    help: 'Memory that is pinned for the tenant.',
    type: 'gauge',
    collect: ({ tenants }) => summed(tenants.map((tenant) => ({ labels: { tenant: label(tenant) }, value: tenant.pinnedBytes }))),
  },
  {
    name: 'ringwarden_refusals_total',
    help: 'Refusals and faults of sessions, by code.',
    type: 'counter',
    collect: ({ sources, tenants }) => {
      const labels = new Map(tenants.map((tenant) => [tenant.name, label(tenant)]));
      return summed(
        sources.audit.counts().map(({ tenant, code, count }) => ({
          labels: { tenant: tenant === '' ? '' : (labels.get(tenant) ?? OTHER), code },
          value: count,
        })),
      );
    },
  },
  {
    name: 'ringwarden_wipes',
    help: 'Windows that wait for their wipe, are being wiped, or could not be.',
    type: 'gauge',
    collect: ({ sources }) =>
      (['waiting', 'wiping', 'failed'] as const).map((state) => ({
        labels: { state },
        value: sources.wipes().filter((wipe) => wipe.state === state).length,
      })),
  },
  {
    name: 'ringwarden_build_info',
    help: '1, with the version of the server.',
    type: 'gauge',
    collect: ({ sources }) => [{ labels: { version: sources.version }, value: 1 }],
  },
];

/** Metrics of the process, with the names that are customary. The event loop is watched from the first scrape on. */
function processMetrics(): readonly Source[] {
  let watched: IntervalHistogram | undefined;
  const loopDelay = (): Sample[] => {
    if (watched === undefined) {
      watched = monitorEventLoopDelay({ resolution: LOOP_MILLISECONDS });
      watched.enable();
      return [];
    }
    const seconds = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e9 - LOOP_MILLISECONDS / 1e3);
    const samples = [50, 99, 100].map((percent) => ({
      labels: { quantile: String(percent / 100) },
      value: watched === undefined || watched.count === 0 ? 0 : seconds(watched.percentile(percent)),
    }));
    watched.reset();
    return samples;
  };
  const gauge = (name: string, help: string, collect: () => readonly Sample[]): Source => ({ name, help, type: 'gauge', collect });
  const single = (value: number): readonly Sample[] => [{ labels: {}, value }];
  return [
    gauge('process_resident_memory_bytes', 'Resident memory.', () => single(process.memoryUsage.rss())),
    gauge('nodejs_heap_size_used_bytes', 'JavaScript heap in use.', () => single(process.memoryUsage().heapUsed)),
    gauge('process_start_time_seconds', 'Start of the process.', () => single(Date.now() / 1e3 - process.uptime())),
    {
      name: 'process_cpu_seconds_total',
      help: 'CPU time of all threads.',
      type: 'counter',
      collect: () => {
        const { user, system } = process.cpuUsage();
        return single((user + system) / 1e6);
      },
    },
    gauge('ringwarden_event_loop_delay_seconds', 'How late the main thread was since the last scrape, by quantile.', loopDelay),
  ];
}

export const createMetrics = (): Metrics<Snapshot> => new Metrics([...requestMetrics, ...deviceMetrics, ...serverMetrics, ...processMetrics()]);
