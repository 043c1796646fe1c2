/** Requests that are due at fixed times, whether earlier ones have ended or not. */
import { setImmediate as turn } from 'node:timers/promises';
import { percentile } from './measure.mjs';

/** The event loop has its turn so often, milliseconds. */
const LOOP_MILLISECONDS = 0.5;

/**
 * Calls `send(ended)` `rate` times a second; it calls `ended` when its request has ended. Percentiles in microseconds, from when a request was due, of all
 * but those of the first fifth.
 */
export async function openLoop(milliseconds, rate, send) {
  const gap = 1000 / rate;
  const count = Math.floor((milliseconds * 1.2) / gap);
  const first = Math.floor(count / 6);
  const taken = new Float64Array(count);
  let [sent, done] = [0, 0];
  const start = performance.now();
  const sendDue = (number) => {
    const due = start + number * gap;
    send(() => {
      taken[number] = (performance.now() - due) * 1000;
      done++;
    });
  };
  for (let looped = start; done < count;) {
    const now = performance.now();
    while (sent < count && start + sent * gap <= now) sendDue(sent++);
    if (now - looped < LOOP_MILLISECONDS) {
      await Promise.resolve();
    } else {
      await turn();
      looped = performance.now();
    }
  }
  const sorted = taken.subarray(first).sort();
  return { p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99), p999: percentile(sorted, 0.999) };
}
