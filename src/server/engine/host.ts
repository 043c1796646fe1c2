/** The main thread's side of an engine: methods as promises, channels, events. */
import { EventEmitter } from 'node:events';
import { randomInt } from 'node:crypto';
import { receiveMessageOnPort, type MessagePort, type Worker } from 'node:worker_threads';
import { Code } from '../../protocol/index.js';
import { ringViewBytes } from '../../hw/nvme/index.js';
import type { PciRegion } from '../../hw/pci/index.js';
import { HardwareError } from '../../hw/task.js';
import { shm } from '../../native/shm.js';
import type { PreparedBacking } from '../../hw/backing.js';
import type {
  Coalescing,
  CounterView,
  DeviceFacts,
  DeviceReport,
  EngineEvents,
  EngineHost,
  HardwareView,
  OpenLease,
  OpenedLease,
  OpenedQueue,
  Rates,
  RegionDma,
  RegionUse,
  ShareGrant,
  VectorState,
} from './api.js';
import { Refusal } from './api.js';
import { Channel, createChannelMemory } from './channel.js';
import { CompletionWatch } from './completion-watch.js';
import {
  LEASES_OF_A_DEVICE,
  MAX_CHANNELS,
  pairEntries,
  type ControlRequest,
  type EngineMessage,
  type EngineMethod,
  type EngineMethods,
} from './control.js';
import { Counters } from './counters.js';
import { exitOf } from './engine-threads.js';
import { errorOf } from './failure.js';
import type { IdRing } from './id-ring.js';
import type { RingFiles } from './shared-rings.js';
import type { Signals } from './signals.js';
import { takeDescriptor } from './vector-descriptor.js';

/** How long the end waits for a restart that is under way. */
const RESTART_MS = 2_000;

/** A device of which there is nothing at the moment. */
const AWAY = { state: 'lost', free: false, heldBy: [], leases: [], quarantineBytes: 0, resets: 0 } as const;

const AT_ONCE: Coalescing = { microseconds: 0, events: 0 };
/** No user has this number. */
const NOBODY = 0xffff_ffff;

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly progress: ((done: number) => void) | undefined;
}

/** An engine at work: what its probe found, its thread, and what both threads share. */
export interface EngineThread {
  readonly facts: DeviceFacts;
  readonly worker: Worker;
  readonly port: MessagePort;
  readonly signals: Signals;
  readonly activations: IdRing;
  readonly ready: IdRing;
  readonly prepared: PreparedBacking<unknown>;
  /** Gives wake-ups and descriptors back, after the thread has ended. */
  readonly release: () => void;
}

export class Host extends EventEmitter<EngineEvents> implements EngineHost {
  readonly name: string;
  readonly facts: DeviceFacts;
  gone: string | undefined;
  readonly #start: (lastLease: number) => Promise<EngineThread>;
  #thread: EngineThread;
  readonly #counters = new Counters();
  readonly #waiting = new Map<number, Waiting>();
  readonly #channels: (Channel | undefined)[] = [];
  #watch: CompletionWatch;
  /** Channel numbers of each lease's queues. */
  readonly #queues = new Map<number, Map<number, number>>();
  /** Why calls fail once the thread has ended by itself. */
  readonly #threadGone: HardwareError;
  #nextId = 1;
  #ended: Error | undefined;
  #closing: Promise<void> | undefined;
  #restarting: Promise<void> | undefined;
  /** A restart ends the thread, or has ended it; there is no other yet. */
  #leaving = false;
  #lastLease = 0;
  /** The thread has not ended. */
  #running = false;

  /** `thread` came from `start`, which makes one anew for {@link restart}; it takes the last lease handle that was given, without its base. */
  constructor(name: string, thread: EngineThread, start: (lastLease: number) => Promise<EngineThread>) {
    super();
    this.name = name;
    this.facts = thread.facts;
    this.#start = start;
    this.#thread = thread;
    this.#threadGone = new HardwareError('lost', `the engine of ${name} has ended`);
    this.#watch = this.#listen(thread);
  }

  get counters(): CounterView {
    return this.#counters;
  }

  async openLease(request: OpenLease): Promise<OpenedLease> {
    const opened = await this.#call('openLease', [request, this.#counters.memory(request.tenant)]);
    this.#lastLease = opened.lease % LEASES_OF_A_DEVICE;
    return opened;
  }

