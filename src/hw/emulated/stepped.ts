/** The machine inside the engine thread: it does nothing but in `poll` and register accesses, so that a run can be repeated exactly. */
import { type Task, systemClock } from '../task.js';
import { writeRegister } from './access.js';
import { type ControlRequest, Machine } from './device.js';
import { SharedDurability } from './durability.js';
import type { EmulatedHandle } from './handle.js';
import type { Link, LinkMemory } from './link.js';
import { MAX_VECTORS } from './options.js';
import { Shared } from './shared.js';

/** Nothing here takes time; the interface is that of links where it does. */
export class SteppedLink implements Link {
  readonly failure = undefined;
  readonly counters = new Int32Array(MAX_VECTORS);
  removed = false;
  readonly #machine: Machine;
  readonly #shared: Shared;
  readonly #event: number;
  #interrupts = 0;

  constructor(handle: EmulatedHandle) {
    this.#shared = new Shared(handle.shared);
    this.#event = handle.event;
    this.#machine = new Machine({
      shape: handle.shape,
      uuids: handle.uuids,
      images: handle.images,
      durability: new SharedDurability(this.#shared, handle.waker),
      clock: systemClock,
      interrupt: (data) => this.#interrupt(data),
      removed: () => {
        this.removed = true;
      },
    });
  }

  *readConfig(offset: number, width: 1 | 2 | 4): Task<number> {
    return this.#machine.function.readConfig(offset, width);
  }

  *writeConfig(offset: number, width: 1 | 2 | 4, value: number): Task<void> {
    this.#machine.function.writeConfig(offset, width, value);
  }

  *readBar(bar: number, offset: number): Task<number> {
    return this.#machine.function.readBar(bar, offset) >>> 0;
  }

  writeBar(bar: number, offset: number, width: 1 | 2 | 4 | 8, low: number, high: number): void {
    writeRegister(this.#machine.function, bar, offset, width, low, high);
  }

  *attach({ slot, buffer, pageLow, pageHigh, owner }: LinkMemory): Task<void> {
    this.#machine.attach(slot, buffer, owner);
    this.#machine.addPages(slot, 0, pageLow, pageHigh);
  }

  *detach(slot: number): Task<void> {
    this.#machine.detach(slot);
  }

  *control(request: ControlRequest): Task<unknown> {
    return this.#machine.control(request);
  }

  poll(): number {
    this.#shared.takeSignal(this.#event);
    const now = systemClock();
    const done = this.#machine.step(now) + this.#interrupts;
    this.#interrupts = 0;
    // What waits for time to pass has nobody else to wake the engine.
    if (this.#machine.wait(now) !== Infinity) this.#shared.signalEngine(this.#event);
    return done;
  }

  dispose(): void {
    this.#machine.detachAll();
    // The descriptor is not left signalled for whoever opens the handle next.
    this.#shared.takeSignal(this.#event);
  }

  #interrupt(data: number): void {
    if (data >= MAX_VECTORS) return;
    this.counters[data]++;
    this.#interrupts++;
  }
}
