/** Administrative commands: the server's alone. Each is a task; asynchronous events are kept outstanding (NVMe Base Specification 1.4, section 5). */
import type { DmaArena, DmaSlice } from '../dma/index.js';
import { HardwareError, until, type Clock, type Task } from '../task.js';
import type { CompletionSink, QueuePair } from './queue-pair.js';
import { AdminOpcode, PAGE_BYTES, Sqe, statusName } from './spec/index.js';

/** How long an administrative command may take. Deleting a queue with work in it is the slow one. */
const ADMIN_TIMEOUT_MS = 5_000;
/** Events that we ask for at once, at most; the controller's limit (AERL) may be lower. */
const MAX_EVENT_REQUESTS = 4;

/** An asynchronous event: completion Dword 0 taken apart (5.2.1). */
export interface AsynchronousEvent {
  readonly type: number;
  readonly information: number;
  readonly logPage: number;
}

export interface AdminCommand {
  readonly opcode: number;
  readonly namespace?: number;
  readonly cdw10?: number;
  readonly cdw11?: number;
  /** Data buffer, one page; PRP1. */
  readonly data?: DmaSlice;
}

/** What becomes of one command. Its slot may serve another as soon as it is answered, so the answer is kept here. */
interface Pending {
  answered: boolean;
  status: number;
  dword0: number;
}

export class AdminQueue implements CompletionSink {
  readonly pair: QueuePair;
  readonly #clock: Clock;
  readonly #arena: DmaArena;
  /** Of each slot: the command that waits for an answer, `event`, or undefined for one that was given up. */
  readonly #pending: (Pending | 'event' | undefined)[] = [];
  #eventRequests = 0;
  readonly #events: AsynchronousEvent[] = [];
  /** Pages that the controller may write an answer to. */
  readonly #pages = new Set<DmaSlice>();
  /** Why nothing is answered any more. */
  #ended: HardwareError | undefined;

  constructor(pair: QueuePair, arena: DmaArena, clock: Clock) {
    this.pair = pair;
    this.#arena = arena;
    this.#clock = clock;
  }

  /** Runs one command and returns completion Dword 0. @throws HardwareError `status` (with its name) or `timeout`. */
  *command(command: AdminCommand, what: string): Task<number> {
    const [status, dword0] = yield* this.attempt(command, what);
    if (status !== 0) throw failed(what, status);
    return dword0;
  }

  /** Runs one command and returns its status and completion Dword 0. @throws HardwareError `timeout`, `lost` when the queue ends before the answer. */
  *attempt(command: AdminCommand, what: string): Task<[status: number, dword0: number]> {
    yield* until(this.#clock, ADMIN_TIMEOUT_MS, `${what}: no room in the admin queue`, () => this.#ended !== undefined || this.pair.room > 0);
    if (this.#ended !== undefined) throw this.#ended;
    const pending: Pending = { answered: false, status: 0, dword0: 0 };
    const slot = this.#submit(command);
    this.#pending[slot] = pending;
    this.pair.ring();
    try {
      yield* until(this.#clock, ADMIN_TIMEOUT_MS, what, () => this.#ended !== undefined || pending.answered);
      if (!pending.answered && this.#ended !== undefined) throw this.#ended;
    } catch (error) {
      this.#pending[slot] = undefined;
      throw error;
    }
    return [pending.status, pending.dword0];
  }

  /** A command that returns one page or less; the answer is a copy. Without an answer the controller may still write there: the page is held until `close`. */
  *read(command: AdminCommand, bytes: number, what: string): Task<Uint8Array> {
    const data = yield* this.#arena.allocate(PAGE_BYTES);
    if (this.#ended !== undefined) {
      this.#arena.free(data);
      throw this.#ended;
    }
    this.#pages.add(data);
    const [status] = yield* this.attempt({ ...command, data }, what);
    const copy = data.u8.slice(0, bytes);
    this.#pages.delete(data);
    this.#arena.free(data);
    if (status !== 0) throw failed(what, status);
    return copy;
  }

  /** Takes completions; returns how many. @throws HardwareError `protocol`, once: whoever waits for an answer is told, too. */
  poll(): number {
    try {
      return this.pair.reap(this);
    } catch (error) {
      this.#ended ??= new HardwareError('lost', 'the controller answered what cannot be');
      throw error;
    }
  }

  /** The device is gone: whoever waits for an answer is told. */
  lose(reason: string): void {
    this.#ended ??= new HardwareError('lost', reason);
  }

  /** The controller was disabled, or is gone: whoever waits is told at once, and what was held is given back. */
  close(): void {
    this.#ended ??= new HardwareError('lost', 'the controller was reset before it answered');
    for (const page of this.#pages) this.#arena.free(page);
    this.#pages.clear();
  }

  /** Keeps event requests outstanding, up to `limit` (AERL + 1). */
  requestEvents(limit: number): void {
    const most = Math.min(limit, MAX_EVENT_REQUESTS);
    while (this.#eventRequests < most && this.pair.room > 1) {
      const slot = this.#submit({ opcode: AdminOpcode.asynchronousEventRequest });
      this.#pending[slot] = 'event';
      this.#eventRequests++;
    }
    this.pair.ring();
  }

  /** The next event, or undefined. */
  nextEvent(): AsynchronousEvent | undefined {
    return this.#events.shift();
  }

  completed(_pair: QueuePair, slot: number, status: number, dword0: number): void {
    const pending = this.#pending[slot];
    this.#pending[slot] = undefined;
    if (pending === 'event') {
      this.#eventRequests--;
      if (status === 0) this.#events.push({ type: dword0 & 0x7, information: (dword0 >>> 8) & 0xff, logPage: (dword0 >>> 16) & 0xff });
    } else if (pending !== undefined) {
      pending.answered = true;
      pending.status = status;
      pending.dword0 = dword0;
    }
  }

  #submit(command: AdminCommand): number {
    const slot = this.pair.claim();
    const at = this.pair.begin(slot, command.opcode, command.namespace ?? 0, command.cdw10, command.cdw11);
    const words = this.pair.words;
    words[at + Sqe.prp1Low] = command.data?.busLow ?? 0;
    words[at + Sqe.prp1High] = command.data?.busHigh ?? 0;
    this.pair.submit(slot, this.#clock());
    return slot;
  }
}

const failed = (what: string, status: number): HardwareError => new HardwareError('status', `${what}: the controller answered ${statusName(status)}`);
