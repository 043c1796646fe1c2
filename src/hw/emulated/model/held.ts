/** Commands that were fetched and are not completed yet: they wait for a disk, for time to pass, or for ever. */
import { SUBMISSION_WORDS } from '../../nvme/spec/index.js';
import type { FaultAction } from '../faults.js';
import type { SubmissionQueue } from './queues.js';
import type { Zeroing } from './zeroing.js';

export const Held = {
  /** Until what was written is durable. */
  durable: 0,
  /** Until a time, then carried out. */
  time: 1,
  /** Until it is aborted. */
  abort: 2,
  /** Until all its blocks are zeros. */
  zeroing: 3,
} as const;

export interface HeldCommand {
  kind: number;
  queue: SubmissionQueue | undefined;
  commandId: number;
  /** The whole command, for one that is still to be carried out. */
  readonly words: Int32Array;
  /** Clock reading, ms. */
  due: number;
  /** Index of the namespace whose medium is waited for, or -1 for all; ticket of each. */
  medium: number;
  ticket: number;
  /** What happens to its completion. */
  tamper: FaultAction | undefined;
  /** What is still to become zeros. */
  zeroing: Zeroing | undefined;
}

/** A list that reuses its entries, so that a flush allocates nothing once it has run warm. */
export class HeldCommands {
  readonly #used: HeldCommand[] = [];
  readonly #spare: HeldCommand[] = [];

  get count(): number {
    return this.#used.length;
  }

  at(index: number): HeldCommand {
    return this.#used[index];
  }

  add(kind: number, queue: SubmissionQueue, commandId: number): HeldCommand {
    const held = this.#spare.pop() ?? {
      kind,
      queue,
      commandId,
      words: new Int32Array(SUBMISSION_WORDS),
      due: 0,
      medium: -1,
      ticket: 0,
      tamper: undefined,
      zeroing: undefined,
    };
    held.kind = kind;
    held.queue = queue;
    held.commandId = commandId;
    held.tamper = undefined;
    held.zeroing = undefined;
    this.#used.push(held);
    return held;
  }

  /** Removes the command at `index`; order is kept. Its fields stay readable until the next `add`. */
  remove(index: number): void {
    const held = this.#used[index];
    this.#used.copyWithin(index, index + 1);
    this.#used.length--;
    held.queue = undefined;
    this.#spare.push(held);
  }

  clear(): void {
    while (this.#used.length > 0) this.remove(this.#used.length - 1);
  }

  /** Index of the command, or -1. */
  find(queueId: number, commandId: number): number {
    return this.#used.findIndex((held) => held.queue?.id === queueId && held.commandId === commandId);
  }

  /** Milliseconds until the next one is due; Infinity if none waits for time. */
  wait(now: number): number {
    let wait = Infinity;
    for (const held of this.#used) if (held.kind === Held.time) wait = Math.min(wait, Math.max(0, held.due - now));
    return wait;
  }
}
