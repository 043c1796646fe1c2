/** Sends requests and waits for their end. */
import { forgetAbort, whenAborted } from './abort.js';
import type { Queue } from './queue.js';
import type { Request } from './request.js';

/**
 * Sends `requests`, and resolves when the last of them ended, whatever the end. With an aborted signal the promise rejects with its reason:
 * what was not sent is not sent any more, and what is in flight is still waited for by the queue.
 */
export function runAll(queue: Queue, requests: readonly Request[], signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    let running = requests.length;
    if (running === 0) {
      resolve();
      return;
    }
    const onAbort = (): void => {
      for (const request of requests) request.abandon();
      reject(signal?.reason as Error);
    };
    const onEnd = (): void => {
      if (--running > 0) return;
      forgetAbort(signal, onAbort);
      resolve();
    };
    whenAborted(signal, onAbort);
    for (const request of requests) {
      request.onEnd = onEnd;
      queue.submit(request);
    }
  });
}

/** Sends one request; rejects with its error. See {@link runAll} for the signal. */
export function run(queue: Queue, request: Request, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const onAbort = (): void => {
      request.abandon();
      reject(signal?.reason as Error);
    };
    whenAborted(signal, onAbort);
    request.onEnd = ({ error }) => {
      forgetAbort(signal, onAbort);
      if (error === undefined) resolve();
      else reject(error);
    };
    queue.submit(request);
  });
}
