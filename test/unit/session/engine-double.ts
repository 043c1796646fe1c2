/**
 * An engine as sessions see it, without a device: it moves data between regions and a disk in memory, does what it is told, and keeps account of what it was
 * given. Judging is left out on purpose: what the validator refuses is tested beside it.
 */
import { EventEmitter } from 'node:events';
import { ShownFile } from '../../../src/hw/dma/index.js';
import { shm } from '../../../src/native/shm.js';
import { ALL_OPERATIONS, COMPLETION_WORDS, Code, CompletionWord, ENTRY_HALVES, EntryWord, Operation, Right } from '../../../src/protocol/index.js';
import {
  type CounterView,
  type DeviceFacts,
  type DeviceReport,
  type DeviceState,
  type EngineEvents,
  type EngineHost,
  type HardwareView,
  type OpenLease,
  type OpenedLease,
  type OpenedQueue,
  type QueueChannel,
  Refusal,
  type ShareGrant,
  type ShownRing,
  type VectorState,
} from '../../../src/server/engine/api.js';
import type { PciRegion } from '../../../src/hw/pci/index.js';
import { takeDescriptor } from '../../../src/server/engine/vector-descriptor.js';

export const BLOCK_BYTES = 512;
export const DISK_BLOCKS = 65_536;

export const share = (name: string, change: Partial<ShareGrant> = {}): ShareGrant => ({
  name,
  namespace: 1,
  firstBlock: 0,
  blocks: 1_024,
  access: Right.read | Right.write,
  operations: ALL_OPERATIONS,
  ...change,
});

interface Request {
  readonly words: Uint32Array;
  readonly cookie: number;
}

export class ChannelDouble implements QueueChannel {
  readonly entries: number;
  onCompletions: () => void = () => undefined;
  /** Requests that were committed, and neither answered nor given up. */
  readonly inFlight: Request[] = [];
  readonly #engine: EngineDouble;
  readonly #pushed: Request[] = [];
  readonly #completed: { readonly words: Uint32Array; readonly cookie: number }[] = [];
  #outstanding = 0;

  constructor(engine: EngineDouble, entries: number) {
    this.#engine = engine;
    this.entries = entries;
  }

  room(): number {
    return this.entries - this.#outstanding;
  }

  push(entries: BigUint64Array, at: number, cookie: number): void {
    if (this.room() === 0) throw new RangeError('no room');
    if (!(cookie >= 0 && cookie < 2 ** 31)) throw new RangeError(`cookie ${cookie}`);
    this.#outstanding++;
    this.#pushed.push({ words: new Uint32Array(entries.slice(at, at + ENTRY_HALVES).buffer), cookie });
  }

