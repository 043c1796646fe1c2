/**
 * An engine on the embedded controller, stepped by the test: no threads, no waiting, everything in the order in which the test says it.
 */
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { openEmulated, prepareEmulated, type EmulatedOptions } from '../../src/hw/emulated/index.js';
import type { Backing } from '../../src/hw/backing.js';
import { createMemoryFile } from '../../src/hw/dma/index.js';
import { systemClock, type Task } from '../../src/hw/task.js';
import { shm } from '../../src/native/shm.js';
import {
  ALL_OPERATIONS,
  COMPLETION_WORDS,
  ENTRY_WORDS,
  Operation,
  Right,
  packEntry,
  unpackCompletion,
  type CompletionFields,
  type RequestFields,
} from '../../src/protocol/index.js';
import type { EngineEvents, OpenLease, OpenedLease, RegionDma, ShareGrant } from '../../src/server/engine/api.js';
import { Channel, createChannelMemory, type ChannelMemory } from '../../src/server/engine/channel.js';
import type { EngineMessage, EngineSettings } from '../../src/server/engine/control.js';
import { createStatisticsMemory } from '../../src/server/engine/counters.js';
import { Engine } from '../../src/server/engine/engine.js';
import { IdRing } from '../../src/server/engine/id-ring.js';
import { createMethods, type Methods } from '../../src/server/engine/methods.js';
import { Signals } from '../../src/server/engine/signals.js';

const MIB = 1_048_576;
export const REGION_BYTES = MIB;
const DEADLINE_MS = 4_000;

export interface Tenant {
  readonly index: number;
  readonly lease: OpenedLease;
  readonly queue: number;
  readonly channel: Channel;
  /** What a hostile client of shared memory could write. */
  readonly rings: ChannelMemory;
  readonly region: number;
  /** The region's memory, as the tenant would write it. */
  readonly memory: Buffer;
}

export interface TenantOptions extends Partial<Omit<OpenLease, 'tenant' | 'tenantName' | 'domain'>> {
  readonly entries?: number;
  readonly dma?: RegionDma;
}

export class EngineWorld<Device extends Backing = ReturnType<typeof openEmulated>> {
  readonly engine: Engine;
  readonly methods: Methods;
  readonly backing: Device;
  /** Offset that tests add to the engine's clock, milliseconds. */
  skew = 0;
  readonly #port;
  readonly #activations = IdRing.create(64);
  readonly #signals: Signals;
  readonly #fds: number[] = [];
  readonly #waker = shm().createWaker(() => {});
  readonly #end: () => Promise<void>;
  #tag = 1n;

  static async create(options: EmulatedOptions = {}, settings: Partial<EngineSettings> = {}): Promise<EngineWorld> {
    const prepared = await prepareEmulated({ namespaces: [{ bytes: 64 * MIB, blockBytes: 512 }], ...options });
    return new EngineWorld(openEmulated(prepared.handle), settings, () => prepared.dispose());
  }

  /** An engine on another backing, which the world disposes of; `end` does the rest. */
  static over<Device extends Backing>(backing: Device, settings: Partial<EngineSettings>, end: () => Promise<void>): EngineWorld<Device> {
    return new EngineWorld(backing, settings, end);
  }

  private constructor(backing: Device, settings: Partial<EngineSettings>, end: () => Promise<void>) {
    const { port1, port2 } = new MessageChannel();
    this.backing = backing;
    this.#port = port1;
    this.#end = end;
    const engineWake = shm().eventfd();
    this.#fds.push(engineWake);
    this.#signals = new Signals({ words: new SharedArrayBuffer(256), engineWake, mainWaker: this.#waker });
    this.engine = new Engine(
      backing,
      { name: 'nvme0', leaseBase: 0, vectorsCeiling: 64, queuePairsCeiling: 128, commandTimeout: 1_000, spinMicroseconds: 0, ...settings },
      port2,
      this.#signals,
      this.#activations,
      IdRing.create(64),
      () => systemClock() + this.skew,
    );
    this.methods = createMethods(this.engine);
    this.run(this.engine.device.probe());
  }

  /** Turns the engine until the task has ended. */
  run<T>(task: Task<T>): T {
    const deadline = performance.now() + DEADLINE_MS;
    for (;;) {
      const step = task.next();
      if (step.done === true) return step.value;
      this.engine.turn();
      if (performance.now() > deadline) throw new Error('a task did not end');
    }
  }

  /** Turns the engine until `ready()` holds. */
  until(ready: () => boolean): void {
    const deadline = performance.now() + DEADLINE_MS;
    while (!ready()) {
      this.engine.turn();
      if (performance.now() > deadline) throw new Error('what was waited for did not happen');
    }
  }

