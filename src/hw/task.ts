/**
 * State machines instead of waits.
 *
 * The I/O engine never blocks on a device: everything that takes time is a generator that yields whenever it has to wait, and that the
 * engine resumes on its next turn. What it yields is how long it may be left alone, in milliseconds, if nothing else happens before:
 * 0 says "as soon as you can".
 */
export type Task<T> = Generator<number, T, void>;

/** Milliseconds from any fixed start, never going back. Injected, so that tests and simulations own the time. */
export type Clock = () => number;

export const systemClock: Clock = () => performance.now();

/** What can go wrong with a device or its backing; the only errors that `hw` throws on purpose. */
export type HardwareErrorCode =
  /** The device does not answer, or is not there any more. */
  | 'lost'
  /** An access or a command did not end in time. */
  | 'timeout'
  /** The device answered something that the specification does not allow. */
  | 'protocol'
  /** The device reported an error status for an administrative command. */
  | 'status'
  /** Somebody else holds the device or the file. */
  | 'busy'
  /** Something that is needed is not there: a file, a package, a driver for this class. */
  | 'absent'
  /** Nothing is left of a limited thing: addresses, slots, queue pairs, space. */
  | 'exhausted'
  /** The device cannot do what is asked. */
  | 'unsupported'
  /** These pages cannot be held in place: the device must not reach them. Copies of them it can. */
  | 'unpinned';

export class HardwareError extends Error {
  readonly code: HardwareErrorCode;
  constructor(code: HardwareErrorCode, message: string) {
    super(message);
    this.name = 'HardwareError';
    this.code = code;
  }
}

/** Yields until `ready()` holds; throws `timeout` after `milliseconds`. */
export function* until(clock: Clock, milliseconds: number, what: string, ready: () => boolean): Task<void> {
  const deadline = clock() + milliseconds;
  while (!ready()) {
    const left = deadline - clock();
    if (left <= 0) throw new HardwareError('timeout', `${what}: no answer within ${milliseconds} ms`);
    yield Math.min(left, 1);
  }
}

/** Yields for `milliseconds`. */
export function* sleep(clock: Clock, milliseconds: number): Task<void> {
  const deadline = clock() + milliseconds;
  for (let left = milliseconds; left > 0; left = deadline - clock()) yield left;
}
