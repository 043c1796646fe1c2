/** Requests that are due at fixed times, whether earlier ones have ended or not. */
import { setImmediate as turn } from 'node:timers/promises';
import { percentile } from './measure.mjs';

/** A run that takes so much longer than it should did not keep up: its percentiles tell how long it was, and nothing else. */
const MOST_LATE = 1.05;
/** The event loop has its turn so often, milliseconds. */
const LOOP_MILLISECONDS = 0.5;

/** Looks again at the end of this tick, or now and then after a turn of the event loop. Returns when that was. */
async function lookAgain(now, looped) {
  if (now - looped < LOOP_MILLISECONDS) {
    await Promise.resolve();
    return looped;
  }
  await turn();
  return performance.now();
}

/** How often a second `send(ended)` can be called with `depth` under way: what {@link openLoop} could do at most. */
export async function mostPerSecond(milliseconds, depth, send) {
  let [sent, done] = [0, 0];
  const ended = () => {
    done++;
  };
  const start = performance.now();
  for (let looped = start; ;) {
    const now = performance.now();
    if (now - start >= milliseconds) break;
    for (; sent - done < depth; sent++) send(ended);
    looped = await lookAgain(now, looped);
  }
  const rate = (done / (performance.now() - start)) * 1000;
  while (done < sent) await turn();
  return rate;
}

/**
 * Calls `send(ended)` `rate` times a second; it calls `ended` when its request has ended. Percentiles in microseconds, from when a request was due, of all
 * but those of the first sixth; undefined when it did not keep up.
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
    looped = await lookAgain(now, looped);
  }
  if (performance.now() - start > count * gap * MOST_LATE) return undefined;
  const sorted = taken.subarray(first).sort();
  return { p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99), p999: percentile(sorted, 0.999) };
}
