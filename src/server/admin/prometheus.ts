/**
 * The one file that knows prom-client: metrics whose values are read when somebody scrapes, and never before. The library is loaded at the
 * first scrape.
 */
import type { Metric, Registry } from 'prom-client';

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  /** Suffix of the metric's name: histograms have `_bucket`, `_sum` and `_count`. */
  readonly suffix?: string;
}

/** A metric, computed from a snapshot of the server. */
export interface MetricSource<Snapshot> {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly collect: (snapshot: Snapshot) => readonly Sample[];
}

/** Samples of one histogram. `bounds` are upper bounds, `counts` the observations in each bucket alone; the last bound is infinite. */
export function histogramSamples(
  labels: Readonly<Record<string, string>>,
  histogram: { readonly bounds: readonly number[]; readonly counts: readonly number[]; readonly sum: number },
): Sample[] {
  let total = 0;
  const buckets = histogram.bounds.map((bound, index): Sample => {
    total += histogram.counts[index];
    return { labels: { ...labels, le: bound === Infinity ? '+Inf' : String(bound) }, value: total, suffix: '_bucket' };
  });
  return [...buckets, { labels, value: histogram.sum, suffix: '_sum' }, { labels, value: total, suffix: '_count' }];
}

/** What the registry asks of a metric of its own kind. */
function asMetric<Snapshot>(source: MetricSource<Snapshot>, current: () => Snapshot): Metric {
  const { name, help, type } = source;
  const get = async (): Promise<object> => ({
    name,
    help,
    type,
    values: source
      .collect(current())
      .map(({ labels, value, suffix }) => ({ labels, value, metricName: suffix === undefined ? name : name + suffix })),
  });
  // The registry calls `get` and reads `name`; its type lists the library's own classes only, which count at every observation.
  return { name, get } as unknown as Metric;
}

export class Metrics<Snapshot> {
  readonly #sources: readonly MetricSource<Snapshot>[];
  #registry: Promise<Registry> | undefined;
  #snapshot: Snapshot | undefined;

  constructor(sources: readonly MetricSource<Snapshot>[]) {
    this.#sources = sources;
  }

  /** The text of a scrape, and its content type. */
  async scrape(snapshot: Snapshot): Promise<{ contentType: string; text: string }> {
    this.#registry ??= this.#load();
    const registry = await this.#registry;
    // `metrics` collects from every source before it returns its promise, so scrapes at the same time do not mix.
    this.#snapshot = snapshot;
    const text = registry.metrics();
    return { contentType: registry.contentType, text: await text };
  }

  async #load(): Promise<Registry> {
    const { Registry } = await import('prom-client');
    const registry = new Registry();
    const current = (): Snapshot => {
      if (this.#snapshot === undefined) throw new Error('no scrape is under way');
      return this.#snapshot;
    };
    for (const source of this.#sources) registry.registerMetric(asMetric(source, current));
    return registry;
  }
}