  commit(): void {
    this.inFlight.push(...this.#pushed.splice(0));
    if (!this.#engine.holding) setImmediate(() => this.#engine.work(this));
  }

  take(completions: BigUint64Array, at: number): number {
    const completion = this.#completed.shift();
    if (completion === undefined) return -1;
    this.#outstanding--;
    completions.set(new BigUint64Array(completion.words.buffer), at);
    return completion.cookie;
  }

  /** Completions that nobody has taken. */
  get untaken(): number {
    return this.#completed.length;
  }

  complete({ words, cookie }: Request, code: number, bytes: number): void {
    const completion = new Uint32Array(COMPLETION_WORDS);
    completion[CompletionWord.tagLow] = words[EntryWord.tagLow];
    completion[CompletionWord.tagHigh] = words[EntryWord.tagHigh];
    completion[CompletionWord.code] = code;
    completion[CompletionWord.generation] = words[EntryWord.generation];
    completion[CompletionWord.bytes] = bytes;
    this.#completed.push({ words: completion, cookie });
  }
}

interface LeaseDouble extends OpenLease {
  generation: number;
  grant: readonly ShareGrant[];
  readonly channels: Map<number, ChannelDouble>;
}

export class EngineDouble extends EventEmitter<EngineEvents> implements EngineHost {
  readonly name: string;
  facts: DeviceFacts = {
    class: 'nvme',
    model: 'double',
    serial: '1',
    firmware: '1',
    vectors: 8,
    queuePairs: 8,
    queueEntries: 1_024,
    maxTransferBytes: 1_048_576,
    namespaces: [{ id: 1, blocks: DISK_BLOCKS, blockBytes: BLOCK_BYTES }],
    backing: 'double',
    description: 'none',
  };
  readonly counters: CounterView = {
    tenant: () => {
      throw new Error('not of this double');
    },
    trace: () => [],
  };
  readonly disk = Buffer.alloc(DISK_BLOCKS * BLOCK_BYTES);
  readonly leases = new Map<number, LeaseDouble>();
  /** Mapped memory by `domain/handle`. */
  readonly regions = new Map<string, { readonly bytes: Uint8Array; readonly buffer: ArrayBuffer; readonly owner: string }>();
  /** Of these, the ones that no request can use. */
  readonly held = new Set<string>();
  /** Signals of bound descriptors, by `lease/vector`. */
  readonly signals = new Map<string, number>();
  /** Requests stay in flight until `work` or `giveUp`. */
  holding = false;
  state: DeviceState = 'open';
  /** Methods that fail, and with what. */
  readonly failing = new Map<keyof EngineHost, Error>();
  readonly calls: string[] = [];
  #nextLease: number;

  constructor(name: string, firstLease = 1) {
    super();
    this.name = name;
    this.#nextLease = firstLease;
  }

  /** The region that a request uses, or undefined. */
  #memory(lease: LeaseDouble, words: Uint32Array): Uint8Array | undefined {
    return this.regions.get(`${lease.domain}/${words[EntryWord.region]}`)?.bytes;
  }

  /** Does what is in flight on a channel, or on all of them. */
  work(only?: ChannelDouble): void {
    for (const lease of this.leases.values()) {
      for (const channel of lease.channels.values()) {
        if (only !== undefined && channel !== only) continue;
        for (const request of channel.inFlight.splice(0)) this.#do(lease, channel, request);
        if (channel.untaken > 0) channel.onCompletions();
      }
    }
  }

  #do(lease: LeaseDouble, channel: ChannelDouble, request: Request): void {
    const { words } = request;
    const length = words[EntryWord.length];
    if (words[EntryWord.generation] !== lease.generation) return channel.complete(request, Code.staleGeneration, 0);
    if (length === 0) return channel.complete(request, Code.ok, 0);
    const memory = this.#memory(lease, words);
    const offset = words[EntryWord.offsetLow];
    if (memory === undefined) return channel.complete(request, Code.unknownRegion, 0);
    if (offset > memory.length - length) return channel.complete(request, Code.offsetOutsideRegion, 0);
    const at = words[EntryWord.lbaLow] * BLOCK_BYTES;
    const operation = words[EntryWord.head] & 0xff;
    const data = memory.subarray(offset, offset + length);
    if (operation === Operation.read) data.set(this.disk.subarray(at, at + length));
    if (operation === Operation.write) this.disk.set(data, at);
    if (operation === Operation.compare && !Buffer.from(data).equals(this.disk.subarray(at, at + length))) {
      return channel.complete(request, Code.compareFailed, 0);
    }
    return channel.complete(request, Code.ok, length);
  }

  /** Ends what is in flight on a lease with a code, as a reset does. */
  giveUp(lease: number, code: number): void {
    for (const channel of this.leases.get(lease)?.channels.values() ?? []) {
      for (const request of channel.inFlight.splice(0)) channel.complete(request, code, 0);
      channel.onCompletions();
    }
  }

