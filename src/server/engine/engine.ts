/**
 * The I/O engine of one device: one thread, one loop, one waiting place.
 *
 * It polls its rings and its device; when all is quiet it waits in one `epoll_wait` over its wake-up and the backing's descriptors. It never runs Node's
 * event loop, never blocks elsewhere, and allocates nothing for a request.
 */
import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads';
import type { Backing } from '../../hw/backing.js';
import { NVME_REGIONS, NvmeDriver, type NvmeFacts, type QueuePair } from '../../hw/nvme/index.js';
import { HardwareError, type Clock, type Task } from '../../hw/task.js';
import { Epoll, shm } from '../../native/shm.js';
import { Refusal, type DeviceFacts } from './api.js';
import type { ClientQueue } from './client-queue.js';
import type { ControlRequest, EngineMessage, EnginePost, EngineSettings } from './control.js';
import { Device } from './device.js';
import { handleControllerEvent } from './events.js';
import { failureOf } from './failure.js';
import { IdRing } from './id-ring.js';
import { InterruptForwarder } from './interrupts.js';
import { Doorbell } from './doorbell.js';
import { createMethods, type Methods } from './methods.js';
import { PciViews } from './pci-views.js';
import { RequestPath } from './request-path.js';
import { Scheduler } from './scheduler.js';
import { type RingFiles, SharedRings } from './shared-rings.js';
import type { Signals } from './signals.js';
import { Tasks } from './tasks.js';
import { Watchdog } from './watchdog.js';

/** While commands are in flight the engine looks again at least so often, even if nothing wakes it (a device may have no interrupts). */
const BUSY_SLEEP_US = 100;
const MAX_BUSY_SLEEP_US = 1_000;
/** An event of an idle controller is noticed after so long. */
const IDLE_SLEEP_MS = 250;
const MAX_EPOLL_EVENTS = 16;
/** While it is busy the engine looks so often for clients of shared rings that ring, milliseconds. */
const DOORBELL_MS = 0.1;
/** Between two events of the controller that are handled. */
const EVENT_MS = 10;

export class Engine {
  readonly device: Device;
  readonly driver: NvmeDriver;
  readonly path: RequestPath;
  readonly scheduler: Scheduler;
  readonly tasks: Tasks;
  readonly interrupts: InterruptForwarder;
  readonly pci: PciViews;
  readonly backing: Backing;
  readonly clock: Clock;
  /** Queues by channel number. */
  readonly channels: (ClientQueue | undefined)[] = [];
  stopped = false;
  readonly #settings: EngineSettings;
  readonly #port: MessagePort;
  readonly #signals: Signals;
  readonly #activations: IdRing;
  readonly #ready: IdRing;
  readonly #watchdog: Watchdog;
  readonly #methods: Methods;
  readonly #epoll: number;
  readonly #epollEvents = new Int32Array(2 * MAX_EPOLL_EVENTS);
  /** Queues with shared rings, by the descriptor of their doorbell. */
  readonly #doorbells = new Map<number, ClientQueue>();
  #nextLook = 0;
  #controlSeen = 0;
  #spinUntil = 0;
  /** This turn had answers: whoever waits for them may be waiting for this very processor. */
  #published = false;
  #nextEvent = 0;
  /** It was noticed that the backing is lost. */
  #gone = false;
  #busySleep = BUSY_SLEEP_US;

