import {
  CODES,
  type EventMessage,
  type LeaseInfo,
  type LeaseMode,
  type QueueInfo,
  type QueueKind,
  type ShareInfo,
  type VectorInfo,
} from '../protocol/index.js';
import { orAborted } from './abort.js';
import { readGeneration, readNothing } from './answers.js';
import { BlockDevice } from './block-device.js';
import { ConnectionError, malformed, RefusedError, refusal, RingwardenError } from './errors.js';
import { EventStream, type StreamOptions } from './event-stream.js';
import type { DeviceEvent } from './events.js';
import { PciFunction } from './pci.js';
import { Plan } from './plan.js';
import type { Carrier } from './carrier.js';
import { handoverFailed } from './handover.js';
import { HardwareRing } from './hardware-ring.js';
import { Queue } from './queue.js';
import type { SignalOption } from './region.js';
import type { LeaseOwner, Session } from './session.js';
import { addonMissing } from './shared-transport.js';
import { bindEventfd, type EventfdOptions, vectorState, type VectorOf } from './vectors.js';

export interface DeviceEventOptions extends StreamOptions {
  /** Also tell of each request of this lease that ends. */
  completions?: boolean;
}

/** Most requests in flight on the queue of a lease. */
export const depthOf = (lease: LeaseInfo, queue: QueueInfo): number => Math.min(queue.entries, lease.maxInFlight);

/** A lease: this session's hold on a device, with one queue. */
export class Device implements LeaseOwner {
  /** How requests and data travel. */
  readonly transport: 'socket' | 'shm';
  /** The PCI function behind the device, as this lease may see it. */
  readonly pci: PciFunction;
  readonly #session: Session;
  readonly #lease: LeaseInfo;
  readonly #queueInfo: QueueInfo;
  readonly #queue: Queue;
  readonly #carrier: Carrier;
  readonly #shares: readonly BlockDevice[];
  readonly #streams = new Set<EventStream<DeviceEvent>>();
  readonly #completionStreams = new Set<EventStream<DeviceEvent>>();
  #generation: number;
  #end: RingwardenError | undefined;
  #closing: Promise<void> | undefined;

