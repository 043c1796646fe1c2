/** Making blocks zeros a piece at a time: one command may name more than a step should take. */
import { Status } from '../../nvme/spec/index.js';
import { LATER } from './command.js';
import type { Namespace } from './namespace.js';

/** Bytes made zero in one step: about a millisecond of a disk's time. */
export const ZEROING_BYTES = 1_048_576;

/** Byte ranges of one namespace, as pairs (position, bytes). */
export class Zeroing {
  readonly namespace: Namespace;
  /** The command completes only when the zeros are durable. */
  readonly forced: boolean;
  readonly #ranges: readonly (readonly [position: number, bytes: number])[];
  #index = 0;
  #done = 0;

  constructor(namespace: Namespace, ranges: readonly (readonly [position: number, bytes: number])[], forced: boolean) {
    this.namespace = namespace;
    this.forced = forced;
    this.#ranges = ranges;
  }

  /** Does one piece. Returns a status when all is done or something failed, else {@link LATER}. */
  step(): number {
    let budget = ZEROING_BYTES;
    while (this.#index < this.#ranges.length) {
      if (budget === 0) return LATER;
      const [position, bytes] = this.#ranges[this.#index];
      const length = Math.min(budget, bytes - this.#done);
      const status = this.namespace.media.zero(position + this.#done, length);
      if (status !== Status.success) return status;
      budget -= length;
      this.#done += length;
      if (this.#done < bytes) continue;
      this.#index++;
      this.#done = 0;
    }
    return Status.success;
  }
}
