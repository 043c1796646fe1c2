/** MSI-X or MSI vectors as eventfds that QEMU signals: see doorbell.ts. */
import { shm } from '../../native/shm.js';
import type { Interrupts } from '../backing.js';
import type { MessageInterrupts } from '../pci/index.js';
import { HardwareError, type Task } from '../task.js';
import { doorbellMessage } from './doorbell.js';

const NONE = new Uint32Array(0);

export class QemuInterrupts implements Interrupts {
  readonly available: number;
  total = 0;
  readonly #eventfds: readonly number[];
  #table: MessageInterrupts | undefined;
  #fired: Uint32Array = NONE;

  /** `eventfds[v]` is signalled by vector v. */
  constructor(eventfds: readonly number[]) {
    this.#eventfds = eventfds;
    this.available = eventfds.length;
  }

  get fired(): Uint32Array {
    return this.#fired;
  }

  /** The table is there once the function is claimed. */
  set table(table: MessageInterrupts | undefined) {
    this.#table = table;
  }

  *enable(count: number): Task<void> {
    const allowed = Number.isInteger(count) && count >= 1 && count <= this.available;
    if (!allowed) throw new RangeError(`${count} is not a number of vectors from 1 to ${this.available}`);
    if (this.#table === undefined) throw new HardwareError('unsupported', 'interrupts are enabled after the function is claimed');
    yield* this.disable();
    this.#fired = new Uint32Array(count);
    yield* this.#table.enable(Array.from({ length: count }, (_, vector) => doorbellMessage(vector)));
  }

  *disable(): Task<void> {
    if (this.#table !== undefined) yield* this.#table.disable();
    this.forget();
  }

  /** The function was reset, or is gone: nothing is enabled any more. What fired before does not count. */
  forget(): void {
    for (const eventfd of this.#eventfds) shm().eventfdTake(eventfd);
    this.#fired = NONE;
  }

  /** Counts what `vector` signalled since it was last asked. */
  take(vector: number): number {
    const count = shm().eventfdTake(this.#eventfds[vector]);
    if (vector >= this.#fired.length) return 0; // not enabled: QEMU signalled what it was not told to
    this.#fired[vector] += count;
    this.total += count;
    return count;
  }
}
