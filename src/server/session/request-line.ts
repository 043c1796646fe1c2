/** Control requests of a session, worked on one at a time in the order in which they came. */
import { MAX_MESSAGE_BYTES, type RequestMessage } from '../../protocol/index.js';

/** Requests, and bytes of them, that may wait for their turn before reading stops. */
const MAX_REQUESTS = 64;
const MAX_BYTES = MAX_MESSAGE_BYTES;

export class RequestLine {
  readonly #mayRun: () => boolean;
  readonly #run: (request: RequestMessage) => Promise<void>;
  readonly #onProgress: () => void;
  #waiting: { request: RequestMessage; bytes: number }[] = [];
  #bytes = 0;
  #working: Promise<void> | undefined;

  /** `run` never rejects. `onProgress` is called after each request: there may be room again. */
  constructor(mayRun: () => boolean, run: (request: RequestMessage) => Promise<void>, onProgress: () => void) {
    this.#mayRun = mayRun;
    this.#run = run;
    this.#onProgress = onProgress;
  }

  get full(): boolean {
    return this.#waiting.length >= MAX_REQUESTS || this.#bytes >= MAX_BYTES;
  }

  get busy(): boolean {
    return this.#working !== undefined;
  }

  /** `bytes` is the length of the message, which may be kept alive by the request. */
  add(request: RequestMessage, bytes: number): void {
    this.#waiting.push({ request, bytes });
    this.#bytes += bytes;
    this.resume();
  }

  /** Goes on, if there is something to do and it may be done. */
  resume(): void {
    if (this.#working !== undefined || this.#waiting.length === 0 || !this.#mayRun()) return;
    this.#working = this.#work();
  }

  /** Drops what has not been started, and resolves when what has been is done. */
  async stop(): Promise<void> {
    this.#waiting = [];
    this.#bytes = 0;
    await this.#working;
  }

  async #work(): Promise<void> {
    try {
      while (this.#mayRun()) {
        const next = this.#waiting.shift();
        if (next === undefined) break;
        await this.#run(next.request);
        this.#bytes = Math.max(0, this.#bytes - next.bytes);
        this.#onProgress();
      }
    } finally {
      this.#working = undefined;
    }
  }
}
