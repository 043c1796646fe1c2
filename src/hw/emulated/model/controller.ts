/**
 * The NVMe controller: its parts put together, its registers, and how it is enabled, reset and shut down (Base Specification 1.4, 3.1, 7.3
 * and 7.6). It runs only inside `step` and register writes, on one thread, and never throws for anything that a host does.
 */
import { AQA, CC, DOORBELLS, SelectedCommandSet, ShutdownNotification, ShutdownStatus, getField } from '../../nvme/spec/index.js';
import type { Bus } from '../bus.js';
import { Transfer } from '../transfer.js';
import { AdminCommands } from './admin.js';
import { CommandEngine } from './engine.js';
import { ErrorLog } from './error-log.js';
import { Events } from './events.js';
import { Features } from './features.js';
import { ALL_MEDIA, Flushing } from './flushing.js';
import { Health, type HealthReadings } from './health.js';
import { HeldCommands } from './held.js';
import { IoCommands } from './io.js';
import { Logs } from './logs.js';
import { FlushState } from './media.js';
import type { MsixModel } from './msix.js';
import type { Namespace } from './namespace.js';
import { PrpWalker, mostPages } from './prp.js';
import type { QueueLimits } from './queue-commands.js';
import { CompletionQueue, QueueSet, SubmissionQueue } from './queues.js';
import { Registers } from './registers.js';
import type { ControllerShape } from './shape.js';

/** Bytes of the largest transfer without a limit by MDTS: 65536 blocks of 4096 bytes. */
const LARGEST_BYTES = 65_536 * 4096;

export interface ControllerEnvironment {
  readonly shape: ControllerShape;
  readonly namespaces: readonly Namespace[];
  readonly bus: Bus;
  readonly msix: MsixModel;
  /** Milliseconds, as in `hw/task.ts`. */
  readonly clock: () => number;
  /** The function leaves the bus (a fault). */
  readonly remove: () => void;
}

export class Controller {
  readonly registers: Registers;
  readonly queues: QueueSet;
  readonly events: Events;
  readonly errors = new ErrorLog();
  readonly health: Health;
  readonly features: Features;
  readonly logs: Logs;
  readonly engine: CommandEngine;
  /** How long CSTS.RDY follows CC.EN, ms; Infinity: never. */
  readyDelay = 0;
  readonly #environment: ControllerEnvironment;
  readonly #held = new HeldCommands();
  readonly #flushing: Flushing;
  #readyAt = 0;
  #shutdownTicket = 0;

  constructor(environment: ControllerEnvironment) {
    const { shape, namespaces, bus, msix, clock, remove } = environment;
    const { errors } = this;
    const held = this.#held;
    this.#environment = environment;
    const registers = new Registers(shape);
    const queues = new QueueSet(bus, msix, shape.queuePairs, (information) => this.engine.doorbellError(information));
    const events = new Events((commandId, dword0) => this.engine.report(commandId, dword0));
    const health = new Health(clock());
    const features = new Features({ shape, namespaces, events, health, queues });
    const mostBytes = shape.mdts === 0 ? Infinity : 4096 * 2 ** shape.mdts;
    const transfer = new Transfer(bus, mostPages(Math.min(mostBytes, LARGEST_BYTES)));
    const walker = new PrpWalker(transfer);
    const logs = new Logs({ errors, events, health, mostBytes, now: clock });
    const flushing = new Flushing(namespaces, held);
    const io = new IoCommands({ namespaces, transfer, walker, features, health, held, flushing, mostBytes });
    const admin = new AdminCommands({
      shape,
      namespaces,
      queues,
      events,
      features,
      logs,
      transfer,
      walker,
      limits: () => this.#limits(),
      abort: (queueId, commandId) => this.engine.abort(queueId, commandId),
      abandon: (queue) => this.engine.abandon(queue),
    });
    this.engine = new CommandEngine({
      bus,
      queues,
      held,
      errors,
      events,
      health,
      clock,
      remove,
      registers,
      execute: (command) => (command.queue.id === 0 ? admin.execute(command) : io.execute(command)),
      flushState: (medium, ticket) => flushing.state(medium, ticket),
      continueZeroing: (command) => io.continueZeroing(command),
    });
    this.registers = registers;
    this.queues = queues;
    this.events = events;
    this.health = health;
    this.features = features;
    this.logs = logs;
    this.#flushing = flushing;
  }

