/**
 * The NVMe driver: one controller, its queue pairs, its namespaces. It knows nothing of tenants; whatever asks has been judged before.
 *
 * Everything that takes time is a task of the I/O engine. Between `open` and `close` the controller is enabled; `reset` disables it, which ends
 * every DMA, and enables it again without I/O queues.
 */
import type { Backing } from '../backing.js';
import { DmaArena, type ShownEnd } from '../dma/index.js';
import { ClassCode, Header } from '../pci/index.js';
import { systemClock, HardwareError, type Clock, type Task } from '../task.js';
import { AdminQueue, type AsynchronousEvent } from './admin.js';
import { Controller, type Capabilities } from './controller.js';
import { parseController, parseNamespace, parseNamespaceList, type ControllerFacts, type NamespaceFacts } from './identify.js';
import { MAX_PRP_BYTES } from './prp.js';
import type { QueuePair } from './queue-pair.js';
import { RingView } from './ring-view.js';
import { AbortCdw10, AdminOpcode, CHANGED_NAMESPACES_BYTES, Cns, CriticalWarning, ERROR_ENTRY_BYTES, EventConfiguration } from './spec/index.js';
import { FIRMWARE_BYTES, FeatureId, IDENTIFY_BYTES, LogPageId, NumberOfQueues, PAGE_BYTES, SMART_BYTES, getField, putField } from './spec/index.js';

/** What is read where nothing answers. */
const NO_CLASS = 0xff_ffff;
/** Entries of an I/O queue here, at most: command identifiers keep six bits of sequence. */
const MAX_QUEUE_ENTRIES = 1_024;

export interface NvmeFacts {
  readonly controller: ControllerFacts;
  readonly namespaces: readonly NamespaceFacts[];
  /** Interrupt vectors in use, the admin queue's included; 0: the driver polls. */
  readonly vectors: number;
  /** I/O queue pairs that the controller granted. */
  readonly queuePairs: number;
  readonly queueEntries: number;
  readonly maxTransferBytes: number;
}

export interface NvmeOptions {
  /** Vectors to use at most (R11). */
  readonly vectorsCeiling: number;
  /** Queue pairs to ask for at most. */
  readonly queuePairsCeiling: number;
  readonly clock?: Clock;
}

export type LogPage = 'smart' | 'error' | 'firmware' | 'changedNamespaces';

export class NvmeDriver {
  readonly arena: DmaArena;
  readonly #backing: Backing;
  readonly #controller: Controller;
  readonly #options: NvmeOptions;
  readonly #clock: Clock;
  #capabilities: Capabilities | undefined;
  #facts: NvmeFacts | undefined;
  #admin: AdminQueue | undefined;
  readonly #pairs = new Map<number, QueuePair>();
  /** Queue identifiers that are taken, by a pair or by one that is being made. */
  readonly #identifiers = new Set<number>();
  /** Views of pairs that are gone. */
  readonly #endedViews: RingView[] = [];
  /** Views that are on their way out. */
  #leavingViews = 0;
  #opened = false;
  /** The controller does no DMA. */
  #quiet = true;

  constructor(backing: Backing, options: NvmeOptions) {
    this.#backing = backing;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#controller = new Controller(backing, this.#clock);
    this.arena = new DmaArena(backing, 'nvme');
  }