  async closeLease(lease: number): Promise<void> {
    await this.#call('closeLease', [lease]);
    for (const channel of this.#queues.get(lease)?.values() ?? []) this.#forget(channel);
    this.#queues.delete(lease);
  }

  async openQueue(lease: number, entries: number): Promise<OpenedQueue> {
    let number = 0;
    while (this.#channels[number] !== undefined) number++;
    if (number >= MAX_CHANNELS) throw new Refusal('queueLimit', 'queue', number);
    const memory = createChannelMemory(entries);
    const channel = new Channel(number, memory, this.#thread.activations, this.#thread.signals, this.#watch);
    this.#channels[number] = channel;
    try {
      const opened = await this.#call('openQueue', [lease, number, memory, randomInt(2 ** 32)]);
      const queues = this.#queues.get(lease) ?? new Map<number, number>();
      this.#queues.set(lease, queues.set(opened.queue, number));
      return { ...opened, channel };
    } catch (error) {
      this.#channels[number] = undefined;
      throw error;
    }
  }

  async closeQueue(lease: number, queue: number): Promise<void> {
    await this.#call('closeQueue', [lease, queue]);
    const number = this.#queues.get(lease)?.get(queue);
    if (number === undefined) return;
    this.#queues.get(lease)?.delete(queue);
    this.#forget(number);
  }

  shareQueue(lease: number, queue: number, files: RingFiles): Promise<void> {
    return this.#call('shareQueue', [lease, queue, files]);
  }

  hardwareView(lease: number, queue: number): Promise<HardwareView> {
    return this.#call('hardwareView', [lease, queue]);
  }

  resetLease(lease: number): Promise<number> {
    return this.#call('resetLease', [lease]);
  }

  bindVector(lease: number, vector: number, enable: boolean): Promise<void> {
    return this.#call('bindVector', [lease, vector, enable]);
  }

  async bindVectorDescriptor(lease: number, vector: number, fd: number, coalescing = AT_ONCE, owner = NOBODY): Promise<void> {
    const signal = fd === -1 ? 0 : takeDescriptor(fd, coalescing, owner);
    try {
      await this.#call('bindVectorSignal', [lease, vector, signal]);
    } catch (error) {
      // The engine that has ended did so too, or never had it.
      if (signal !== 0) shm().signalEnd(signal);
      throw error;
    }
  }

  vectorState(lease: number, vector: number): Promise<VectorState> {
    return this.#call('vectorState', [lease, vector]);
  }

  ringViewBytes(entries: number): number {
    return ringViewBytes(Math.min(pairEntries(entries), this.facts.queueEntries));
  }

  readPciConfig(lease: number, offset: number, width: number): Promise<number> {
    return this.#call('readPciConfig', [lease, offset, width]);
  }

  writePciConfig(lease: number, offset: number, width: number, value: number): Promise<boolean> {
    return this.#call('writePciConfig', [lease, offset, width, value]);
  }

  listPciRegions(lease: number): Promise<readonly PciRegion[]> {
    return this.#call('listPciRegions', [lease]);
  }

  readPciRegister(lease: number, bar: number, offset: number, width: number): Promise<number> {
    return this.#call('readPciRegister', [lease, bar, offset, width]);
  }

  readPciRom(lease: number, offset: number, length: number): Promise<Uint8Array> {
    return this.#call('readPciRom', [lease, offset, length]);
  }

  replaceGrant(lease: number, shares: readonly ShareGrant[]): Promise<void> {
    return this.#call('replaceGrant', [lease, shares]);
  }

  setTenant(tenant: number, weight: number, rates: Rates): Promise<void> {
    return this.#call('setTenant', [tenant, weight, rates]);
  }

  attachRegion(domain: number, handle: number, fd: number, bytes: number, owner: string, use: RegionUse, dma: RegionDma): Promise<void> {
    return this.#call('attachRegion', [domain, handle, fd, bytes, owner, use, dma]);
  }

  holdRegion(domain: number, handle: number, held: boolean): Promise<void> {
    return this.#call('holdRegion', [domain, handle, held]);
  }

  detachRegion(domain: number, handle: number, force: boolean): Promise<void> {
    return this.#call('detachRegion', [domain, handle, force]);
  }

  regionInFlight(domain: number, handle: number): Promise<number> {
    return this.#call('regionInFlight', [domain, handle]);
  }

  report(): Promise<DeviceReport> {
    if (this.#leaving) return Promise.resolve({ ...AWAY, lost: this.gone ?? '' });
    return this.#call('report', []);
  }

  wipe(namespace: number, firstBlock: number, blocks: number, progress: (done: number) => void): Promise<void> {
    return this.#call('wipe', [namespace, firstBlock, blocks], progress);
  }

  logPage(page: 'smart' | 'error' | 'firmware'): Promise<Uint8Array> {
    return this.#call('logPage', [page]);
  }

  resetController(reason: string): Promise<void> {
    return this.#call('resetController', [reason]);
  }

  inspect(): Promise<unknown> {
    return this.#call('inspect', []);
  }

  restart(check: () => void = () => undefined): Promise<void> {
    this.#restarting ??= this.#restart(check).finally(() => (this.#restarting = undefined));
    return this.#restarting;
  }

  close(milliseconds: number): Promise<void> {
    this.#closing ??= this.#close(milliseconds);
    return this.#closing;
  }

  /** Looks at the queues that the engine says have completions. Returns how many there were. */
  takeReady(): number {
    const { ready } = this.#thread;
    let found = 0;
    for (let number = ready.pop(); number >= 0; number = ready.pop()) {
      this.#channels[number]?.onCompletions();
      found++;
    }
    return found;
  }

  #forget(channel: number): void {
    this.#channels[channel]?.end();
    this.#channels[channel] = undefined;
  }

  #listen(thread: EngineThread): CompletionWatch {
    const { worker, port, signals } = thread;
    this.#running = true;
    const end = (error: Error): void => {
      if (this.#thread !== thread) return;
      this.#running = false;
      this.#end(error);
    };
    port.on('message', (message: EngineMessage) => this.#take(message));
    worker.on('error', end);
    worker.on('exit', () => {
      // Its last words may still be on their way.
      for (let last = receiveMessageOnPort(port); last !== undefined; last = receiveMessageOnPort(port)) this.#take(last.message as EngineMessage);
      end(this.#threadGone);
    });
    return new CompletionWatch(signals, () => this.takeReady());
  }

  async #restart(check: () => void): Promise<void> {
    if (this.#closing !== undefined) throw this.#threadGone;
    if (!this.#leaving) {
      this.#leaving = true;
      this.#ended = new Refusal('deviceLost', 'device', this.name);
      await this.#endThread(0);
      for (let number = 0; number < this.#channels.length; number++) this.#forget(number);
      this.#queues.clear();
    }
    check();
    const thread = await this.#start(this.#lastLease);
    this.#thread = thread;
    this.#watch = this.#listen(thread);
    try {
      if (this.#closing !== undefined) throw this.#threadGone;
      if (!isSameDevice(this.facts, thread.facts))
        throw new HardwareError('unsupported', `another device is there now: ${thread.facts.model}, serial number ${thread.facts.serial}`);
      check();
    } catch (error) {
      await this.#endThread(0);
      throw error;
    }
    this.#leaving = false;
    this.#ended = undefined;
    this.gone = undefined;
    // Whoever waits for it hears that it is there.
    this.emit('free');
  }

  async #close(milliseconds: number): Promise<void> {
    if (this.#restarting === undefined && !this.#leaving) return this.#endThread(milliseconds);
    // What is being started ends as soon as it is there; nobody waits for that for long.
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, RESTART_MS);
    });
    await Promise.race([this.#restarting?.catch(() => undefined), late]);
    clearTimeout(timer);
  }

  async #endThread(milliseconds: number): Promise<void> {
    const { worker, port, prepared, release } = this.#thread;
    try {
      if (this.#running) {
        // The thread ends right behind its answer, and the end may be heard of first.
        const exited = new Promise((resolve) => worker.once('exit', resolve));
        await Promise.race([exited, this.#send('close', [milliseconds])]).catch((error: unknown) => {
          if (this.#running) throw error;
        });
        await exitOf(worker);
      }
    } finally {
      port.close();
      await prepared.dispose();
      release();
    }
  }

  #call<Method extends EngineMethod>(
    method: Method,
    args: Parameters<EngineMethods[Method]>,
    progress?: (done: number) => void,
  ): Promise<ReturnType<EngineMethods[Method]>> {
    return this.#ended === undefined ? this.#send(method, args, progress) : Promise.reject(this.#ended);
  }

  #send<Method extends EngineMethod>(
    method: Method,
    args: Parameters<EngineMethods[Method]>,
    progress?: (done: number) => void,
  ): Promise<ReturnType<EngineMethods[Method]>> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject, progress });
      this.#thread.port.postMessage({ id, method, args } satisfies ControlRequest);
      this.#thread.signals.announceControl();
    });
  }

  #take(message: EngineMessage): void {
    if (message.kind === 'event') {
      if (message.event === 'gone') [this.gone] = message.args as EngineEvents['gone'];
      // The arguments are what the engine's typed `post.event` sent.
      this.emit(message.event, ...(message.args as EngineEvents[typeof message.event]));
    } else if (message.kind === 'progress') {
      this.#waiting.get(message.id)?.progress?.(message.done);
    } else if (message.kind === 'answer' || message.kind === 'refused') {
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.kind === 'answer') waiting?.resolve(message.value);
      else waiting?.reject(errorOf(message.failure));
    } else if (message.kind === 'failed') {
      this.#end(errorOf(message.failure));
    }
  }

  /** The thread is gone: by itself, or because it was asked. */
  #end(error: Error): void {
    const wasEnded = this.#ended !== undefined;
    this.#ended ??= error;
    for (const waiting of this.#waiting.values()) waiting.reject(this.#ended);
    this.#waiting.clear();
    if (wasEnded) return;
    if (this.#closing !== undefined || this.#leaving) return;
    this.emit('log', 'error', 'the engine has ended', { device: this.name, error: error.stack ?? error.message });
    this.emit('deviceLost', error.message);
    // Nobody answers their requests any more: the sessions have to end, so that their clients hear of it.
    for (const lease of this.#queues.keys()) this.emit('fault', lease, Code.internal);
  }
}

/** Whether whoever was given windows on `before` can be given them on `now`: the same controller, with no namespace less and none shorter. */
function isSameDevice(before: DeviceFacts, now: DeviceFacts): boolean {
  return (
    now.model === before.model &&
    now.serial === before.serial &&
    before.namespaces.every((old) =>
      now.namespaces.some(({ id, blocks, blockBytes }) => id === old.id && blocks >= old.blocks && blockBytes === old.blockBytes),
    )
  );
}
