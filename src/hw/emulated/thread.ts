/** The device thread: the machine with its own mappings of all memory, serving the queue of `shared.ts`. It never runs its event loop. */
import { parentPort, workerData } from 'node:worker_threads';
import { shm } from '../../native/shm.js';
import { systemClock } from '../task.js';
import { writeRegister } from './access.js';
import { type ControlRequest, Machine } from './device.js';
import { SharedDurability } from './durability.js';
import type { EmulatedHandle } from './handle.js';
import { MAX_VECTORS } from './options.js';
import { ANSWER_SLOTS, ANSWER_WORDS, AREA_BYTES, Answer, ENTRY_WORDS, Entry, Kind, QUEUE_ENTRIES, Shared, Word } from './shared.js';

/** Turns without anything to do before the thread goes to sleep; some tens of microseconds, about what waking up costs. */
const SPIN_TURNS = 200;
/** Entries taken between two steps of the machine. */
const BATCH = 64;
const AREA_PAGES = AREA_BYTES / 8;

interface AttachRequest {
  readonly slot: number;
  readonly fd: number;
  readonly bytes: number;
  readonly owner: string;
}

class DeviceThread {
  readonly #shared: Shared;
  readonly #event: number;
  readonly #machine: Machine;

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
      removed: () => this.#removed(),
    });
  }

  /** Returns when the thread is to end. */
  run(): void {
    const { words } = this.#shared;
    let idle = 0;
    while (Atomics.load(words, Word.stop) === 0) {
      const done = this.#takeBatch() + this.#machine.step(systemClock());
      if (done > 0) idle = 0;
      else if (++idle > SPIN_TURNS) idle = this.#sleep();
    }
    for (const buffer of this.#machine.detachAll()) shm().unmap(buffer);
  }

  /** Sleeps until the engine, the durability service, or the end of a delay wakes the thread. */
  #sleep(): number {
    const { words } = this.#shared;
    const wakes = Atomics.load(words, Word.wakes);
    Atomics.store(words, Word.sleeping, 1);
    // Whoever stores something after this looks sees that the thread sleeps, and counts `wakes` up.
    const quiet = this.#isQueueEmpty() && Atomics.load(words, Word.stop) === 0 && this.#machine.step(systemClock()) === 0;
    if (quiet) Atomics.wait(words, Word.wakes, wakes, this.#machine.wait(systemClock()));
    Atomics.store(words, Word.sleeping, 0);
    return 0;
  }

  #isQueueEmpty(): boolean {
    const { words } = this.#shared;
    return Atomics.load(words, Word.queueTail) === Atomics.load(words, Word.queueHead);
  }

  #takeBatch(): number {
    const { words } = this.#shared;
    const head = words[Word.queueHead];
    const count = Math.min((Atomics.load(words, Word.queueTail) - head) | 0, BATCH);
    for (let index = 0; index < count; index++) {
      this.#take(((head + index) & (QUEUE_ENTRIES - 1)) * ENTRY_WORDS);
      Atomics.store(words, Word.queueHead, (head + index + 1) | 0);
    }
    return count;
  }

  #take(at: number): void {
    const { queue } = this.#shared;
    const kind = queue[at + Entry.kind];
    const offset = queue[at + Entry.offset];
    const low = queue[at + Entry.low];
    const high = queue[at + Entry.high];
    if ((kind & 0xff) === Kind.barWrite) {
      writeRegister(this.#machine.function, kind >>> 16, offset, (kind >>> 8) & 0xff, low, high);
      return;
    }
    let failed = 0;
    let result: number;
    try {
      result = this.#answer(kind, offset, low, high);
    } catch (error) {
      failed = 1;
      result = this.#shared.putText(String(error));
    }
    const slot = queue[at + Entry.slot];
    if (slot >= ANSWER_SLOTS) return;
    const { answers } = this.#shared;
    const to = slot * ANSWER_WORDS;
    answers[to + Answer.failed] = failed;
    answers[to + Answer.low] = result;
    Atomics.store(answers, to + Answer.sequence, queue[at + Entry.sequence]);
  }

  #answer(kind: number, offset: number, low: number, high: number): number {
    const machine = this.#machine;
    const width = (kind >>> 8) & 0xff;
    switch (kind & 0xff) {
      case Kind.barRead:
        return machine.function.readBar(kind >>> 16, offset);
      case Kind.configRead:
        return machine.function.readConfig(offset, width === 1 || width === 2 ? width : 4);
      case Kind.configWrite:
        machine.function.writeConfig(offset, width === 1 || width === 2 ? width : 4, low);
        return 0;
      case Kind.attach: {
        const { slot, fd, bytes, owner } = JSON.parse(this.#shared.takeText(low)) as AttachRequest;
        machine.attach(slot, shm().map(fd, 0, bytes, true), owner);
        return 0;
      }
      case Kind.pages: {
        const words = Uint32Array.from(this.#shared.areaWords);
        machine.addPages(offset, low, words.subarray(0, high), words.subarray(AREA_PAGES, AREA_PAGES + high));
        return 0;
      }
      case Kind.detach: {
        const buffer = machine.detach(offset);
        if (buffer !== undefined) shm().unmap(buffer);
        return 0;
      }
      case Kind.control: {
        const answer = machine.control(JSON.parse(this.#shared.takeText(low)) as ControlRequest);
        return this.#shared.putText(JSON.stringify(answer ?? null));
      }
      default:
        throw new Error(`request ${kind & 0xff}`);
    }
  }

  #interrupt(data: number): void {
    if (data >= MAX_VECTORS) return;
    Atomics.add(this.#shared.counters, data, 1);
    this.#shared.signalEngine(this.#event);
  }

  #removed(): void {
    Atomics.store(this.#shared.words, Word.removed, 1);
    this.#shared.signalEngine(this.#event);
  }
}

const handle = workerData as EmulatedHandle;
try {
  const thread = new DeviceThread(handle);
  parentPort?.postMessage('ready', []);
  thread.run();
} catch (error) {
  const shared = new Shared(handle.shared);
  Atomics.store(shared.words, Word.dead, 1);
  shared.signalEngine(handle.event);
  throw error;
}
