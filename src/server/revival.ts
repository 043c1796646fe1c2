/**
 * Brings devices back whose world has ended: QEMU died, a function was taken out of its slot and put in again. Their leases are gone; when the device is there
 * again, clients open it anew.
 */
import type { EngineHost } from './engine/index.js';
import type { Log } from './log.js';
import { messageOf } from './text.js';

/** Pauses between tries, milliseconds: the first, and the longest. */
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 30_000;
/** How often it is looked whether the earlier holders are gone. */
const LOOK = 50;

export class Revival {
  readonly #log: Log;
  readonly #stop = new AbortController();
  readonly #working = new Map<EngineHost, Promise<void>>();

  constructor(engines: Iterable<EngineHost>, log: Log) {
    this.#log = log;
    for (const engine of engines) engine.on('gone', (reason) => this.#begin(engine, reason));
  }

  /** Tries no more; resolves when no try is under way. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#working.values());
  }

  #begin(engine: EngineHost, reason: string): void {
    if (this.#working.has(engine) || this.#stop.signal.aborted) return;
    this.#log.warn('the device is gone and will be looked for', { device: engine.name, reason });
    this.#working.set(
      engine,
      this.#bringBack(engine).finally(() => this.#working.delete(engine)),
    );
  }

  /** Never rejects. */
  async #bringBack(engine: EngineHost): Promise<void> {
    const { signal } = this.#stop;
    await this.#untilFree(engine);
    let said = '';
    for (let pause = FIRST_PAUSE; !signal.aborted; pause = Math.min(LONGEST_PAUSE, 2 * pause)) {
      await this.#pause(pause);
      if (signal.aborted) return;
      try {
        await engine.restart();
        this.#log.info('the device is back', { device: engine.name });
        return;
      } catch (error) {
        // The same reason is said once.
        if (messageOf(error) !== said) this.#log.warn('the device is not there yet', { device: engine.name, error: messageOf(error) });
        said = messageOf(error);
      }
    }
  }

  async #untilFree(engine: EngineHost): Promise<void> {
    while (!this.#stop.signal.aborted) {
      try {
        if ((await engine.report()).free) return;
      } catch {
        return; // its thread has ended: nothing holds it
      }
      await this.#pause(LOOK);
    }
  }

  /** Ends early when told to stop, and keeps no process alive. */
  #pause(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const { signal } = this.#stop;
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, milliseconds);
      timer.unref();
      signal.addEventListener('abort', done, { once: true });
      if (signal.aborted) done();
    });
  }
}
