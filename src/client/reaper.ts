/**
 * When to look for completions on a shared ring: at once, for a moment; then at every turn of the event loop; then not at all, until the server rings the
 * doorbell. A program that would rather spend a processor than wait for a wake-up looks all the time (`busy`).
 */
import { type ConnectOpts, Socket, type SocketConstructorOpts } from 'node:net';
import { performance } from 'node:perf_hooks';
import { shm } from '../native/shm.js';
import type { SharedRing } from './shared-ring.js';
import { soon } from './soon.js';

/** How the completions of a queue are waited for. */
export type PollMode = 'adaptive' | 'busy' | 'sleep';

/** How long a look on the spot takes at most, and how long turns of the event loop without news are spent, milliseconds. */
const SPOT_MS = { adaptive: 0.02, busy: 0.2, sleep: 0 } as const;
const PATIENCE_MS = { adaptive: 0.05, busy: Infinity, sleep: 0 } as const;
/** Looks between two offers of the processor to somebody else. */
const LOOKS = 32;
/** So long the event loop may stand still while request follows on request, milliseconds. */
const LOOP_MS = 1;

/** Between two looks where nobody rings any more, milliseconds. */
const UNTOLD_MS = 1;

const BYTE = new Uint8Array(1);

export interface ReaperOptions {
  readonly mode: PollMode;
  /** Takes what is there; returns how much. */
  readonly reap: () => number;
  readonly inFlight: () => number;
}

export class Reaper {
  readonly #connection: number;
  readonly #socket: Socket;
  #options: ReaperOptions = { mode: 'adaptive', reap: () => 0, inFlight: () => 0 };
  #ring: SharedRing | undefined;
  #looking = false;
  #looks = 0;
  /** Looks on the spot until then, and at every turn of the event loop until `until`. */
  #spotEnd = 0;
  #until = 0;
  #loopSeen = 0;
  #closed = false;

  /** Takes the doorbell's connection over. */
  constructor(connection: number) {
    this.#connection = connection;
    const wake = (): boolean => {
      this.#loopSeen = performance.now();
      if (this.#options.mode === 'sleep') this.#look();
      this.start();
      return true;
    };
    const options: SocketConstructorOpts & ConnectOpts = {
      fd: connection,
      readable: true,
      writable: false,
      onread: { buffer: Buffer.alloc(64), callback: wake },
    };
    this.#socket = new Socket(options);
    this.#socket.on('error', () => undefined);
    this.#socket.on('close', () => {
      this.#closed = true;
      // Nobody rings any more.
      this.start();
    });
    // The session keeps the process alive.
    this.#socket.unref();
  }

  attach(ring: SharedRing, options: ReaperOptions): void {
    this.#ring = ring;
    this.#options = options;
  }

  /** Sends a byte to the server. One that is lost because the connection is full or gone is not missed. */
  readonly ring = (): void => {
    if (this.#closed) return;
    try {
      shm().send(this.#connection, BYTE, 0, 1);
    } catch {
      // The server ended the queue, and says so on the session.
    }
  };

  /** There are requests to wait for. */
  readonly start = (): void => {
    const ring = this.#ring;
    const { mode } = this.#options;
    if (this.#looking || ring === undefined) return;
    if (mode === 'sleep' && !this.#closed) {
      ring.sleep(true);
      // What came before the server saw that is not rung for.
      if (!ring.ready) return;
    }
    this.#looking = true;
    ring.sleep(false);
    const now = performance.now();
    this.#spotEnd = now + SPOT_MS[mode];
    this.#until = now + PATIENCE_MS[mode];
    // Promises that follow on promises would keep the event loop from everything else.
    if (now - this.#loopSeen > LOOP_MS) setImmediate(this.#turn);
    else soon(this.#onTheSpot);
  };

  end(): void {
    this.#ring = undefined;
    this.#closed = true;
    this.#socket.destroy();
  }

  /**
   * Looks without leaving the tick, and lets promises that are ready go on between two looks. Where nothing comes for a while, or the event loop has stood
   * still for long, it is the turn of everything else.
   */
  readonly #onTheSpot = (): void => {
    const now = performance.now();
    const { mode } = this.#options;
    const found = this.#look();
    if (found) {
      this.#spotEnd = now + SPOT_MS[mode];
      this.#until = now + PATIENCE_MS[mode];
    }
    if (this.#isWaiting && now < this.#spotEnd && now - this.#loopSeen < LOOP_MS) soon(this.#onTheSpot);
    else this.#goOn(now);
  };

  readonly #turn = (): void => {
    const now = performance.now();
    this.#loopSeen = now;
    this.#spotEnd = this.#options.mode === 'busy' ? now + SPOT_MS.busy : now;
    this.#onTheSpot();
  };

  /** True when something was found. */
  #look(): boolean {
    const ring = this.#ring;
    if (ring === undefined || !this.#isWaiting) return false;
    if (ring.ready) return this.#options.reap() > 0;
    if (++this.#looks < LOOKS) return false;
    this.#looks = 0;
    // The server may be waiting for this very processor.
    shm().yieldProcessor();
    return false;
  }

  get #isWaiting(): boolean {
    return this.#ring !== undefined && this.#options.inFlight() > 0;
  }

  #goOn(now: number): void {
    const ring = this.#ring;
    if (ring === undefined || !this.#isWaiting) {
      this.#looking = false;
      return;
    }
    if (now < this.#until) {
      setImmediate(this.#turn);
      return;
    }
    if (this.#closed) {
      setTimeout(this.#turn, UNTOLD_MS);
      return;
    }
    ring.sleep(true);
    this.#looking = false;
    // Once more, now that the server knows: otherwise what came in between would be told by nobody.
    if (ring.ready) this.start();
  }
}
