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
/** A device that stays for so long begins with the first pause again. */
const SOUND = 60_000;
/** How often it is looked whether the earlier holders are gone. */
const LOOK = 50;

export interface RevivalOptions {
  readonly engines: Iterable<EngineHost>;
  /** Throws when what is there now is not what the tenants' windows were given on. */
  readonly check: (device: string) => void;
  /** A device is back. */
  readonly onBack: () => void;
  readonly log: Log;
}

interface Patient {
  readonly engine: EngineHost;
  pause: number;
  /** When it came back last. */
  back: number;
  work: Promise<void> | undefined;
}

export class Revival {
  readonly #options: RevivalOptions;
  readonly #stop = new AbortController();
  readonly #patients: Patient[];

  constructor(options: RevivalOptions) {
    this.#options = options;
    this.#patients = [...options.engines].map((engine) => ({ engine, pause: FIRST_PAUSE, back: -Infinity, work: undefined }));
    for (const patient of this.#patients) {
      const { engine } = patient;
      engine.on('gone', (reason) => this.#begin(patient, reason));
      // It may have happened before anybody listened.
      if (engine.gone !== undefined) this.#begin(patient, engine.gone);
    }
  }

  /** Tries no more. What is being started is ended by the engine's own end. */
  stop(): void {
    this.#stop.abort();
  }

  #begin(patient: Patient, reason: string): void {
    if (patient.work !== undefined || this.#stop.signal.aborted) return;
    this.#options.log.warn('the device is gone and will be looked for', { device: patient.engine.name, reason });
    if (performance.now() - patient.back > SOUND) patient.pause = FIRST_PAUSE;
    patient.work = this.#bringBack(patient).finally(() => {
      patient.work = undefined;
      // It may have gone again in that very moment.
      if (patient.engine.gone !== undefined) this.#begin(patient, patient.engine.gone);
    });
  }

  /** Never rejects. */
  async #bringBack(patient: Patient): Promise<void> {
    const { engine } = patient;
    const { check, onBack, log } = this.#options;
    const { signal } = this.#stop;
    await this.#untilFree(engine);
    let said = '';
    while (!signal.aborted) {
      await this.#wait(patient.pause);
      if (signal.aborted) return;
      patient.pause = Math.min(LONGEST_PAUSE, 2 * patient.pause);
      try {
        await engine.restart(() => check(engine.name));
        patient.back = performance.now();
        log.info('the device is back', { device: engine.name });
        onBack();
        return;
      } catch (error) {
        // The same reason is said once.
        if (messageOf(error) !== said && !signal.aborted) log.warn('the device is not there yet', { device: engine.name, error: messageOf(error) });
        said = messageOf(error);
      }
    }
  }

  async #untilFree(engine: EngineHost): Promise<void> {
    while (!this.#stop.signal.aborted) {
      try {
        const report = await Promise.race([engine.report(), this.#wait(LONGEST_PAUSE)]);
        if (report?.free === true) return;
      } catch {
        return; // its thread has ended: nothing holds it
      }
      await this.#wait(LOOK);
    }
  }

  /** Ends early when told to stop, and keeps no process alive. */
  #wait(milliseconds: number): Promise<undefined> {
    return new Promise((resolve) => {
      const { signal } = this.#stop;
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve(undefined);
      };
      const timer = setTimeout(done, milliseconds);
      timer.unref();
      signal.addEventListener('abort', done, { once: true });
      if (signal.aborted) done();
    });
  }
}
