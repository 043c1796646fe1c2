/** Wipes a window of blocks before another tenant gets it. */
import { submitWriteZeroes, type CompletionSink, type QueuePair } from '../../hw/nvme/index.js';
import { HardwareError, type Clock, type Task } from '../../hw/task.js';
import type { Device } from './device.js';

/** Blocks of one Write Zeroes command: what its 16-bit field can say. */
const STEP_BLOCKS = 65_536;
const STEP_TIMEOUT_MS = 30_000;

/** Writes zeroes over the window, with a queue pair of its own. @throws HardwareError when the device cannot, or fails. */
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
    const pair = yield* driver.createPair(2);
    try {
      for (let done = 0; done < blocks;) {
        const step = Math.min(STEP_BLOCKS, blocks - done);
        yield* zero(pair, clock, namespace, firstBlock + done, step);
        done += step;
        progress(done);
      }
    } finally {
      yield* driver.deletePair(pair);
      driver.releasePair(pair);
    }
  });
}

function* zero(pair: QueuePair, clock: Clock, namespace: number, lba: number, blocks: number): Task<void> {
  let status = -1;
  const sink: CompletionSink = {
    completed: (_pair, _slot, answered) => {
      status = answered;
    },
  };
  submitWriteZeroes(pair, namespace, lba, blocks, false, clock());
  pair.ring();
  const deadline = clock() + STEP_TIMEOUT_MS;
  while (pair.reap(sink) === 0) {
    if (clock() > deadline) throw new HardwareError('timeout', `wiping: no answer within ${STEP_TIMEOUT_MS} ms`);
    yield 0;
  }
  if (status !== 0) throw new HardwareError('status', `wiping at block ${lba}: status 0x${status.toString(16)}`);
}
