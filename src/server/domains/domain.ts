/**
 * A tenant's DMA domain: its regions, and the engines that can reach them.
 *
 * Sessions join it and leases use it; it is valid until the last of them is gone (R28). What changes regions or engines runs one at a time, so that a
 * region mapped while a device is being opened is reachable by that device, once.
 */
import { createMemoryFile, wholePages } from '../../hw/dma/index.js';
import { MAX_REGION_BYTES } from '../../protocol/index.js';
import { type EngineHost, Refusal, type RegionDma } from '../engine/api.js';
import type { Log } from '../log.js';
import type { TenantLimits } from '../policy.js';
import { messageOf } from '../text.js';
import { HandleTable } from './handles.js';
import type { PinAccounts } from './pins.js';
import type { Quarantine } from './quarantine.js';
import { Region } from './region.js';
import { Serial, within } from './serial.js';
import type { DeviceSlots } from './slots.js';

/** How long an engine may take to let go of a region before others stop waiting for it. The memory is kept as long as it takes. */
const DETACH_MILLISECONDS = 5_000;

export interface DomainOptions {
  readonly number: number;
  readonly tenant: string;
  /** How devices get at regions that clients may map. */
  readonly dma: RegionDma;
  readonly pins: PinAccounts;
  readonly slots: DeviceSlots;
  readonly quarantine: Quarantine;
  readonly log: Log;
  readonly onEnd: () => void;
}

export class Domain {
  readonly number: number;
  readonly tenant: string;
  readonly dma: RegionDma;
  readonly #options: DomainOptions;
  readonly #handles = new HandleTable();
  readonly #regions = new Map<number, Region>();
  /** Leases of the domain on each engine. */
  readonly #leases = new Map<EngineHost, number>();
  readonly #serial = new Serial();
  /** Of each slot, 1 while its region is somebody's staging memory. */
  #staging = new Uint8Array(64);
  #users = 0;

  constructor(options: DomainOptions) {
    this.number = options.number;
    this.tenant = options.tenant;
    this.dma = options.dma;
    this.#options = options;
  }

  /** One more user: a session, or a lease. */
  join(): void {
    this.#users++;
  }

  /** One user less; after the last one the domain ends. Resolves when its memory is freed or in quarantine. */
  async leave(): Promise<void> {
    if (--this.#users > 0) return;
    this.#options.onEnd();
    await this.#serial.run(async () => {
      const regions = [...this.#regions.values()];
      this.#regions.clear();
      await Promise.all(regions.map((region) => this.#options.quarantine.release(region)));
    });
  }

  /** Counts memory of the domain's leases that is no region. @throws {@link Refusal} `pinLimit` */
  charge(bytes: number, limit: number): void {
    this.#options.pins.charge(this.tenant, bytes, limit);
  }

  release(bytes: number): void {
    this.#options.pins.release(this.tenant, bytes);
  }

  /** Regions that the client mapped. */
  get regionCount(): number {
    let count = 0;
    for (const region of this.#regions.values()) if (!region.staging) count++;
    return count;
  }

  /** Whether the handle is that of a session's staging memory, which no client may name. */
  isStaging(handle: number): boolean {
    const slot = handle & 0xffff;
    return handle !== 0 && slot < this.#staging.length && this.#staging[slot] === 1;
  }

  /** @throws {@link Refusal} `unknownRegion` for what is not a region that the client mapped. */
  region(handle: number): Region {
    const region = this.#regions.get(handle);
    if (region === undefined || region.staging) throw new Refusal('unknownRegion', 'region', handle);
    return region;
  }

  /**
   * Makes a region of zeroed memory, reachable for every device that the domain has a lease on. `bytes` is rounded up to whole pages.
   *
   * @throws {@link Refusal} `outOfRange`, `regionLimit`, `pinLimit`, `deviceMemoryLimit`, or what an engine says.
   */
  map(bytes: number, limits: TenantLimits, staging: boolean): Promise<Region> {
    return this.#serial.run(async () => {
      const size = wholePages(bytes);
      const most = staging ? MAX_REGION_BYTES : Math.min(MAX_REGION_BYTES, limits.regionBytes);
      if (!(size > 0 && size <= most)) throw new Refusal('outOfRange', 'bytes', bytes);
      if (!staging && this.regionCount >= limits.regions) throw new Refusal('regionLimit', 'bytes', bytes);
      const region = this.#create(size, limits.pinBytes, staging);
      try {
        for (const engine of this.#leases.keys()) await region.attach(engine);
      } catch (error) {
        await this.#discard(region);
        throw error;
      }
      this.#regions.set(region.handle, region);
      return region;
    });
  }

  /** @throws {@link Refusal} `unknownRegion`, or `regionBusy` while requests use it; it is then as it was. */
  unmap(handle: number): Promise<void> {
    return this.#serial.run(async () => {
      const region = this.region(handle);
      const detached: EngineHost[] = [];
      try {
        for (const engine of region.attached) {
          await within(region.detach(engine), DETACH_MILLISECONDS, 'detaching memory');
          detached.push(engine);
        }
      } catch (error) {
        if (error instanceof Refusal && error.code === 'regionBusy') {
          for (const engine of detached) if (!region.sealed) await region.attach(engine);
          throw error;
        }
        this.#options.log.warn('memory could not be detached', { domain: this.number, region: handle, error: messageOf(error) });
      }
      this.#regions.delete(handle);
      await this.#discard(region);
    });
  }

