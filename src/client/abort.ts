/**
 * Waiting for an AbortSignal. However many requests wait for a signal, it has one listener of the SDK: programs give the same signal to
 * thousands of requests, and Node warns of listeners from the eleventh on.
 */
type OnAbort = () => void;

interface Watch {
  readonly waiting: Set<OnAbort>;
  readonly listener: () => void;
}

const watches = new WeakMap<AbortSignal, Watch>();

function watch(): Watch {
  const waiting = new Set<OnAbort>();
  const listener = (): void => {
    for (const onAbort of waiting) onAbort();
    waiting.clear();
  };
  return { waiting, listener };
}

/** Has `onAbort` called once when the signal is aborted, until {@link forgetAbort}. The signal is not aborted yet. */
export function whenAborted(signal: AbortSignal | undefined, onAbort: OnAbort): void {
  if (signal === undefined) return;
  let watched = watches.get(signal);
  if (watched === undefined) {
    watched = watch();
    watches.set(signal, watched);
  }
  if (watched.waiting.size === 0) signal.addEventListener('abort', watched.listener, { once: true });
  watched.waiting.add(onAbort);
}

export function forgetAbort(signal: AbortSignal | undefined, onAbort: OnAbort): void {
  const watched = signal === undefined ? undefined : watches.get(signal);
  if (watched === undefined || !watched.waiting.delete(onAbort)) return;
  if (watched.waiting.size === 0) signal?.removeEventListener('abort', watched.listener);
}

/** `promise`, or the signal's reason if that comes first. What the promise does is not undone. */
export function orAborted<Value>(promise: Promise<Value>, signal: AbortSignal | undefined): Promise<Value> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    else whenAborted(signal, onAbort);
    promise.then(
      (value) => {
        forgetAbort(signal, onAbort);
        resolve(value);
      },
      (error: unknown) => {
        forgetAbort(signal, onAbort);
        reject(error);
      },
    );
  });
}
