/** Bringing a controller up and down, register by register (NVMe Base Specification 1.4, 7.6.1 and 7.6.2). */
import type { Backing, Bar } from '../backing.js';
import type { DmaArena, DmaSlice } from '../dma/index.js';
import { HardwareError, sleep, type Clock, type Task } from '../task.js';
import { QueuePair } from './queue-pair.js';
import type { RingView } from './ring-view.js';
import {
  ACQ,
  AQA,
  ASQ,
  CAP,
  CC,
  COMPLETION_BYTES,
  COMPLETION_SHIFT,
  CSTS,
  CommandSets,
  PAGE_BYTES,
  SUBMISSION_BYTES,
  SUBMISSION_SHIFT,
} from './spec/index.js';
import { ShutdownNotification, ShutdownStatus, TIMEOUT_UNIT_MS, getField, putField } from './spec/index.js';

/** Entries of the admin queues: enough for the events, and for every queue of a lease to be deleted at once. */
const ADMIN_ENTRIES = 32;
/** How long a controller may take for a normal shutdown before it is disabled anyway. */
const SHUTDOWN_TIMEOUT_MS = 2_000;
/** A controller that says CAP.TO = 0 still gets this long. */
const MIN_READY_TIMEOUT_MS = 1_000;
const REGISTERS_BAR = 0;

/** What CAP says. */
export interface Capabilities {
  /** Most entries of an I/O queue. */
  readonly queueEntries: number;
  /** DSTRD. */
  readonly stride: number;
  readonly readyTimeout: number;
}

export class Controller {
  readonly #backing: Backing;
  readonly #clock: Clock;

  constructor(backing: Backing, clock: Clock) {
    this.#backing = backing;
    this.#clock = clock;
  }

  get bar(): Bar {
    return this.#backing.bar(REGISTERS_BAR);
  }

  /** @throws HardwareError `unsupported` for a controller that this driver cannot run, `lost` when nothing answers. */
  *capabilities(): Task<Capabilities> {
    const cap = yield* this.bar.read64(CAP.offset);
    if (cap === 0n || cap === 0xffff_ffff_ffff_ffffn) throw new HardwareError('lost', 'the controller registers do not answer');
    const low = Number(cap & 0xffff_ffffn);
    const high = Number(cap >> 32n);
    if (getField(CAP.fields.mpsmin, low, high) !== 0) throw new HardwareError('unsupported', 'the controller has no 4096-byte memory pages');
    if ((getField(CAP.fields.css, low, high) & CommandSets.nvm) === 0)
      throw new HardwareError('unsupported', 'the controller has no NVM command set');
    return {
      queueEntries: getField(CAP.fields.mqes, low) + 1,
      stride: getField(CAP.fields.dstrd, low, high),
      readyTimeout: Math.max(MIN_READY_TIMEOUT_MS, getField(CAP.fields.to, low) * TIMEOUT_UNIT_MS),
    };
  }

  /** Memory for a queue pair of `entries`, and the pair. With a `view` it has its completion queue there. */
  *makePair(arena: DmaArena, stride: number, id: number, entries: number, vector: number, view?: RingView): Task<QueuePair> {
    const { bar } = this;
    const taken: DmaSlice[] = [];
    try {
      taken.push(yield* arena.allocate(entries * SUBMISSION_BYTES));
      taken.push(view === undefined ? yield* arena.allocate(entries * COMPLETION_BYTES) : view.completion);
      // A command reads of its page only what was written for it.
      taken.push(yield* arena.allocate(entries * PAGE_BYTES, true));
    } catch (error) {
      for (const slice of taken) if (slice !== view?.completion) arena.free(slice);
      throw error;
    }
    const [submission, completion, lists] = taken;
    return new QueuePair(bar, stride, id, entries, vector, { submission, completion, lists }, view);
  }

  /** Enables the controller with fresh admin queues. Interrupts are enabled before (some device models lose them otherwise). */
  *enable(arena: DmaArena, capabilities: Capabilities, vector: number): Task<QueuePair> {
    const pair = yield* this.makePair(arena, capabilities.stride, 0, ADMIN_ENTRIES, vector);
    const { submission, completion } = pair.memory;
    this.bar.write32(AQA.offset, putField(AQA.fields.asqs, ADMIN_ENTRIES - 1) | putField(AQA.fields.acqs, ADMIN_ENTRIES - 1));
    this.bar.write64(ASQ.offset, (BigInt(submission.busHigh) << 32n) | BigInt(submission.busLow));
    this.bar.write64(ACQ.offset, (BigInt(completion.busHigh) << 32n) | BigInt(completion.busLow));
    this.bar.write32(
      CC.offset,
      putField(CC.fields.en, 1) | putField(CC.fields.iosqes, SUBMISSION_SHIFT) | putField(CC.fields.iocqes, COMPLETION_SHIFT),
    );
    yield* this.#awaitReady(1, capabilities.readyTimeout);
    return pair;
  }

  /** Disables: when it returns, the controller does no DMA and has no queues. @throws HardwareError `timeout` or `lost`. */
  *disable(readyTimeout: number): Task<void> {
    const configuration = yield* this.bar.read32(CC.offset);
    const cleared = putField(CC.fields.en, 1) | putField(CC.fields.shn, 3);
    this.bar.write32(CC.offset, (configuration & ~cleared) >>> 0);
    yield* this.#awaitReady(0, readyTimeout);
  }

  /** Normal shutdown, so that what is cached is kept; then disable. A controller that does not finish is disabled all the same. */
  *shutdown(readyTimeout: number): Task<void> {
    const configuration = yield* this.bar.read32(CC.offset);
    if ((configuration & 1) === 1) {
      this.bar.write32(CC.offset, configuration | putField(CC.fields.shn, ShutdownNotification.normal));
      const deadline = this.#clock() + SHUTDOWN_TIMEOUT_MS;
      while (this.#clock() < deadline && getField(CSTS.fields.shst, yield* this.#status()) !== ShutdownStatus.complete) yield* sleep(this.#clock, 1);
    }
    yield* this.disable(readyTimeout);
  }

  /** Whether the controller works: ready, and not in fatal status. @throws HardwareError `lost`. */
  *healthy(): Task<boolean> {
    const status = yield* this.#status();
    return getField(CSTS.fields.rdy, status) === 1 && getField(CSTS.fields.cfs, status) === 0;
  }

  *#status(): Task<number> {
    const status = yield* this.bar.read32(CSTS.offset);
    if (status === 0xffff_ffff) throw new HardwareError('lost', 'the controller registers read as all ones');
    return status;
  }

  *#awaitReady(ready: 0 | 1, timeout: number): Task<void> {
    const deadline = this.#clock() + timeout;
    for (;;) {
      const status = yield* this.#status();
      if (getField(CSTS.fields.rdy, status) === ready) return;
      if (ready === 1 && getField(CSTS.fields.cfs, status) === 1)
        throw new HardwareError('status', 'the controller reports fatal status while it is enabled');
      if (this.#clock() >= deadline)
        throw new HardwareError('timeout', `the controller does not become ${ready === 1 ? 'ready' : 'disabled'} within ${timeout} ms`);
      yield* sleep(this.#clock, 0.1);
    }
  }
}