  /** For `openDevice` of the client. */
  constructor(session: Session, lease: LeaseInfo, queueInfo: QueueInfo, transport: 'socket' | 'shm', carrier: Carrier) {
    const { limits } = session.info;
    this.#session = session;
    this.#lease = lease;
    this.#queueInfo = queueInfo;
    this.transport = transport;
    this.#generation = lease.generation;
    this.pci = new PciFunction(session, lease.device, lease.lease);
    this.#carrier = carrier;
    this.#queue = new Queue({
      carrier,
      lease: lease.lease,
      generation: lease.generation,
      queue: queueInfo.queue,
      depth: depthOf(lease, queueInfo),
    });
    this.#shares = lease.shares.map((info) => new BlockDevice(new Plan(info, lease.device, limits), this.#queue));
  }

  get name(): string {
    return this.#lease.device;
  }

  /** Handle of the lease in this session. */
  get lease(): number {
    return this.#lease.lease;
  }

  get mode(): LeaseMode {
    return this.#lease.mode;
  }

  get queues(): QueueKind {
    return this.#lease.queues;
  }

  /** Number of interrupt vectors of this lease. */
  get vectors(): number {
    return this.#lease.vectors;
  }

  /** Most requests in flight; more of them wait in this process. */
  get depth(): number {
    return depthOf(this.#lease, this.#queueInfo);
  }

  /** Requests in flight now. */
  get inFlight(): number {
    return this.#queue.inFlight;
  }

  /** Changes at each reset. */
  get generation(): number {
    return this.#generation;
  }

  /** The geometry of the queue and of the hardware ring behind it. */
  get queue(): Readonly<QueueInfo> {
    return this.#queueInfo;
  }

  /** What the lease was granted when it was opened. */
  get shares(): readonly Readonly<ShareInfo>[] {
    return this.#lease.shares;
  }

  /** Whether the lease is still held. */
  get active(): boolean {
    return this.#end === undefined;
  }

  /** A share by its name or index; without either: the only one. Throws a RefusedError `unknownShare`. */
  share(which?: string | number): BlockDevice {
    const found = this.#shares.filter(({ name, index }) => which === undefined || which === (typeof which === 'string' ? name : index));
    const [share] = found;
    if (found.length === 1) return share;
    const names = this.#shares.map(({ name }) => name).join(', ');
    throw refusal(`share of ${this.name} (shares: ${names})`, 'unknownShare', which ?? '');
  }

  /**
   * Ends the lease's own requests in flight with `reset` and goes on with a new generation; other leases of the device notice nothing. Requests
   * that are made meanwhile wait.
   */
  async reset({ signal }: SignalOption = {}): Promise<void> {
    signal?.throwIfAborted();
    this.#queue.beginReset();
    const resetting = this.#session.calls.call('resetLease', { lease: this.lease }, (answer) => this.#setGeneration(readGeneration(answer)));
    const resumed = resetting.finally(() => this.#queue.endReset());
    await orAborted(resumed, signal);
  }

  /** Asks for an `interrupt` event each time a vector of the lease fires. Throws `unknownVector` beyond {@link vectors}. */
  async bindVector(vector: number, options?: SignalOption): Promise<void> {
    await this.#bind(vector, true, options);
  }

  /** Asks for no more `interrupt` events of the vector. */
  async unbindVector(vector: number, options?: SignalOption): Promise<void> {
    await this.#bind(vector, false, options);
  }

  async #bind(vector: number, enable: boolean, { signal }: SignalOption = {}): Promise<void> {
    const { session, lease } = this.#vector(vector);
    await session.calls.call('bindVector', { lease, vector, enable }, readNothing, { signal });
  }

  /**
   * Has an eventfd signalled each time a vector fires, beside the events, and resolves with it: `fd`, or one that the server makes, which is the caller's to close.
   * `fd: -1` ends that. What was bound before is released, and everything when the lease ends. Throws `unknownVector` beyond {@link vectors}, `notAnEventfd`,
   * `noSignal`, and `noHandover` where descriptors cannot travel.
   */
  async bindEventfd(vector: number, options: EventfdOptions = {}): Promise<number> {
    return await bindEventfd(this.#vector(vector), options);
  }

  /** What a vector is bound to, and how often it fired since. */
  async vectorState(vector: number, options: SignalOption = {}): Promise<VectorInfo> {
    return await vectorState(this.#vector(vector), options);
  }

  #vector(vector: number): VectorOf {
    const { name: device, lease } = this;
    if (!Number.isSafeInteger(vector) || vector < 0 || vector >= this.vectors) throw refusal(`a vector of ${device}`, 'unknownVector', vector);
    return { session: this.#session, device, lease, vector };
  }

  /**
   * The hardware's rings of this lease's queue, to read. Only for a device that was opened with `queues: 'own'` and `ringView: true`; rejects with `noRingView`
   * otherwise, and where the server cannot show them.
   */
  async hardwareRing(options: SignalOption = {}): Promise<HardwareRing> {
    const missing = addonMissing();
    if (missing !== undefined) throw handoverFailed(`see the rings of ${this.name}`, missing);
    const { queue } = this.#queueInfo;
    const ring = {
      session: this.#session,
      device: this.name,
      lease: this.lease,
      queue,
      generation: () => this.#generation,
      end: () => this.#end,
      indices: () => this.#carrier.indices(),
    };
    return await HardwareRing.open(ring, options);
  }

  /**
   * The events of this lease from now on, for one `for await`. The iteration ends when the device is closed or revoked, and throws when the
   * connection is lost. A reader that is late loses the oldest events and is told how many.
   */
  events(options: DeviceEventOptions = {}): EventStream<DeviceEvent> {
    const stream = new EventStream<DeviceEvent>(options, () => {
      this.#streams.delete(stream);
      this.#completionStreams.delete(stream);
      this.#watchCompletions();
    });
    if (this.#end !== undefined) {
      stream.end(this.#session.lossFor(this.#end));
      return stream;
    }
    this.#streams.add(stream);
    if (options.completions === true) this.#completionStreams.add(stream);
    this.#watchCompletions();
    return stream;
  }

  #watchCompletions(): void {
    const streams = this.#completionStreams;
    this.#queue.onCompletion =
      streams.size === 0
        ? undefined
        : (event) => {
            for (const stream of streams) stream.push(event);
          };
  }

  /** Gives the lease back. What is in flight ends first, or with `closed`. A second call does nothing. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#end !== undefined) return;
    this.#queue.stop();
    try {
      await this.#session.calls.call('closeDevice', { lease: this.lease }, readNothing);
    } catch (error) {
      // A lease that was taken away, or whose connection ended, needs no closing.
      const gone = error instanceof ConnectionError || (error instanceof RefusedError && error.code === 'unknownLease');
      if (!gone) throw error;
    } finally {
      this.ended(new RefusedError('closed', `${this.name}: the device was closed by this program; open it again`));
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** For the session: completions of one of the lease's queues. */
  completed(queue: number, entries: Uint8Array, data: Uint8Array): void {
    if (this.#end !== undefined) return;
    if (queue !== this.#queueInfo.queue) throw malformed(`completions of queue ${queue}, which this lease does not have`);
    this.#queue.complete(entries, data);
  }

  /** For the session: a submit was refused, maybe one of this lease. */
  refused(submit: number, errorOf: (context: string) => RingwardenError): void {
    this.#queue.refused(submit, errorOf);
  }

  /** For the session: an event of this lease, or one for everybody. */
  event(message: EventMessage): void {
    switch (message.event) {
      case 'interrupt':
        this.#tell({ type: 'interrupt', vector: message.vector, count: message.count });
        break;
      case 'namespaceChanged':
        this.#tell({ type: 'namespaceChanged', share: message.share });
        break;
      case 'reset':
        this.#setGeneration(message.generation);
        this.#tell({ type: 'reset', generation: message.generation, reason: message.reason });
        break;
      case 'revoked':
        this.#tell({ type: 'revoked', reason: message.reason });
        this.ended(revokedError(this.name, message.reason));
        break;
      case 'deviceLost':
        this.#tell({ type: 'deviceLost', reason: message.reason });
        break;
      case 'deviceRestored':
        this.#setGeneration(message.generation);
        this.#tell({ type: 'deviceRestored', generation: message.generation });
        break;
      case 'draining':
        this.#tell({ type: 'draining', milliseconds: message.milliseconds });
        break;
      case 'holderGone':
        break;
    }
  }

  /** For the carrier: completions may have come. */
  reap(): number {
    try {
      return this.#queue.reap();
    } catch (error) {
      if (!(error instanceof ConnectionError)) throw error;
      this.#session.link.fail(error);
      return 0;
    }
  }

  /** For the carrier: the memory of the queue was taken away. The session tells more, if it still can. */
  ringRevoked(): void {
    // It goes before the answer to a close; that one ends what is left.
    if (this.#closing !== undefined) return;
    this.ended(revokedError(this.name, 'its memory was taken away'));
  }

  /** For the session: the lease is gone. */
  ended(error: RingwardenError): void {
    if (this.#end !== undefined) return;
    this.#end = error;
    this.#session.forget(this.lease);
    this.#queue.end(error);
    for (const stream of this.#streams) stream.end(this.#session.lossFor(error));
  }

  #setGeneration(generation: number): void {
    this.#generation = generation;
    this.#queue.generation = generation;
  }

  #tell(event: DeviceEvent): void {
    for (const stream of this.#streams) stream.push(event);
  }
}

function revokedError(device: string, reason: string): RingwardenError {
  const { code, remedy } = CODES.revoked;
  return new RingwardenError('revoked', `${device}: the lease was revoked: ${reason}; ${remedy}`, { number: code, value: reason });
}
