/**
 * Makes images durable off the model's thread, because a disk may take its time: the main thread, which has an event loop, does it.
 *
 * One run at a time covers all images and every request that was made before it began.
 */
import { fdatasync } from 'node:fs';
import { shm } from '../../native/shm.js';
import type { Durability } from './model/image-media.js';
import { FlushState } from './model/media.js';
import { type Shared, Word } from './shared.js';

/** The model's side. */
export class SharedDurability implements Durability {
  readonly #shared: Shared;
  readonly #waker: number;
  #broken = false;

  constructor(shared: Shared, waker: number) {
    this.#shared = shared;
    this.#waker = waker;
  }

  request(): number {
    const { words } = this.#shared;
    let ticket = (Atomics.add(words, Word.syncRequested, 1) + 1) | 0;
    if (ticket === 0) ticket = (Atomics.add(words, Word.syncRequested, 1) + 1) | 0;
    if (!shm().wake(this.#waker)) this.#broken = true;
    return ticket;
  }

  state(image: number, ticket: number): number {
    const { words, syncFailures } = this.#shared;
    if (((Atomics.load(words, Word.syncDone) - ticket) | 0) < 0) return this.#broken ? FlushState.failed : FlushState.waiting;
    const failure = Atomics.load(syncFailures, image);
    return failure !== 0 && ((failure - ticket) | 0) >= 0 ? FlushState.failed : FlushState.done;
  }
}

/** The main thread's side. */
export class SyncService {
  readonly #shared: Shared;
  readonly #descriptors: readonly number[];
  /** Tells the model that a run has ended. */
  readonly #done: () => void;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(shared: Shared, descriptors: readonly number[], done: () => void) {
    this.#shared = shared;
    this.#descriptors = descriptors;
    this.#done = done;
  }

  /** There is something to do. */
  wake(): void {
    if (this.#closed) return;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      if (this.#pending) this.wake();
    });
  }

  /** Resolves when nothing runs any more. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  get #pending(): boolean {
    const { words } = this.#shared;
    return Atomics.load(words, Word.syncRequested) !== Atomics.load(words, Word.syncDone);
  }

  async #run(): Promise<void> {
    const { words, syncFailures } = this.#shared;
    const ticket = Atomics.load(words, Word.syncRequested);
    const results = await Promise.all(this.#descriptors.map((fd) => makeDurable(fd)));
    for (const [image, durable] of results.entries()) if (!durable) Atomics.store(syncFailures, image, ticket);
    Atomics.store(words, Word.syncDone, ticket);
    this.#done();
  }
}

function makeDurable(fd: number): Promise<boolean> {
  return new Promise((resolve) => fdatasync(fd, (error) => resolve(error === null)));
}
