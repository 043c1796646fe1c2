import { setTimeout as delay } from 'node:timers/promises';

const PATIENCE_MS = 20_000;

/** Resolves when `ready()` holds. Throws an Error that names `what` when it does not for 20 s. */
export async function until(what: string, ready: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (!(await ready())) {
    if (performance.now() > end) throw new Error(`${what}: not after ${PATIENCE_MS} ms`);
    await delay(20);
  }
}
