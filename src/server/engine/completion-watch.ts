/**
 * The main thread looks out for completions by itself for a moment after requests went out: at every turn of its event loop, so that the answer to a lone
 * request does not wait for a thread to be woken, and the engine need not wake it. Nobody in flight, or no news for long: it stops, and is woken again.
 */
import { shm } from '../../native/shm.js';
import type { Signals } from './signals.js';

/** How long to look without finding anything, milliseconds. */
const PATIENCE_MS = 0.05;
/** So few requests are waited for on the spot, so long: turns of the event loop would take most of their time. */
const LONE_REQUESTS = 2;
const LONE_MS = 0.02;

export class CompletionWatch {
  readonly #signals: Signals;
  readonly #takeReady: () => number;
  /** Requests whose completions were not taken. */
  #inFlight = 0;
  #until = 0;
  #watching = false;

  /** `takeReady` passes on the completions of every queue that has some, and says how many queues that were. */
  constructor(signals: Signals, takeReady: () => number) {
    this.#signals = signals;
    this.#takeReady = takeReady;
  }

  pushed(): void {
    this.#inFlight++;
  }

  taken(count: number): void {
    this.#inFlight -= count;
  }

  /** Requests were shown to the engine. */
  start(): void {
    this.#until = performance.now() + PATIENCE_MS;
    if (this.#watching) return;
    this.#watching = true;
    this.#signals.setMainWatching(true);
    queueMicrotask(this.#begin);
  }

  readonly #begin = (): void => {
    if (this.#inFlight <= LONE_REQUESTS) {
      const end = performance.now() + LONE_MS;
      do this.#look();
      while (this.#inFlight > 0 && performance.now() < end);
    }
    if (this.#inFlight > 0) setImmediate(this.#turn);
    else this.#stop();
  };

  readonly #turn = (): void => {
    const found = this.#look();
    const now = performance.now();
    if (found > 0) this.#until = now + PATIENCE_MS;
    if (this.#inFlight > 0 && now < this.#until) setImmediate(this.#turn);
    else this.#stop();
  };

  #look(): number {
    const found = this.#takeReady();
    if (found > 0) return found;
    // The engine, or a client, may be waiting for this very processor.
    shm().yieldProcessor();
    return this.#takeReady();
  }

  #stop(): void {
    this.#watching = false;
    this.#signals.setMainWatching(false);
    // What came before the engine saw that is not told of.
    this.#takeReady();
  }
}
