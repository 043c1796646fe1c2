/** Runs tasks to their end in a test, where waiting is fine: steps the task, polls the backing, and lets what else has to move along move. */
import type { Backing } from '../../src/hw/backing.js';
import type { Task } from '../../src/hw/task.js';

const DEADLINE_MS = 20_000;

export function runTask<T>(backing: Pick<Backing, 'poll'>, task: Task<T>, also: () => void = () => {}): T {
  const deadline = performance.now() + DEADLINE_MS;
  for (;;) {
    const step = task.next();
    if (step.done === true) return step.value;
    backing.poll();
    also();
    if (performance.now() > deadline) throw new Error('a task did not end');
  }
}

/** Polls without a pause for so many rounds, then lets the event loop turn: some backings need it (file synchronization, child processes). */
const ROUNDS = 100;

/** {@link runTask} for backings that need the event loop. */ export async function runTaskAsync<T>(
  backing: Pick<Backing, 'poll'>,
  task: Task<T>,
  also: () => void = () => {},
): Promise<T> {
  const deadline = performance.now() + DEADLINE_MS;
  for (let round = 1; ; round++) {
    const step = task.next();
    if (step.done === true) return step.value;
    backing.poll();
    also();
    if (round % ROUNDS === 0) await new Promise((resolve) => setImmediate(resolve));
    if (performance.now() > deadline) throw new Error('a task did not end');
  }
}