  async #called(method: keyof EngineHost, detail: string): Promise<void> {
    this.calls.push(`${String(method)} ${detail}`);
    await Promise.resolve();
    const error = this.failing.get(method);
    if (error !== undefined) throw error;
  }

  #lease(handle: number): LeaseDouble {
    const lease = this.leases.get(handle);
    if (lease === undefined) throw new Refusal('unknownLease', 'lease', handle);
    return lease;
  }

  async openLease(request: OpenLease): Promise<OpenedLease> {
    await this.#called('openLease', request.tenantName);
    for (const other of this.leases.values()) {
      if (request.mode === 'exclusive' || other.mode === 'exclusive') throw new Refusal('deviceBusy', 'mode', request.mode);
    }
    const handle = this.#nextLease++;
    this.leases.set(handle, { ...request, generation: 7, grant: request.shares, channels: new Map() });
    return { lease: handle, generation: 7, vectors: 4, maxBlocks: request.shares.map(() => 256) };
  }

  async closeLease(handle: number, reason: string): Promise<void> {
    await this.#called('closeLease', `${handle} ${reason}`);
    this.giveUp(handle, Code.aborted);
    for (const [key, signal] of this.signals) if (key.startsWith(`${handle}/`) && this.signals.delete(key)) shm().signalEnd(signal);
    this.leases.delete(handle);
    this.#checkFree();
  }

  #checkFree(): void {
    if (this.leases.size === 0 && this.regions.size === 0) setImmediate(() => this.emit('free'));
  }

  async openQueue(handle: number, entries: number): Promise<OpenedQueue> {
    await this.#called('openQueue', `${handle} ${entries}`);
    const { channels, queues } = this.#lease(handle);
    let queue = 0;
    while (channels.has(queue)) queue++;
    const channel = new ChannelDouble(this, entries);
    channels.set(queue, channel);
    const hardware = { kind: queues, submissionEntries: 64, submissionBytes: 4_096, completionEntries: 64, completionBytes: 1_024 };
    return { queue, vector: queue, hardware, channel };
  }

  async closeQueue(handle: number, queue: number): Promise<void> {
    await this.#called('closeQueue', `${handle} ${queue}`);
    this.giveUp(handle, Code.aborted);
    this.#lease(handle).channels.delete(queue);
  }

  async shareQueue(handle: number, queue: number, { doorbell }: { readonly doorbell: number }): Promise<void> {
    await this.#called('shareQueue', `${handle} ${queue}`);
    shm().close(doorbell);
  }

  async hardwareView(handle: number, queue: number): Promise<HardwareView> {
    await this.#called('hardwareView', `${handle} ${queue}`);
    const { ringViews, generation } = this.#lease(handle);
    if (ringViews === undefined) throw new Refusal('noRingView', 'queue', queue);
    const open = (entryBytes: number): ShownRing => {
      const file = new ShownFile('ringwarden:test', this.ringViewBytes(64) / 2, ringViews);
      file.seal();
      const fd = file.open();
      file.end(false);
      return { fd, bytes: file.bytes, entries: 64, entryBytes };
    };
    return { generation, submission: open(64), completion: open(16) };
  }

  /** Two pages, whatever the queue. */
  ringViewBytes(_entries: number): number {
    return 8_192;
  }

  async resetLease(handle: number): Promise<number> {
    await this.#called('resetLease', `${handle}`);
    const lease = this.#lease(handle);
    this.giveUp(handle, Code.reset);
    return ++lease.generation;
  }

  async bindVector(handle: number, vector: number, enable: boolean): Promise<void> {
    await this.#called('bindVector', `${handle} ${vector} ${enable}`);
  }

  async bindVectorDescriptor(handle: number, vector: number, fd: number, coalescing = { microseconds: 0, events: 0 }, owner = 0): Promise<void> {
    await this.#called('bindVectorDescriptor', `${handle} ${vector} ${fd === -1 ? 'none' : JSON.stringify(coalescing)}`);
    const earlier = this.signals.get(`${handle}/${vector}`);
    const signal = fd === -1 ? undefined : takeDescriptor(fd, coalescing, owner);
    if (earlier !== undefined) shm().signalEnd(earlier);
    this.signals.delete(`${handle}/${vector}`);
    if (signal !== undefined) this.signals.set(`${handle}/${vector}`, signal);
  }

  async vectorState(handle: number, vector: number): Promise<VectorState> {
    await this.#called('vectorState', `${handle} ${vector}`);
    return { session: false, eventfd: this.signals.has(`${handle}/${vector}`), interrupts: 3, signals: 2 };
  }

  async readPciConfig(handle: number, offset: number, width: number): Promise<number> {
    await this.#called('readPciConfig', `${handle} ${offset} ${width}`);
    return this.#lease(handle).generation;
  }

  async writePciConfig(handle: number, offset: number, width: number, value: number): Promise<boolean> {
    await this.#called('writePciConfig', `${handle} ${offset} ${width} ${value}`);
    return value === 0x8000;
  }

  async listPciRegions(handle: number): Promise<readonly PciRegion[]> {
    await this.#called('listPciRegions', `${handle}`);
    const readable = [{ name: 'VS', offset: 8, bytes: 4, width: 4 }] as const;
    return [{ index: 0, name: 'BAR0', kind: 'memory', bytes: 16_384, is64: true, prefetchable: false, readable }];
  }

  async readPciRegister(handle: number, bar: number, offset: number, width: number): Promise<number> {
    await this.#called('readPciRegister', `${handle} ${bar} ${offset} ${width}`);
    return 0x0001_0400;
  }

  async readPciRom(handle: number, offset: number, length: number): Promise<Uint8Array> {
    await this.#called('readPciRom', `${handle} ${offset} ${length}`);
    return new Uint8Array(length).fill(0x55);
  }

  async setTenant(): Promise<void> {}

  async replaceGrant(handle: number, shares: readonly ShareGrant[]): Promise<void> {
    await this.#called('replaceGrant', `${handle} ${shares.length}`);
    this.#lease(handle).grant = shares;
    if (shares.length === 0) this.emit('revoked', handle, 'its grant is gone');
  }

  async attachRegion(domain: number, handle: number, fd: number, bytes: number, owner: string): Promise<void> {
    await this.#called('attachRegion', `${domain} ${handle}`);
    const key = `${domain}/${handle}`;
    if (this.regions.has(key)) throw new Error(`region ${key} is attached already`);
    const buffer = shm().map(fd, 0, bytes, true);
    this.regions.set(key, { bytes: new Uint8Array(buffer), buffer, owner });
  }

  async holdRegion(domain: number, handle: number, held: boolean): Promise<void> {
    await this.#called('holdRegion', `${domain} ${handle} ${held}`);
    if ((await this.regionInFlight(domain, handle)) > 0) throw new Refusal('regionBusy', 'region', handle);
    if (held) this.held.add(`${domain}/${handle}`);
    else this.held.delete(`${domain}/${handle}`);
  }

  async detachRegion(domain: number, handle: number, force: boolean): Promise<void> {
    await this.#called('detachRegion', `${domain} ${handle} ${force}`);
    const key = `${domain}/${handle}`;
    const region = this.regions.get(key);
    if (region === undefined) throw new Refusal('unknownRegion', 'region', handle);
    if ((await this.regionInFlight(domain, handle)) > 0) throw force ? new Error('in flight') : new Refusal('regionBusy', 'region', handle);
    this.regions.delete(key);
    shm().unmap(region.buffer);
    this.#checkFree();
  }

  async regionInFlight(domain: number, handle: number): Promise<number> {
    let count = 0;
    for (const lease of this.leases.values()) {
      if (lease.domain !== domain) continue;
      for (const { inFlight } of lease.channels.values()) count += inFlight.filter(({ words }) => words[EntryWord.region] === handle).length;
    }
    return count;
  }

  async report(): Promise<DeviceReport> {
    await this.#called('report', '');
    return {
      state: this.state,
      free: this.leases.size === 0 && this.regions.size === 0,
      heldBy: [...this.leases.values()].map((lease) => `tenant ${lease.tenantName}`),
      leases: [...this.leases].map(([lease, { tenantName: tenant, session, mode, queues, generation }]) => {
        return { lease, tenant, session, mode, queues, generation, inFlight: 0 };
      }),
      quarantineBytes: 0,
      resets: 0,
      lost: '',
    };
  }

  async wipe(): Promise<void> {}
  async logPage(): Promise<Uint8Array> {
    return new Uint8Array(0);
  }
  async resetController(): Promise<void> {}
  async inspect(): Promise<unknown> {
    return {};
  }
  readonly gone = undefined;

  async restart(): Promise<void> {}

  async close(): Promise<void> {}
}