  constructor(backing: Backing, settings: EngineSettings, port: MessagePort, signals: Signals, activations: IdRing, ready: IdRing, clock: Clock) {
    this.backing = backing;
    this.clock = clock;
    this.#settings = settings;
    this.#port = port;
    this.#signals = signals;
    this.#activations = activations;
    this.#ready = ready;
    this.tasks = new Tasks(clock);
    this.path = new RequestPath(performance.timeOrigin);
    this.scheduler = new Scheduler(this.path, (queue, code) => this.#fault(queue, code));
    this.driver = new NvmeDriver(backing, { ...settings, clock });
    this.device = new Device(backing, this.driver, this.path, this.scheduler, clock, this.post, settings.leaseBase, settings.lastLease);
    this.#watchdog = new Watchdog(this.device, this.path, this.tasks, clock, this.post, settings.commandTimeout);
    this.interrupts = new InterruptForwarder(backing.interrupts, this.post, (vector) => this.device.pairsOnVector(vector) === 1);
    this.pci = new PciViews(this.device, backing, NVME_REGIONS);
    this.#methods = createMethods(this);
    this.#epoll = shm().epollCreate();
    for (const fd of [signals.handles.engineWake, ...backing.descriptors]) shm().epollControl(this.#epoll, 'add', fd, Epoll.in, fd);
  }

  /** Events and log lines for the main thread. */
  readonly post: EnginePost = {
    event: (event, args) => this.send({ kind: 'event', event, args }),
    log: (level, message, details) => this.send({ kind: 'event', event: 'log', args: [level, message, details] }),
  };

  send(message: EngineMessage): void {
    this.#port.postMessage(message);
  }

  /** Probes the device, then serves until it is told to stop. */
  run(): void {
    this.tasks.start(
      'probe',
      this.device.probe(),
      (facts) => this.send({ kind: 'started', facts: this.#facts(facts) }),
      (error) => {
        this.send({ kind: 'failed', failure: failureOf(error) });
        this.stopped = true;
      },
    );
    try {
      while (!this.stopped) {
        if (this.turn() === 0) this.#idle();
        else if (this.#published) shm().yieldProcessor();
      }
    } finally {
      try {
        this.interrupts.releaseAll();
      } finally {
        // Whatever ended it: registers and pins are this thread's, and nobody else gives them back.
        this.backing.dispose();
        shm().close(this.#epoll);
      }
    }
  }

  /** Does everything that can be done without waiting. Returns how much that was. */
  turn(): number {
    const now = this.clock();
    this.path.now = now;
    let work = this.#takeControl();
    work += this.#takeActivations();
    if (this.#doorbells.size > 0 && now >= this.#nextLook) this.#takeEvents(now, 0);
    work += this.#reap();
    work += this.scheduler.turn(now);
    if (work > 0) for (const pair of this.path.tables.keys()) this.path.ring(pair);
    const polled = this.backing.poll();
    // What completes now did not complete when the turn began: latencies are told by this clock.
    if (polled > 0) this.path.now = this.clock();
    work += polled + this.#afterPoll(now);
    work += this.tasks.turn();
    this.#publish();
    this.interrupts.turn();
    if (work > 0) this.#spinUntil = now + this.#settings.spinMicroseconds / 1000;
    return work;
  }

  /** Moves a queue to rings that a client maps. */
  shareQueue(queue: ClientQueue, files: RingFiles): void {
    if (!queue.isFresh) throw new Refusal('notFresh', 'queue', queue.queue);
    this.scheduler.remove(queue);
    const openDoorbell = (fd: number): Doorbell => new Doorbell(fd, this.#epoll, () => this.#doorbells.delete(fd));
    queue.share(SharedRings.map(queue.entries, files, openDoorbell));
    this.#doorbells.set(files.doorbell, queue);
  }

  inspect(): unknown {
    return {
      settings: this.#settings,
      device: this.device.report(),
      driver: this.driver.inspect(),
      scheduler: this.scheduler.inspect(),
      vectors: this.interrupts.inspect(),
      tasks: this.tasks.inspect(),
      leases: [...this.device.leases.values()].map((lease) => ({
        lease: lease.handle,
        tenant: lease.tenant.name,
        generation: lease.generation,
        active: lease.active,
        inFlight: lease.inFlight,
        abandoned: lease.abandoned,
        pci: this.pci.inspect(lease),
        strikes: lease.tenant.strikes(this.clock()),
        queues: lease.queues.map((queue) => queue && { queue: queue.queue, entries: queue.entries, inFlight: queue.count, pair: queue.pair?.id }),
      })),
      domains: [...this.device.domains].map(([id, domain]) => ({
        domain: id,
        regions: domain.memory.filter((memory) => memory !== undefined).length,
      })),
    };
  }

  #facts(nvme: NvmeFacts): DeviceFacts {
    return {
      class: 'nvme',
      model: nvme.controller.model,
      serial: nvme.controller.serial,
      firmware: nvme.controller.firmware,
      vectors: nvme.vectors,
      queuePairs: nvme.queuePairs,
      queueEntries: nvme.queueEntries,
      maxTransferBytes: nvme.maxTransferBytes,
      memorySlots: this.backing.memorySlots,
      namespaces: nvme.namespaces,
      backing: this.backing.kind,
      description: this.backing.description,
    };
  }

  #takeControl(): number {
    const announced = this.#signals.controlCount();
    if (announced === this.#controlSeen) return 0;
    this.#controlSeen = announced;
    let taken = 0;
    for (let received = receiveMessageOnPort(this.#port); received !== undefined; received = receiveMessageOnPort(this.#port)) {
      this.#startMethod(received.message as ControlRequest);
      taken++;
    }
    return taken;
  }

  #startMethod({ id, method, args }: ControlRequest): void {
    const task = (this.#methods[method] as (...args: readonly unknown[]) => Task<unknown>)(...args, (done: number) =>
      this.send({ kind: 'progress', id, done }),
    );
    this.tasks.start(
      method,
      task,
      (value) => this.send({ kind: 'answer', id, value }),
      (error) => {
        // A controller that leaves an administrative command unanswered is not to be relied on any more.
        if (error instanceof HardwareError && (error.code === 'timeout' || error.code === 'protocol')) this.#watchdog.failed(error);
        this.send({ kind: 'refused', id, failure: failureOf(error) });
      },
    );
  }

  #takeActivations(): number {
    let taken = 0;
    for (let channel = this.#activations.pop(); channel >= 0; channel = this.#activations.pop()) {
      const queue = this.channels[channel];
      if (queue !== undefined) this.scheduler.activate(queue);
      taken++;
    }
    return taken;
  }

  /** Waits for what wakes the engine, and takes note of it. Returns how much that was. */
  #takeEvents(now: number, microseconds: number): number {
    this.#nextLook = now + DOORBELL_MS;
    const events = shm().epollWait(this.#epoll, this.#epollEvents, microseconds);
    for (let event = 0; event < events; event++) {
      const fd = this.#epollEvents[2 * event];
      if (fd === this.#signals.handles.engineWake) shm().eventfdTake(fd);
      else this.#answerDoorbell(fd);
    }
    return events;
  }

  /** The client of a shared ring has something to do for the engine, or only says so. */
  #answerDoorbell(fd: number): void {
    const queue = this.#doorbells.get(fd);
    if (queue?.shared === undefined) return;
    queue.shared.doorbell.take();
    if (queue.available() !== 0 && !queue.owner.closing) this.scheduler.activate(queue);
  }

  /** Takes completions of all queue pairs, after the backing was polled or at the start of a turn. */
  #reap(): number {
    let taken = 0;
    for (const pair of this.path.tables.keys()) if (pair.count > 0) taken += this.#reapPair(pair);
    return taken + this.#reapPair(this.driver);
  }

  /** One that cannot be believed keeps nobody from the others, least of all the administrative queue: what is under way needs its answers. */
  #reapPair(pair: QueuePair | NvmeDriver): number {
    try {
      return pair === this.driver ? this.driver.poll() : (pair as QueuePair).reap(this.path);
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      this.#watchdog.failed(error);
      return 1;
    }
  }

  #afterPoll(now: number): number {
    if (this.backing.lost !== undefined && !this.#gone) {
      this.#gone = true;
      this.#watchdog.gone(this.backing.lost);
    }
    this.#watchdog.turn(now);
    const taken = this.#reap();
    if (now >= this.#nextEvent) this.#takeEvent(now);
    return taken;
  }

  /** One at a time, and not at once again: the controller has its requests for events back only then, however many it would like to report. */
  #takeEvent(now: number): void {
    const event = this.driver.nextEvent();
    if (event === undefined) return;
    this.#nextEvent = now + EVENT_MS;
    this.tasks.start(
      'event',
      handleControllerEvent(this.device, this.post, event.type, event.information),
      () => {},
      (error) => this.post.log('warn', 'event of the controller not handled', { error: failureOf(error).message }),
    );
  }

  /** Shows completions to the clients and tells the main thread which queues have some: once a turn. */
  #publish(): void {
    const { dirty } = this.path;
    this.#published = dirty.length > 0;
    if (!this.#published) return;
    let told = false;
    for (const queue of dirty) {
      queue.publishCompletions();
      if (queue.shared === undefined) told = this.#ready.push(queue.channel) || told;
      else queue.wakeClient();
      this.interrupts.completed(queue);
    }
    dirty.length = 0;
    if (told) this.#signals.wakeMain();
  }

  /** The client broke the ring contract: its lease serves no more, and its session is told to end. */
  #fault(queue: ClientQueue, code: number): void {
    queue.owner.active = false;
    queue.owner.closing = true;
    this.scheduler.remove(queue);
    this.post.event('fault', [queue.lease, code]);
  }

  /** Nothing to do: polls on for a moment, then sleeps until something happens. */
  #idle(): void {
    const now = this.clock();
    if (now < this.#spinUntil) {
      // The main thread, or a client, may be waiting for this very processor.
      shm().yieldProcessor();
      return;
    }
    const busy = this.device.commandsInFlight() > 0;
    const milliseconds = Math.min(
      this.tasks.wait(),
      this.#watchdog.wait(now),
      this.scheduler.throttled,
      this.device.state === 'closed' ? Infinity : IDLE_SLEEP_MS,
    );
    let microseconds = milliseconds === Infinity ? -1 : Math.ceil(milliseconds * 1000);
    if (busy) {
      microseconds = microseconds < 0 ? this.#busySleep : Math.min(microseconds, this.#busySleep);
      this.#busySleep = Math.min(MAX_BUSY_SLEEP_US, this.#busySleep * 2);
    } else {
      this.#busySleep = BUSY_SLEEP_US;
    }
    this.#signals.setAsleep(true);
    if (this.#activations.empty() && this.#signals.controlCount() === this.#controlSeen && this.scheduler.rest()) {
      if (this.#takeEvents(now, microseconds) > 0) this.#busySleep = BUSY_SLEEP_US;
    }
    this.#signals.setAsleep(false);
  }
}
