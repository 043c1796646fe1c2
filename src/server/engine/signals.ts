/** The shared words and descriptors by which the main thread and an engine thread wake each other. */
import { shm } from '../../native/shm.js';

const ASLEEP = 0;
const CONTROL = 16;
const MAIN_WATCHING = 32;

/** Survives a structured clone: what the engine thread gets. */
export interface SignalHandles {
  readonly words: SharedArrayBuffer;
  /** eventfd that wakes the engine; nobody but this process holds it. */
  readonly engineWake: number;
  /** Waker of the main thread's event loop. */
  readonly mainWaker: number;
}

export class Signals {
  readonly handles: SignalHandles;
  readonly #words: Int32Array;

  constructor(handles: SignalHandles) {
    this.handles = handles;
    this.#words = new Int32Array(handles.words);
  }

  /** Main: tells the engine that there is work, with a system call only if it sleeps. */
  wakeEngine(): void {
    if (Atomics.load(this.#words, ASLEEP) === 1) shm().eventfdSignal(this.handles.engineWake);
  }

  /** Main: a control message was posted. */
  announceControl(): void {
    Atomics.add(this.#words, CONTROL, 1);
    this.wakeEngine();
  }

  /** Engine: how many control messages were announced so far. */
  controlCount(): number {
    return Atomics.load(this.#words, CONTROL);
  }

  /** Engine: about to sleep (it looks at everything once more after this), or awake again. */
  setAsleep(asleep: boolean): void {
    Atomics.store(this.#words, ASLEEP, asleep ? 1 : 0);
  }

  /** Main: looks at what is ready without being told, or not any more (it looks once more after this). */
  setMainWatching(watching: boolean): void {
    Atomics.store(this.#words, MAIN_WATCHING, watching ? 1 : 0);
  }

  /** Engine: lets the main thread's loop look at what is ready, unless it does so anyway. */
  wakeMain(): void {
    if (Atomics.load(this.#words, MAIN_WATCHING) === 0) shm().wake(this.handles.mainWaker);
  }
}
