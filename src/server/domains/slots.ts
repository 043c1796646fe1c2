/**
 * How many regions of each tenant a device reaches, where its backing has slots for few memories: the one place where they are counted.
 *
 * The server keeps some slots for its own rings. Of the others one half is divided evenly among the tenants of the configuration, and nobody else can have a
 * tenant's part; the other half is for whoever comes first. So no tenant can keep another from mapping.
 */
import { Refusal } from '../engine/api.js';
import type { DeviceFacts, EngineHost } from '../engine/api.js';

/** Slots of the server: memory for each queue pair, twice, as pairs of another size may need other memory, and for what it reads and writes itself. */
const OF_A_PAIR = 2;
const OF_THE_SERVER = 8;

export class DeviceSlots {
  readonly #used = new Map<EngineHost, Map<string, number>>();
  readonly #tenants: () => number;

  /** `tenants`: how many the configuration has now. */
  constructor(tenants: () => number) {
    this.#tenants = tenants;
  }

  /** One more region of the tenant on this device. @throws {@link Refusal} `deviceMemoryLimit` when there is no slot for it; nothing is charged then. */
  charge(engine: EngineHost, tenant: string, bytes: number): void {
    const used = this.#used.get(engine) ?? new Map<string, number>();
    const before = used.get(tenant) ?? 0;
    if (!this.#allows(engine.facts, used, before)) throw new Refusal('deviceMemoryLimit', 'bytes', bytes);
    this.#used.set(engine, used.set(tenant, before + 1));
  }

  release(engine: EngineHost, tenant: string): void {
    const used = this.#used.get(engine);
    const left = (used?.get(tenant) ?? 0) - 1;
    if (left > 0) used?.set(tenant, left);
    else used?.delete(tenant);
  }

  #allows({ memorySlots, queuePairs }: DeviceFacts, used: ReadonlyMap<string, number>, before: number): boolean {
    if (memorySlots === undefined) return true;
    const slots = memorySlots - Math.min(Math.floor(memorySlots / 2), OF_A_PAIR * queuePairs + OF_THE_SERVER);
    const common = Math.floor(slots / 2);
    const part = Math.max(1, Math.floor((slots - common) / this.#tenants()));
    if (before < part) return true;
    let commonUsed = 0;
    for (const count of used.values()) commonUsed += Math.max(0, count - part);
    return commonUsed < common;
  }
}
