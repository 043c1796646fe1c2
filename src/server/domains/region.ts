/** One memory region of a domain, and which engines can reach it. */
import { shm } from '../../native/shm.js';
import { HardwareError } from '../../hw/task.js';
import { type EngineHost, Refusal } from '../engine/api.js';
import type { DeviceSlots } from './slots.js';

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

  constructor(options: RegionOptions) {
    this.handle = options.handle;
    this.bytes = options.bytes;
    this.staging = options.staging;
    this.#options = options;
  }

  get attached(): ReadonlySet<EngineHost> {
    return this.#attached;
  }

  /** The main thread's mapping, made when it is first needed. Length 0 once the region was freed. */
  get view(): Uint8Array {
    if (this.#freed) return new Uint8Array(0);
    this.#buffer ??= shm().map(this.#options.fd, 0, this.bytes, true);
    return new Uint8Array(this.#buffer);
  }

  /** @throws {@link Refusal} `deviceMemoryLimit` when the device has no room for it. */
  async attach(engine: EngineHost): Promise<void> {
    const { domain, fd, tenant, slots } = this.#options;
    slots.charge(engine, tenant, this.bytes);
    // Counted as reachable before it is: if the answer is lost, nobody frees the memory without asking.
    this.#attached.add(engine);
    try {
      await engine.attachRegion(domain, this.handle, fd, this.bytes, tenant);
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
    if (this.#attached.delete(engine)) this.#options.slots.release(engine, this.#options.tenant);
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