  /** What the controller is; after the first `open`. */
  get facts(): NvmeFacts {
    if (this.#facts === undefined) throw new HardwareError('protocol', 'the device was never opened');
    return this.#facts;
  }

  /** I/O queue pairs that exist or are being made, whoever uses them. */
  get pairsInUse(): number {
    return this.#identifiers.size;
  }

  get isOpen(): boolean {
    return this.#opened;
  }

  /**
   * Claims the function, enables interrupts and the controller, and learns what it is (R01). A failure gives everything back in reverse order (R15).
   * @throws HardwareError
   */
  *open(): Task<void> {
    yield* this.#checkClass();
    yield* this.#backing.claim();
    this.#quiet = false;
    try {
      this.#capabilities = yield* this.#controller.capabilities();
      yield* this.#controller.disable(this.#capabilities.readyTimeout);
      yield* this.#enable();
      this.#opened = true;
    } catch (error) {
      yield* this.#letGo();
      throw error;
    }
  }

  /**
   * Shuts the controller down and gives everything back. Never throws for a device that is gone, or that does not obey. True when the controller does no DMA
   * any more; false when that is not known: then its memory is kept until `open` has disabled it.
   */
  *close(): Task<boolean> {
    if (!this.#opened) return this.#quiet;
    this.#opened = false;
    if (this.#backing.lost === undefined && this.#capabilities !== undefined) {
      try {
        yield* this.#controller.shutdown(this.#capabilities.readyTimeout);
      } catch (error) {
        if (!(error instanceof HardwareError)) throw error;
      }
    }
    yield* this.#letGo();
    return this.#quiet;
  }

  /**
   * Disables the controller: when it returns, no command is in flight and no DMA of the device is under way, and all queue pairs are gone.
   * If the controller does not obey, the function is reset. @throws HardwareError when that does not help either.
   */
  *disable(): Task<void> {
    const { readyTimeout } = this.#known();
    try {
      yield* this.#controller.disable(readyTimeout);
    } catch (error) {
      if (!(error instanceof HardwareError) || this.#backing.lost !== undefined) throw error;
      yield* this.#backing.reset();
      yield* this.#controller.disable(readyTimeout);
    }
    yield* this.#backing.interrupts.disable();
    this.#forgetQueues();
  }

  /** Enables the controller after `disable`, without I/O queues. */
  *enable(): Task<void> {
    yield* this.#enable();
    this.#opened = true;
  }

  /** Whether the controller works. @throws HardwareError `lost`. */
  *healthy(): Task<boolean> {
    return yield* this.#controller.healthy();
  }

  /**
   * Creates an I/O queue pair of `entries` (a power of two, cut to what the controller takes), with the lowest free identifier. `shown`: with a view for its
   * holder, that ends in this way; the pair is made without it where the backing cannot split its memory further.
   * @throws HardwareError `exhausted` when all pairs are in use.
   */
  *createPair(entries: number, shown?: ShownEnd): Task<QueuePair> {
    const admin = this.#adminQueue();
    const { queuePairs, queueEntries, vectors } = this.facts;
    let id = 1;
    while (this.#identifiers.has(id)) id++;
    if (id > queuePairs) throw new HardwareError('exhausted', `all ${queuePairs} queue pairs are in use`);
    this.#identifiers.add(id);
    const vector = vectors === 0 ? -1 : vectors === 1 ? 0 : 1 + ((id - 1) % (vectors - 1));
    const size = Math.min(entries, queueEntries);
    let view: RingView | undefined;
    let pair: QueuePair;
    try {
      if (shown !== undefined) view = yield* this.#createView(size, shown);
      pair = yield* this.#controller.makePair(this.arena, this.#known().stride, id, size, vector, view);
    } catch (error) {
      if (view !== undefined) this.#endedViews.push(view);
      if (this.#admin === admin) this.#identifiers.delete(id);
      throw error;
    }
    if (this.#admin !== admin) {
      this.#giveBack(pair);
      throw new HardwareError('lost', `the controller was reset while queue ${id} was made`);
    }
    this.#pairs.set(id, pair);
    const { submission, completion } = pair.memory;
    const cdw10 = ((pair.entries - 1) << 16) | id;
    let completionMade = false;
    try {
      const interrupt = vector < 0 ? 0 : 0x2 | (vector << 16);
      yield* admin.command(
        { opcode: AdminOpcode.createCompletionQueue, cdw10, cdw11: 0x1 | interrupt, data: completion },
        `create completion queue ${id}`,
      );
      completionMade = true;
      yield* admin.command(
        { opcode: AdminOpcode.createSubmissionQueue, cdw10, cdw11: 0x1 | (id << 16), data: submission },
        `create submission queue ${id}`,
      );
    } catch (error) {
      if (completionMade) yield* admin.attempt({ opcode: AdminOpcode.deleteCompletionQueue, cdw10: id }, `delete completion queue ${id}`);
      this.releasePair(pair);
      throw error;
    }
    return pair;
  }

  /**
   * Deletes both queues. When it returns, the controller has ended every command of the pair (5.5.1: those in flight complete or are aborted first), and
   * its memory is free. The caller reaps what is left before it forgets the pair. A pair that a reset took away is deleted already.
   * @throws HardwareError: the memory then stays taken.
   */
  *deletePair(pair: QueuePair): Task<void> {
    if (pair.closed) return;
    const admin = this.#adminQueue();
    yield* admin.command({ opcode: AdminOpcode.deleteSubmissionQueue, cdw10: pair.id }, `delete submission queue ${pair.id}`);
    yield* admin.command({ opcode: AdminOpcode.deleteCompletionQueue, cdw10: pair.id }, `delete completion queue ${pair.id}`);
  }

  /**
   * Takes the views of pairs that are gone away from whoever has them. Where the controller may still write it waits for the next `open`. Apart from deleting,
   * because nobody else has to wait for it.
   */
  *endViews(): Task<void> {
    for (let view = this.#takeEndedView(); view !== undefined; view = this.#takeEndedView()) {
      this.#leavingViews++;
      try {
        yield* view.end(this.#backing);
      } finally {
        this.#leavingViews--;
      }
    }
    while (this.#leavingViews > 0) yield 1;
  }

  /** While the controller is open, the queue of each was deleted or the controller was disabled since; else it may still write. */
  #takeEndedView(): RingView | undefined {
    return this.#opened || this.#quiet ? this.#endedViews.shift() : undefined;
  }

  /** Gives the pair's memory and identifier back, after `deletePair` or `disable`. */
  releasePair(pair: QueuePair): void {
    if (this.#pairs.get(pair.id) === pair) this.#forget(pair);
  }

  /** Asks the controller to give up the command in `slot`. True if it says that it did; its completion comes on its own queue. */
  *abort(pair: QueuePair, slot: number): Task<boolean> {
    const cdw10 = putField(AbortCdw10.sqid, pair.id) | putField(AbortCdw10.cid, pair.commandId(slot));
    const [status, dword0] = yield* this.#adminQueue().attempt({ opcode: AdminOpcode.abort, cdw10 }, 'abort');
    return status === 0 && (dword0 & 1) === 0;
  }

  /** A log page, as the controller gives it. Reading a page lets the controller report its event again. */
  *logPage(page: LogPage): Task<Uint8Array> {
    const [lid, bytes] = {
      smart: [LogPageId.smart, SMART_BYTES],
      error: [LogPageId.errorInformation, Math.min(PAGE_BYTES, this.facts.controller.errorEntries * ERROR_ENTRY_BYTES)],
      firmware: [LogPageId.firmwareSlot, FIRMWARE_BYTES],
      changedNamespaces: [LogPageId.changedNamespaces, CHANGED_NAMESPACES_BYTES],
    }[page] as [number, number];
    const command = { opcode: AdminOpcode.getLogPage, namespace: 0xffff_ffff, cdw10: lid | ((bytes / 4 - 1) << 16) };
    return yield* this.#adminQueue().read(command, bytes, `get log page ${page}`);
  }

  /** Identify of one namespace, again. Undefined when it is not active any more. */
  *namespace(id: number): Task<NamespaceFacts | undefined> {
    const namespaces = yield* this.#namespaces(this.#adminQueue());
    return namespaces.find((namespace) => namespace.id === id);
  }

  /** The next asynchronous event; undefined when there is none. */
  nextEvent(): AsynchronousEvent | undefined {
    const event = this.#admin?.nextEvent();
    if (event !== undefined) this.#admin?.requestEvents(this.facts.controller.eventRequests);
    return event;
  }

  /** Takes administrative completions; returns how many. @throws HardwareError `protocol`. */
  poll(): number {
    if (this.#admin === undefined) return 0;
    if (this.#backing.lost !== undefined) this.#admin.lose(this.#backing.lost);
    return this.#admin.poll();
  }

  inspect(): unknown {
    return {
      open: this.#opened,
      facts: this.#facts,
      arenaBytes: this.arena.usedBytes,
      admin: this.#admin && { inFlight: this.#admin.pair.count },
      pairs: [...this.#pairs.values()].map((pair) => ({ id: pair.id, entries: pair.entries, vector: pair.vector, inFlight: pair.count })),
    };
  }

  *#enable(): Task<void> {
    const capabilities = this.#known();
    const interrupts = this.#backing.interrupts;
    const vectors = Math.min(interrupts.available, this.#options.vectorsCeiling);
    if (vectors > 0) yield* interrupts.enable(vectors);
    const pair = yield* this.#controller.enable(this.arena, capabilities, vectors > 0 ? 0 : -1);
    this.#pairs.set(0, pair);
    const admin = new AdminQueue(pair, this.arena, this.#clock);
    this.#admin = admin;
    const controller = parseController(yield* this.#identify(admin, Cns.controller, 0));
    const namespaces = yield* this.#namespaces(admin);
    const wanted = this.#options.queuePairsCeiling - 1;
    const counts = { opcode: AdminOpcode.setFeatures, cdw10: FeatureId.numberOfQueues, cdw11: (wanted << 16) | wanted };
    const granted = yield* admin.command(counts, 'set number of queues');
    const mdts = controller.mdts === 0 ? MAX_PRP_BYTES : PAGE_BYTES * 2 ** controller.mdts;
    this.#facts = {
      controller,
      namespaces,
      vectors,
      queuePairs: 1 + Math.min(wanted, getField(NumberOfQueues.submission, granted), getField(NumberOfQueues.completion, granted)),
      queueEntries: Math.min(MAX_QUEUE_ENTRIES, 2 ** Math.floor(Math.log2(capabilities.queueEntries))),
      maxTransferBytes: Math.min(mdts, MAX_PRP_BYTES),
    };
    const events = Object.values(CriticalWarning).reduce((mask, bit) => mask | bit, EventConfiguration.namespaceAttribute as number);
    // A controller may refuse bits of events that it does not have; then the critical warnings alone are asked for.
    const configure = { opcode: AdminOpcode.setFeatures, cdw10: FeatureId.asynchronousEventConfiguration, cdw11: events };
    const [status] = yield* admin.attempt(configure, 'set asynchronous events');
    if (status !== 0) yield* admin.attempt({ ...configure, cdw11: events & 0xff }, 'set asynchronous events');
    admin.requestEvents(controller.eventRequests);
  }

  *#namespaces(admin: AdminQueue): Task<NamespaceFacts[]> {
    const ids = parseNamespaceList(yield* this.#identify(admin, Cns.activeNamespaces, 0));
    const namespaces: NamespaceFacts[] = [];
    for (const id of ids) namespaces.push(parseNamespace(id, yield* this.#identify(admin, Cns.namespace, id)));
    return namespaces;
  }

  *#identify(admin: AdminQueue, cns: number, namespace: number): Task<Uint8Array> {
    return yield* admin.read({ opcode: AdminOpcode.identify, namespace, cdw10: cns }, IDENTIFY_BYTES, `identify ${cns}`);
  }

  /** Bus mastering goes off before the memory goes away; where that cannot be done, the memory stays. */
  *#letGo(): Task<void> {
    if (this.#backing.lost === undefined) yield* this.#attempt(this.#backing.interrupts.disable());
    const released = this.#backing.lost === undefined && (yield* this.#attempt(this.#backing.release()));
    this.#quiet = released || this.#backing.lost !== undefined;
    this.#forgetQueues();
    if (!this.#quiet) return;
    yield* this.endViews();
    yield* this.#attempt(this.arena.dispose());
  }

  /** Undefined when the backing cannot split its memory further. */
  *#createView(entries: number, end: ShownEnd): Task<RingView | undefined> {
    try {
      return yield* RingView.create(this.#backing, entries, end);
    } catch (error) {
      if (error instanceof HardwareError && error.code === 'exhausted') return undefined;
      throw error;
    }
  }

  /** There is no driver here for anything else (R08). @throws HardwareError `unsupported`. A function that does not answer is the claim's to find out. */
  *#checkClass(): Task<void> {
    const classCode = (yield* this.#backing.config.read32(Header.revisionId)) >>> 8;
    if (classCode !== ClassCode.nvme && classCode !== NO_CLASS)
      throw new HardwareError('unsupported', `the function is no NVMe controller: its class is 0x${classCode.toString(16).padStart(6, '0')}`);
  }

  /** A step on the way down: none keeps the next from being done. True if it worked. */
  *#attempt(step: Task<void>): Task<boolean> {
    try {
      yield* step;
      return true;
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      return false;
    }
  }

  #forgetQueues(): void {
    this.#admin?.close();
    this.#admin = undefined;
    for (const pair of [...this.#pairs.values()]) this.#forget(pair);
    this.#identifiers.clear();
  }

  #forget(pair: QueuePair): void {
    pair.close();
    this.#giveBack(pair);
    this.#pairs.delete(pair.id);
    this.#identifiers.delete(pair.id);
  }

  /** The memory of a pair that the controller does not use, and what others see of it. */
  #giveBack({ memory, view }: QueuePair): void {
    this.arena.free(memory.submission);
    this.arena.free(memory.lists);
    if (view === undefined) this.arena.free(memory.completion);
    else this.#endedViews.push(view);
  }

  #known(): Capabilities {
    if (this.#capabilities === undefined) throw new HardwareError('protocol', 'the device was never opened');
    return this.#capabilities;
  }

  #adminQueue(): AdminQueue {
    if (this.#admin === undefined) throw new HardwareError('lost', 'the controller is not enabled');
    return this.#admin;
  }
}
