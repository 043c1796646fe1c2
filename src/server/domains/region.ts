/** One memory region of a domain, and which engines can reach it. */
import { Seal, shm } from '../../native/shm.js';
import { HardwareError } from '../../hw/task.js';
import { type EngineHost, Refusal, type RegionDma, type RegionUse } from '../engine/api.js';
import type { DeviceSlots } from './slots.js';

/**
 * How far a region has come on its way to a client: the server's alone; asked for; the client has the file; sealed, so that nobody can get another writable
 * mapping or take pages away. While it is on its way no request can use it.
 */
type Sharing = 'no' | 'offered' | 'handedOver' | 'sealed';

/** What has to be set before requests can use memory that a client has mapped. */
const SEALS = Seal.shrink | Seal.grow | Seal.futureWrite | Seal.seal;

export interface RegionOptions {
  readonly domain: number;
  readonly tenant: string;
  readonly handle: number;
  readonly bytes: number;
  /** A session's own, never a client's to name. */
  readonly staging: boolean;
  /** Memory file of `bytes`, sealed against shrinking and growing. The region closes it. */
  readonly fd: number;
  readonly slots: DeviceSlots;
  readonly dma: RegionDma;
  /** The account of the tenant's memory, for the copies: one for each device. */
  readonly pins: { charge(): void; release(): void };
  /** Called once, when nothing of the region is left. */
  readonly onFreed: () => void;
}

export class Region {
  readonly handle: number;
  readonly bytes: number;
  readonly staging: boolean;
  readonly #options: RegionOptions;
  /** Engines whose device may reach the memory. */
  readonly #attached = new Set<EngineHost>();
  /** Forced detaches that were asked for and not answered. */
  readonly #detaching = new Map<EngineHost, Promise<void>>();
  #buffer: ArrayBuffer | undefined;
  #freed = false;
  #sharing: Sharing = 'no';

  constructor(options: RegionOptions) {
    this.handle = options.handle;
    this.bytes = options.bytes;
    this.staging = options.staging;
    this.#options = options;
  }

  get attached(): ReadonlySet<EngineHost> {
    return this.#attached;
  }

  /** Nothing of it is left here. */
  get freed(): boolean {
    return this.#freed;
  }

  /** The main thread's mapping, made when it is first needed. Length 0 once the region was freed. */
  get view(): Uint8Array {
    if (this.#freed) return new Uint8Array(0);
    this.#buffer ??= shm().map(this.#options.fd, 0, this.bytes, true);
    return new Uint8Array(this.#buffer);
  }

  /** It can no longer be made reachable for one more engine: nobody gets a writable mapping of a sealed file, the server included. */
  get sealed(): boolean {
    return this.#sharing === 'sealed';
  }

  get #use(): RegionUse {
    if (this.staging) return 'staging';
    return this.#sharing === 'no' || this.#sharing === 'sealed' ? 'client' : 'held';
  }

  /** From now on no request can use it, until {@link seal}. @throws {@link Refusal} `notFresh`, or `regionBusy`; it is then as it was. */
  async offer(): Promise<void> {
    if (this.#sharing === 'offered') return;
    if (this.#sharing !== 'no') throw new Refusal('notFresh', 'region', this.handle);
    // Mapped now: later it could not be.
    void this.view;
    const held: EngineHost[] = [];
    try {
      for (const engine of this.#attached) {
        await engine.holdRegion(this.#options.domain, this.handle, true);
        held.push(engine);
      }
    } catch (error) {
      for (const engine of held) await engine.holdRegion(this.#options.domain, this.handle, false);
      throw error;
    }
    this.#sharing = 'offered';
  }

  /** The descriptor that goes to the client, once. */
  handOver(): number {
    if (this.#freed || this.#sharing !== 'offered') throw new Refusal('notFresh', 'region', this.handle);
    this.#sharing = 'handedOver';
    return this.#options.fd;
  }

  /** The client has mapped it: seals it, and lets requests use it again. @throws {@link Refusal} `notShared`, `sealFailed`. */
  async seal(): Promise<void> {
    if (this.#sharing !== 'handedOver') throw new Refusal('notShared', 'region', this.handle);
    try {
      shm().addSeals(this.#options.fd, SEALS);
    } catch (error) {
      // The client may have set the right ones itself.
      if ((shm().getSeals(this.#options.fd) & SEALS) !== SEALS) throw new Refusal('sealFailed', 'region', this.handle);
      if (!(error instanceof Error)) throw error;
    }
    this.#sharing = 'sealed';
    for (const engine of this.#attached) await engine.holdRegion(this.#options.domain, this.handle, false);
  }

  /** @throws {@link Refusal} `deviceMemoryLimit` when the device has no room for it. */
  async attach(engine: EngineHost): Promise<void> {
    const { domain, fd, tenant, slots, dma, pins } = this.#options;
    slots.charge(engine, tenant, this.bytes);
    if (dma === 'copied') {
      try {
        pins.charge();
      } catch (error) {
        slots.release(engine, tenant);
        throw error;
      }
    }
    // Counted as reachable before it is: if the answer is lost, nobody frees the memory without asking.
    this.#attached.add(engine);
    try {
      await engine.attachRegion(domain, this.handle, fd, this.bytes, tenant, this.#use, dma);
    } catch (error) {
      this.#detached(engine);
      if (error instanceof HardwareError && error.code === 'exhausted') throw new Refusal('deviceMemoryLimit', 'bytes', this.bytes);
      throw error;
    }
  }

  /** Detaches unless requests use it (`regionBusy`). */
  async detach(engine: EngineHost): Promise<void> {
    await engine.detachRegion(this.#options.domain, this.handle, false);
    this.#detached(engine);
  }

  /** No new request can use it from the call on; resolves when the device can no longer write there. Safe to repeat. */
  forceDetach(engine: EngineHost): Promise<void> {
    let detaching = this.#detaching.get(engine);
    if (detaching === undefined) {
      detaching = this.#forceDetach(engine).finally(() => this.#detaching.delete(engine));
      this.#detaching.set(engine, detaching);
    }
    return detaching;
  }

  async #forceDetach(engine: EngineHost): Promise<void> {
    await engine.detachRegion(this.#options.domain, this.handle, true);
    this.#detached(engine);
  }

  #detached(engine: EngineHost): void {
    if (!this.#attached.delete(engine)) return;
    const { slots, tenant, dma, pins } = this.#options;
    slots.release(engine, tenant);
    if (dma === 'copied') pins.release();
  }

  /** Unmaps and closes the memory. Only when no engine can reach it. */
  free(): void {
    if (this.#attached.size > 0) throw new Error(`region ${this.handle} is still attached`);
    if (this.#freed) return;
    this.#freed = true;
    if (this.#buffer !== undefined) shm().unmap(this.#buffer);
    shm().close(this.#options.fd);
    this.#options.onFreed();
  }
}
