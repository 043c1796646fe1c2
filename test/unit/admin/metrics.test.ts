import { describe, expect, it } from 'vitest';
import { NAMED_TENANTS, createMetrics } from '../../../src/server/admin/metrics.js';
import { histogramSamples } from '../../../src/server/admin/prometheus.js';
import { quantile, takeSnapshot } from '../../../src/server/admin/snapshot.js';
import { createWorld } from './support.js';
import type { World } from './support.js';

const scrape = async (world: World): Promise<string[]> => (await createMetrics().scrape(await takeSnapshot(world.sources))).text.split('\n');

describe('metrics', () => {
  it('are in the text format of Prometheus', async () => {
    const world = createWorld();
    world.audit.refusal({ time: 1, tenant: 'alice', session: 1, code: 'pinLimit', field: '', value: '' });
    world.audit.refusal({ time: 1, tenant: '', session: 2, code: 'notAuthenticated', field: '', value: '' });
    world.wipes = [{ device: 'nvme0', namespace: 1, firstBlock: 0, blocks: 8, done: 1, tenants: ['bob'], state: 'wiping', reason: '' }];
    const lines = await scrape(world);
    for (const line of [
      '# TYPE ringwarden_requests_total counter',
      'ringwarden_requests_total{device="nvme0",tenant="alice",operation="read"} 10',
      'ringwarden_requests_total{device="nvme0",tenant="bob",operation="write"} 40',
      'ringwarden_request_codes_total{device="nvme0",tenant="alice",code="lbaOutsideShare"} 7',
      'ringwarden_bytes_total{device="nvme0",tenant="alice",direction="written"} 2000',
      '# TYPE ringwarden_request_duration_seconds histogram',
      'ringwarden_request_duration_seconds_bucket{device="nvme0",tenant="alice",le="0.000001"} 1',
      'ringwarden_request_duration_seconds_bucket{device="nvme0",tenant="alice",le="0.000002"} 3',
      'ringwarden_request_duration_seconds_bucket{device="nvme0",tenant="alice",le="+Inf"} 6',
      'ringwarden_request_duration_seconds_sum{device="nvme0",tenant="alice"} 0.5',
      'ringwarden_request_duration_seconds_count{device="nvme0",tenant="alice"} 6',
      'ringwarden_requests_in_flight{device="nvme0",tenant="bob"} 2',
      'ringwarden_device_state{device="nvme0",state="open"} 1',
      'ringwarden_device_state{device="nvme0",state="lost"} 0',
      'ringwarden_device_leases{device="nvme0"} 1',
      'ringwarden_device_resets_total{device="nvme0"} 3',
      'ringwarden_quarantine_bytes{device="nvme0"} 8192',
      'ringwarden_sessions{tenant="alice"} 1',
      'ringwarden_pinned_bytes{tenant="alice"} 4096',
      'ringwarden_refusals_total{tenant="alice",code="pinLimit"} 1',
      'ringwarden_refusals_total{tenant="",code="notAuthenticated"} 1',
      'ringwarden_wipes{state="wiping"} 1',
    ]) {
      expect(lines).toContain(line);
    }
    expect(lines.some((line) => /^process_resident_memory_bytes \d+$/.test(line))).toBe(true);
    world.audit.close();
  });

  it('have every sample once, and each below its type', async () => {
    const world = createWorld();
    const lines = (await scrape(world)).filter((line) => line !== '');
    const samples = lines.filter((line) => !line.startsWith('#')).map((line) => line.slice(0, line.lastIndexOf(' ')));
    expect(new Set(samples).size).toBe(samples.length);
    const typed = new Set(lines.filter((line) => line.startsWith('# TYPE')).map((line) => line.split(' ')[2]));
    for (const sample of samples) expect(typed).toContain(/^[a-z_]+/.exec(sample)?.[0].replace(/_(bucket|sum|count)$/, ''));
    world.audit.close();
  });

  it('put the tenants beyond the bound together', async () => {
    const many = NAMED_TENANTS + 3;
    const world = createWorld(Array.from({ length: many }, (_, index) => `{ "name": "t${index}", "uid": ${1000 + index} }`).join(','));
    const lines = await scrape(world);
    const reads = lines.filter((line) => line.startsWith('ringwarden_requests_total') && line.includes('operation="read"'));
    expect(reads).toHaveLength(NAMED_TENANTS + 1);
    // Tenant i has 10 (i + 1) reads in the double.
    const others = [NAMED_TENANTS, NAMED_TENANTS + 1, NAMED_TENANTS + 2].reduce((sum, index) => sum + 10 * (index + 1), 0);
    expect(reads).toContain(`ringwarden_requests_total{device="nvme0",tenant="other",operation="read"} ${others}`);
    expect(lines).toContain('ringwarden_sessions{tenant="other"} 0');
    world.audit.close();
  });

  it('do without what a silent device does not tell', async () => {
    const world = createWorld();
    world.engine.reportNow = () => Promise.reject(new Error('gone'));
    const lines = await scrape(world);
    expect(lines).toContain('ringwarden_device_state{device="nvme0",state="open"} 0');
    expect(lines.some((line) => line.startsWith('ringwarden_device_leases{'))).toBe(false);
    world.audit.close();
  });

  it('do not mix when two scrape at once', async () => {
    const world = createWorld();
    const metrics = createMetrics();
    const first = await takeSnapshot(world.sources);
    world.sessions = [];
    const second = await takeSnapshot(world.sources);
    const [one, two] = await Promise.all([metrics.scrape(first), metrics.scrape(second)]);
    expect(one.text).toContain('ringwarden_sessions{tenant="alice"} 1');
    expect(two.text).toContain('ringwarden_sessions{tenant="alice"} 0');
    world.audit.close();
  });
});

describe('histograms', () => {
  it('are cumulative', () => {
    expect(
      histogramSamples({}, { bounds: [1, Infinity], counts: [2, 3], sum: 9 }).map(({ labels, value, suffix }) => [suffix, labels['le'], value]),
    ).toEqual([
      ['_bucket', '1', 2],
      ['_bucket', '+Inf', 5],
      ['_sum', undefined, 9],
      ['_count', undefined, 5],
    ]);
  });

  it.each([
    [[0, 0, 0], 0.5, 0],
    [[1, 0, 0], 0.5, 1],
    [[1, 1, 0], 0.5, 1],
    [[1, 2, 0], 0.5, 2],
    [[0, 0, 5], 0.99, 2],
    [[98, 1, 1], 0.99, 2],
  ])('%j at %d is %d', (counts, q, expected) => expect(quantile([1, 2, Infinity], counts, q)).toBe(expected));
});
