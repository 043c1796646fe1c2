/** Wipes a window of blocks before another tenant gets it. */
import { submitFlush, submitWriteZeroes, type CompletionSink, type QueuePair } from '../../hw/nvme/index.js';
import { HardwareError, type Clock, type Task } from '../../hw/task.js';
import type { Device } from './device.js';

/** Bytes of one Write Zeroes command: little enough that the engine serves others in between. */
const STEP_BYTES = 4 * 1_048_576;
const STEP_TIMEOUT_MS = 30_000;
/** A controller reset takes the queue pair away: the wipe goes on with another, so many times. */
const MAX_ATTEMPTS = 16;

/** Writes zeroes over the window, with the queue pair that is kept for the server. @throws HardwareError when the device cannot, or fails. */
export function* wipeWindow(
  device: Device,
  clock: Clock,
  namespace: number,
  firstBlock: number,
  blocks: number,
  progress: (done: number) => void,
): Task<void> {
  yield* device.withOpen(function* () {
    yield* device.settleOrphans();
    const { driver } = device;
    if (!driver.facts.controller.writeZeroes)
      throw new HardwareError('unsupported', 'the controller has no Write Zeroes: wipe the window by hand and say keepData');
    const facts = driver.facts.namespaces.find(({ id }) => id === namespace);
    if (facts === undefined) throw new HardwareError('absent', `the device has no namespace ${namespace}`);
    let done = 0;
    const attempt = function* (pair: QueuePair): Task<void> {
      while (done < blocks) {
        const at = firstBlock + done;
        const step = Math.min(STEP_BYTES / facts.blockBytes, blocks - done);
        yield* execute(pair, clock, `wiping at block ${at}`, () => {
          submitWriteZeroes(pair, namespace, at, step, false, clock());
        });
        done += step;
        progress(done);
      }
      // What is told to be wiped must be so after a loss of power, too.
      yield* execute(pair, clock, 'flushing what was wiped', () => {
        submitFlush(pair, namespace, clock());
      });
    };
    for (let attempts = 1; ; attempts++) {
      let used: QueuePair | undefined;
      try {
        yield* device.withPair(2, (pair) => attempt((used = pair)));
        return;
      } catch (error) {
        if (used?.closed !== true || attempts === MAX_ATTEMPTS) throw error;
      }
    }
  });
}

/** Submits one command and waits for its end. @throws HardwareError `timeout`, `status` */
function* execute(pair: QueuePair, clock: Clock, what: string, submit: () => void): Task<void> {
  let status = -1;
  const sink: CompletionSink = {
    completed: (_pair, _slot, answered) => {
      status = answered;
    },
  };
  const checkPair = (): void => {
    if (pair.closed) throw new HardwareError('lost', `${what}: the controller was reset`);
  };
  checkPair();
  submit();
  pair.ring();
  const deadline = clock() + STEP_TIMEOUT_MS;
  while (pair.reap(sink) === 0) {
    checkPair();
    if (clock() > deadline) throw new HardwareError('timeout', `${what}: no answer within ${STEP_TIMEOUT_MS} ms`);
    yield 0;
  }
  if (status !== 0) throw new HardwareError('status', `${what}: status 0x${status.toString(16)}`);
}