  /** Takes a region out of use until it is sealed, so that it can be handed over. @throws {@link Refusal} `unknownRegion`, `notFresh`, `regionBusy`. */
  offer(handle: number): Promise<void> {
    return this.#serial.run(() => this.region(handle).offer());
  }

  /** @throws {@link Refusal} `unknownRegion`, `notShared`, `sealFailed`. */
  seal(handle: number): Promise<void> {
    return this.#serial.run(() => this.region(handle).seal());
  }

  /** Takes a region away whatever uses it. Resolves when it is freed, or when it will be once its engines let go of it. */
  drop(region: Region): Promise<void> {
    return this.#serial.run(async () => {
      if (this.#regions.delete(region.handle)) await this.#discard(region);
    });
  }

  /** One more lease on `engine`: every region becomes reachable for it. */
  useEngine(engine: EngineHost): Promise<void> {
    return this.#serial.run(async () => {
      const leases = this.#leases.get(engine) ?? 0;
      try {
        if (leases === 0) for (const region of this.#regions.values()) await this.#attachAgain(region, engine);
      } catch (error) {
        await this.#detachAll(engine);
        throw error;
      }
      this.#leases.set(engine, leases + 1);
    });
  }

  /** One lease less; after the last one on an engine no region is reachable for it. */
  releaseEngine(engine: EngineHost): Promise<void> {
    return this.#serial.run(async () => {
      const leases = this.#leases.get(engine) ?? 0;
      if (leases > 1) this.#leases.set(engine, leases - 1);
      if (leases !== 1) return;
      this.#leases.delete(engine);
      await this.#detachAll(engine);
    });
  }

  #create(bytes: number, pinLimit: number, staging: boolean): Region {
    const { pins, slots, number: domain, tenant } = this.#options;
    pins.charge(tenant, bytes, pinLimit);
    const handle = this.#handles.allocate();
    try {
      if (handle === undefined) throw new Refusal('regionLimit', 'bytes', bytes);
      const fd = createMemoryFile('ringwarden:region', bytes);
      this.#markStaging(handle, staging);
      const onFreed = (): void => {
        this.#markStaging(handle, false);
        this.#handles.free(handle);
        pins.release(tenant, bytes);
      };
      return new Region({
        domain,
        tenant,
        handle,
        bytes,
        staging,
        fd,
        slots,
        // Staging memory is the server's own: no client ever maps it.
        dma: staging ? 'direct' : this.dma,
        pins: { charge: () => pins.charge(tenant, bytes, pinLimit), release: () => pins.release(tenant, bytes) },
        onFreed,
      });
    } catch (error) {
      if (handle !== undefined) this.#handles.free(handle);
      pins.release(tenant, bytes);
      if (error instanceof Refusal) throw error;
      this.#options.log.error('no memory file could be made', { domain: this.number, bytes, error: messageOf(error) });
      throw new Refusal('regionLimit', 'bytes', bytes);
    }
  }

  #markStaging(handle: number, staging: boolean): void {
    const slot = handle & 0xffff;
    if (slot >= this.#staging.length) {
      if (!staging) return;
      const longer = new Uint8Array(2 ** Math.ceil(Math.log2(slot + 1)));
      longer.set(this.#staging);
      this.#staging = longer;
    }
    this.#staging[slot] = staging ? 1 : 0;
  }

  async #attachAgain(region: Region, engine: EngineHost): Promise<void> {
    if (region.sealed) {
      this.#options.log.info('a region that a client has mapped stays out of reach', {
        domain: this.number,
        region: region.handle,
        device: engine.name,
      });
      return;
    }
    // Left over from an earlier lease whose end the engine could not confirm.
    if (region.attached.has(engine)) await within(region.forceDetach(engine), DETACH_MILLISECONDS, 'detaching memory');
    await region.attach(engine);
  }

  async #detachAll(engine: EngineHost): Promise<void> {
    const attached = [...this.#regions.values()].filter((region) => region.attached.has(engine));
    const results = await Promise.allSettled(attached.map((region) => within(region.forceDetach(engine), DETACH_MILLISECONDS, 'detaching memory')));
    for (const result of results) {
      if (result.status === 'fulfilled') continue;
      this.#options.log.warn('memory stays attached', { domain: this.number, device: engine.name, error: messageOf(result.reason) });
    }
  }

  /** Hands a region to the quarantine, and waits a while for it to come out. */
  async #discard(region: Region): Promise<void> {
    try {
      await within(this.#options.quarantine.release(region), DETACH_MILLISECONDS, 'freeing memory');
    } catch (error) {
      this.#options.log.warn('memory stays in quarantine', { domain: this.number, region: region.handle, error: messageOf(error) });
    }
  }
}