  /** Events since the last call. */
  events(): { [Name in keyof EngineEvents]: [Name, ...EngineEvents[Name]] }[keyof EngineEvents][] {
    const events = [];
    for (let received = receiveMessageOnPort(this.#port); received !== undefined; received = receiveMessageOnPort(this.#port)) {
      const message = received.message as EngineMessage;
      if (message.kind === 'event' && message.event !== 'log') events.push([message.event, ...message.args]);
    }
    return events as ReturnType<EngineWorld['events']>;
  }

  share(firstBlock: number, blocks: number, change: Partial<ShareGrant> = {}): ShareGrant {
    return { name: 'data', namespace: 1, firstBlock, blocks, access: Right.read | Right.write, operations: ALL_OPERATIONS, ...change };
  }

  openLease(index: number, options: TenantOptions = {}): OpenedLease {
    return this.run(this.methods.openLease(this.leaseRequest(index, options), createStatisticsMemory()));
  }

  leaseRequest(index: number, options: TenantOptions = {}): OpenLease {
    return {
      tenant: index,
      tenantName: `tenant${index}`,
      weight: 100,
      rates: { operations: 0, bytes: 0 },
      session: index,
      domain: index,
      mode: 'shared',
      queues: 'own',
      shares: [this.share(index * 1000, 1000)],
      maxInFlight: 1024,
      maxQueues: 4,
      ...options,
    };
  }

  /** A tenant with a lease, a queue and a region. Its share is 1000 blocks from block `index * 1000` on, unless `options` say otherwise. */
  tenant(index: number, options: TenantOptions = {}): Tenant {
    const lease = this.openLease(index, options);
    const { queue, channel, rings } = this.openQueue(lease.lease, options.entries ?? 64);
    const region = 1 | (index << 16) | 0x0100_0000;
    const memory = this.attach(index, region, REGION_BYTES, options.dma);
    return { index, lease, queue, channel, rings, region, memory };
  }

  openQueue(lease: number, entries: number): { queue: number; channel: Channel; rings: ChannelMemory } {
    const memory = createChannelMemory(entries);
    // The lowest that is free, as the host takes it.
    let id = 0;
    while (this.engine.channels[id] !== undefined) id++;
    const { queue } = this.run(this.methods.openQueue(lease, id, memory, 0x1234_5678));
    return { queue, channel: new Channel(id, memory, this.#activations, this.#signals), rings: memory };
  }

  /** Attaches a region; returns a mapping of it. */
  attach(domain: number, handle: number, bytes: number, dma?: RegionDma): Buffer {
    const { memory, task } = this.attaching(domain, handle, bytes, dma);
    this.run(task);
    return memory;
  }

  /** A region's memory, and the task that attaches it. */
  attaching(domain: number, handle: number, bytes: number, dma: RegionDma = 'direct'): { memory: Buffer; task: Task<void> } {
    const fd = createMemoryFile('test', bytes);
    this.#fds.push(fd);
    return {
      memory: Buffer.from(shm().map(fd, 0, bytes, true)),
      task: this.methods.attachRegion(domain, handle, fd, bytes, `tenant${domain}`, 'client', dma),
    };
  }

  /** The main thread's end of a queue that is opened under this number. */
  channel(id: number, memory: ChannelMemory): Channel {
    return new Channel(id, memory, this.#activations, this.#signals);
  }

  request(tenant: Tenant, change: Partial<RequestFields> = {}): RequestFields {
    return {
      operation: Operation.read,
      flags: 0,
      share: 0,
      generation: tenant.lease.generation,
      tag: this.#tag++,
      lba: 0n,
      blocks: 1,
      region: tenant.region,
      offset: 0n,
      length: (change.blocks ?? 1) * 512,
      lease: tenant.lease.lease,
      queue: tenant.queue,
      ...change,
    };
  }

  /** A request without data. */
  bare(tenant: Tenant, change: Partial<RequestFields>): RequestFields {
    return this.request(tenant, { blocks: 0, region: 0, length: 0, ...change });
  }

  submit(tenant: Pick<Tenant, 'channel'>, ...requests: readonly RequestFields[]): void {
    const words = new Uint32Array(ENTRY_WORDS);
    for (const request of requests) {
      packEntry(words, 0, request);
      tenant.channel.push(new BigUint64Array(words.buffer), 0, Number(request.tag & 0x7fff_ffffn));
    }
    tenant.channel.commit();
  }

  /** Takes what has completed by now. */
  take(tenant: Pick<Tenant, 'channel'>): CompletionFields[] {
    const words = new Uint32Array(COMPLETION_WORDS);
    const taken: CompletionFields[] = [];
    const halves = new BigUint64Array(words.buffer);
    while (tenant.channel.take(halves, 0) >= 0) taken.push(unpackCompletion(words, 0));
    return taken;
  }

  /** Submits, and waits for as many completions. */
  execute(tenant: Pick<Tenant, 'channel'>, ...requests: readonly RequestFields[]): CompletionFields[] {
    this.submit(tenant, ...requests);
    return this.expect(tenant, requests.length);
  }

  expect(tenant: Pick<Tenant, 'channel'>, count: number): CompletionFields[] {
    const taken: CompletionFields[] = [];
    this.until(() => {
      taken.push(...this.take(tenant));
      return taken.length >= count;
    });
    return taken;
  }

  async end(): Promise<void> {
    for (const lease of this.engine.device.leases.keys()) this.run(this.methods.closeLease(lease));
    this.backing.dispose();
    await this.#end();
    this.#port.close();
    shm().closeWaker(this.#waker);
    for (const fd of this.#fds) shm().close(fd);
  }
}
