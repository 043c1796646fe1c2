/** Tenants in one process and one thread, each with a bare queue; it never sleeps while it measures. */
import { shm } from '../dist/native/shm.js';
import { BareQueue } from './bare-queue.mjs';
import { answerCalls } from './child.mjs';
import { percentile } from './measure.mjs';

const SETTLE_MILLISECONDS = 10_000;

const queues = [];

/** Takes what ended of everybody, and waits a moment if that was nothing. */
function takeAll(active, ended) {
  let taken = 0;
  for (const queue of active) taken += queue.take(ended);
  if (taken === 0) shm().yieldProcessor();
}

/** Waits for all that is in flight. Throws when it does not end. */
function settle(active) {
  const deadline = performance.now() + SETTLE_MILLISECONDS;
  while (active.some(({ inFlight }) => inFlight > 0)) {
    takeAll(active);
    if (performance.now() > deadline) throw new Error('requests without an answer');
  }
}

answerCalls({
  async open(socket, tenants, options) {
    for (const tenant of tenants) queues.push(await BareQueue.open(socket, tenant, options));
  },

  /** Requests a second of each of the first queues, which keep `depths` requests in flight each. What ends in the first fifth of the time is left out. */
  rates(milliseconds, depths) {
    const active = queues.slice(0, depths.length);
    const start = performance.now() + milliseconds / 5;
    const end = start + milliseconds;
    let before;
    let now;
    while ((now = performance.now()) < end) {
      if (before === undefined && now >= start) before = active.map(({ done }) => done);
      for (let index = 0; index < active.length; index++) active[index].fill(depths[index]);
      takeAll(active);
    }
    const rates = active.map(({ done }, index) => ((done - before[index]) / milliseconds) * 1000);
    settle(active);
    return rates;
  },

  /**
   * Percentiles in microseconds of reads of the first queue that are due `rate` times a second, at random (open loop), while the second one keeps `depth` in
   * flight.
   */
  quiet(milliseconds, rate, depth) {
    const [quiet, flooding] = queues;
    const taken = [];
    const active = depth > 0 ? [quiet, flooding] : [quiet];
    const gap = () => (-Math.log(1 - Math.random()) * 1000) / rate;
    const start = performance.now();
    const warm = start + milliseconds / 5;
    const end = warm + milliseconds;
    const ended = (due) => {
      if (due >= warm) taken.push((performance.now() - due) * 1000);
    };
    let now;
    for (let due = start + gap(); (now = performance.now()) < end;) {
      if (due <= now) {
        for (; due <= now && quiet.hasRoom; due += gap()) quiet.add(due);
        quiet.commit();
      }
      quiet.take(ended);
      if (depth > 0) {
        flooding.fill(depth);
        flooding.take();
      }
    }
    settle(active);
    taken.sort((a, b) => a - b);
    return { p50: percentile(taken, 0.5), p99: percentile(taken, 0.99) };
  },
});