  /** A 32-bit write to the registers or doorbells, `offset` a multiple of 4. */
  write(offset: number, value: number): void {
    if (offset >= DOORBELLS) {
      const index = (offset - DOORBELLS) / (4 << this.#environment.shape.doorbellStride);
      if (this.registers.serving && Number.isInteger(index)) this.queues.ring(index, value & 0xffff);
      return;
    }
    const before = this.registers.cc;
    this.registers.write(offset, value);
    if (offset === CC.offset) this.#configure(before);
  }

  /** Milliseconds until something happens by itself; Infinity if nothing will. */
  wait(now: number): number {
    return Math.min(this.#held.wait(now), this.#isStarting() ? Math.max(0, this.#readyAt - now) : Infinity);
  }

  /** Does what is to be done, up to a limit. Returns how many things were done. */
  step(now: number): number {
    if (this.#isStarting() && now >= this.#readyAt) this.registers.setReady();
    if (this.registers.shutdownStatus === ShutdownStatus.occurring) this.#continueShutdown();
    return this.registers.serving ? this.engine.step(now, this.features.burst) : 0;
  }

  /** Controller reset (7.3.2): queues and features are gone; the admin queue registers stay. */
  reset(): void {
    this.queues.reset();
    this.engine.reset();
    this.events.reset();
    this.features.reset();
    this.#environment.msix.clearPending();
    this.registers.csts = 0;
  }

  get namespaces(): readonly Namespace[] {
    return this.#environment.namespaces;
  }

  /** New readings of the sensors; warnings that were not there before become events. */
  setHealth(readings: Partial<HealthReadings>): void {
    const before = this.health.warnings;
    this.health.set(readings);
    this.events.warn(this.health.warnings & ~before);
  }

  /** Something about a namespace changed: it joins the changed namespace list, and the host is told. */
  namespaceChanged(id: number): void {
    this.logs.namespaceChanged(id);
    this.events.namespaceChanged();
  }

  #limits(): QueueLimits {
    const { shape, msix } = this.#environment;
    const { cc } = this.registers;
    const { submissionQueues, completionQueues } = this.features;
    return {
      submissionQueues,
      completionQueues,
      mqes: shape.mqes,
      vectors: msix.enabled ? msix.vectors : 1,
      submissionShift: getField(CC.fields.iosqes, cc),
      completionShift: getField(CC.fields.iocqes, cc),
    };
  }

  #isStarting(): boolean {
    return this.registers.enabled && !this.registers.ready && !this.registers.fatal;
  }

  /** CC was written. */
  #configure(before: number): void {
    const wasEnabled = getField(CC.fields.en, before) === 1;
    const { registers } = this;
    if (wasEnabled && !registers.enabled) this.reset();
    else if (!wasEnabled && registers.enabled) this.#enable();
    const notification = getField(CC.fields.shn, registers.cc);
    const asked = notification === ShutdownNotification.normal || notification === ShutdownNotification.abrupt;
    if (asked && registers.shutdownStatus === ShutdownStatus.none) this.#startShutdown();
  }

  #enable(): void {
    const { registers } = this;
    const { cc, aqa } = registers;
    const submissionSize = getField(AQA.fields.asqs, aqa) + 1;
    const completionSize = getField(AQA.fields.acqs, aqa) + 1;
    const isSane =
      getField(CC.fields.mps, cc) === 0 &&
      getField(CC.fields.ams, cc) === 0 &&
      getField(CC.fields.css, cc) === SelectedCommandSet.nvm &&
      submissionSize >= 2 &&
      completionSize >= 2 &&
      this.#isMemory(registers.asqLow, registers.asqHigh) &&
      this.#isMemory(registers.acqLow, registers.acqHigh);
    if (!isSane) {
      registers.setFatal();
      return;
    }
    const completion = new CompletionQueue(0, completionSize, 0, registers.acqLow, registers.acqHigh);
    this.queues.completion[0] = completion;
    this.queues.addSubmission(new SubmissionQueue(0, submissionSize, completion, registers.asqLow, registers.asqHigh));
    this.#readyAt = this.#environment.clock() + this.readyDelay;
    if (this.readyDelay === 0) registers.setReady();
  }

  #isMemory(low: number, high: number): boolean {
    const { bus } = this.#environment;
    bus.find(low, high);
    return bus.target >= 0;
  }

  #startShutdown(): void {
    this.registers.setShutdown(ShutdownStatus.occurring);
    this.#shutdownTicket = this.#flushing.startAll();
    this.#continueShutdown();
  }

  #continueShutdown(): void {
    if (this.#flushing.state(ALL_MEDIA, this.#shutdownTicket) === FlushState.waiting) return;
    this.registers.setShutdown(ShutdownStatus.complete);
  }
}
