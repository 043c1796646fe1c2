/** A session's hold on a device: its queues, its vectors, and the way in which it ends. */
import type { LeaseMode, QueueKind } from '../../protocol/index.js';
import type { ShownEnd } from '../../hw/dma/index.js';
import type { Domain } from '../domains/index.js';
import { type EngineHost, type OpenedLease, Refusal, type ShareGrant } from '../engine/api.js';
import type { FileFacts, HandedOverFile } from '../handover/index.js';
import type { Log } from '../log.js';
import { messageOf } from '../text.js';
import type { LeaseEvents } from './lease-events.js';
import { type QueueOwner, SessionQueue } from './queue.js';

/** What a lease needs of the session that holds it. */
export interface LeaseHolder extends QueueOwner {
  readonly number: number;
  readonly log: Log;
  readonly events: LeaseEvents;
}

export interface SessionLeaseOptions {
  readonly opened: OpenedLease;
  readonly engine: EngineHost;
  readonly domain: Domain;
  readonly mode: LeaseMode;
  readonly queueKind: QueueKind;
  readonly shares: readonly ShareGrant[];
  readonly ringViews: ShownEnd | undefined;
  readonly maxQueues: number;
  readonly holder: LeaseHolder;
  /** Called when nothing of the lease is left, or nothing more can be done about it. */
  readonly onClosed: () => void;
}

export class SessionLease {
  readonly handle: number;
  readonly engine: EngineHost;
  readonly domain: Domain;
  readonly mode: LeaseMode;
  readonly queueKind: QueueKind;
  readonly vectors: number;
  /** How the views of its hardware rings end; undefined where there are none. */
  readonly ringViews: ShownEnd | undefined;
  readonly holder: LeaseHolder;
  /** Replaced when the administrator changes rights. */
  shares: readonly ShareGrant[];
  generation: number;
  readonly queues = new Map<number, SessionQueue>();
  readonly boundVectors = new Set<number>();
  /** The client knows of it: from then on it is told of its events. */
  announced = false;
  readonly #maxQueues: number;
  readonly #onClosed: () => void;
  #closing: Promise<void> | undefined;
  /** The domain's regions are reachable for the device. */
  #attached = false;
  #attaching: Promise<void> | undefined;

  constructor(options: SessionLeaseOptions) {
    this.handle = options.opened.lease;
    this.generation = options.opened.generation;
    this.vectors = options.opened.vectors;
    this.engine = options.engine;
    this.domain = options.domain;
    this.mode = options.mode;
    this.queueKind = options.queueKind;
    this.ringViews = options.ringViews;
    this.shares = options.shares;
    this.holder = options.holder;
    this.#maxQueues = options.maxQueues;
    this.#onClosed = options.onClosed;
  }

  get closing(): boolean {
    return this.#closing !== undefined;
  }

  get inFlight(): number {
    let sum = 0;
    for (const queue of this.queues.values()) sum += queue.inFlight + (queue.files?.inFlight ?? 0);
    return sum;
  }

  /** Makes the domain's regions reachable for the device. Once, before the client hears of the lease. */
  async attachDomain(): Promise<void> {
    this.#attaching = this.domain.useEngine(this.engine);
    await this.#attaching;
    this.#attached = true;
  }

  /** @throws {@link Refusal} `unknownQueue`. */
  queue(index: number): SessionQueue {
    const queue = this.queues.get(index);
    if (queue === undefined || queue.closing) throw new Refusal('unknownQueue', 'queue', index);
    return queue;
  }

  /** A view of its hardware rings counts against the tenant's limit as long as the queue is there. @throws {@link Refusal} `queueLimit`, `pinLimit` */
  async openQueue(entries: number, key: number, pinLimit: number): Promise<Awaited<ReturnType<EngineHost['openQueue']>>> {
    if (this.queues.size >= this.#maxQueues) throw new Refusal('queueLimit', 'lease', this.handle);
    const viewBytes = this.ringViews === undefined ? 0 : this.engine.ringViewBytes(entries);
    this.domain.charge(viewBytes, pinLimit);
    try {
      const opened = await this.engine.openQueue(this.handle, entries);
      this.queues.set(opened.queue, new SessionQueue(this.handle, opened.queue, key, opened.channel, this.holder, viewBytes));
      return opened;
    } catch (error) {
      this.domain.release(viewBytes);
      throw error;
    }
  }

  /** For the administrator, who asks by a mapping. */
  get where(): { device: string; lease: number; session: number } {
    return { device: this.engine.name, lease: this.handle, session: this.holder.number };
  }

  describeFile(what: FileFacts['what'], queue: SessionQueue, inUse = (): boolean => true): HandedOverFile {
    const facts: FileFacts = { what, tenant: this.domain.tenant, leases: [this.where], queue: queue.index };
    return { describe: () => facts, inUse: () => this.queues.get(queue.index) === queue && inUse() };
  }

  async closeQueue(index: number): Promise<void> {
    const queue = this.queue(index);
    queue.closing = true;
    try {
      await this.engine.closeQueue(this.handle, index);
    } catch (error) {
      queue.closing = false;
      throw error;
    }
    this.#forget(queue, true);
  }

  /** Passes on what the queues hold. */
  deliver(): void {
    for (const queue of this.queues.values()) queue.deliver();
  }

  /**
   * Ends the lease. Every step is done whether or not the one before it worked; what failed is in the log. Never rejects. Safe to repeat: all get the
   * same promise.
   */
  close(reason: string): Promise<void> {
    this.#closing ??= this.#close(reason);
    return this.#closing;
  }

  async #close(reason: string): Promise<void> {
    for (const queue of this.queues.values()) queue.closing = true;
    const quiet = await this.#step('closing the lease', () => this.engine.closeLease(this.handle, reason));
    await this.#step('ending its queues', () => {
      for (const queue of [...this.queues.values()]) this.#forget(queue, quiet);
    });
    await this.#step('taking its memory from the device', async () => {
      // It may have ended on its way.
      await this.#attaching?.catch(() => undefined);
      if (this.#attached) await this.domain.releaseEngine(this.engine);
    });
    await this.#step('leaving the domain', () => this.domain.leave());
    this.#onClosed();
  }

  /** The queue's last completions are passed on; what it never answered no longer counts. */
  #forget(queue: SessionQueue, quiet: boolean): void {
    queue.end(quiet);
    this.queues.delete(queue.index);
    this.domain.release(queue.viewBytes);
    this.holder.stagings?.forgetQueue(queue.key);
    this.holder.onRoom();
  }

  /** Whether it worked. */
  async #step(what: string, work: () => Promise<void> | void): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      this.holder.log.error(`${what} failed`, { session: this.holder.number, lease: this.handle, device: this.engine.name, error: messageOf(error) });
      return false;
    }
  }
}
