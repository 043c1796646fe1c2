/** All domains of the server. */
import type { EngineHost, RegionDma } from '../engine/api.js';
import { Refusal } from '../engine/api.js';
import type { Log } from '../log.js';
import { Domain } from './domain.js';
import { PinAccounts } from './pins.js';
import { Quarantine } from './quarantine.js';
import { DeviceSlots } from './slots.js';

export class DomainRegistry {
  readonly pins = new PinAccounts();
  readonly #slots: DeviceSlots;
  readonly #domains = new Map<number, Domain>();
  readonly #quarantine: Quarantine;
  readonly #log: Log;
  #last = 0;

  /** `tenants`: how many the configuration has now. */
  constructor(engines: Iterable<EngineHost>, log: Log, tenants: () => number) {
    this.#log = log;
    this.#slots = new DeviceSlots(tenants);
    this.#quarantine = new Quarantine(log);
    for (const engine of engines) {
      engine.on('free', () => this.#quarantine.retry(engine));
      engine.on('deviceRestored', () => this.#quarantine.retry(engine));
    }
  }

  /** A new domain of the tenant. It has no user yet. Numbers are never used again. */
  create(tenant: string, dma: RegionDma): Domain {
    const number = ++this.#last;
    const onEnd = (): void => {
      this.#domains.delete(number);
    };
    const domain = new Domain({ number, tenant, dma, pins: this.pins, slots: this.#slots, quarantine: this.#quarantine, log: this.#log, onEnd });
    this.#domains.set(number, domain);
    return domain;
  }

  /** @throws {@link Refusal} `unknownDomain`, also for the domain of another tenant: the two cannot be told apart. */
  find(tenant: string, number: number): Domain {
    const domain = this.#domains.get(number);
    if (domain?.tenant !== tenant) throw new Refusal('unknownDomain', 'domain', number);
    return domain;
  }

  get count(): number {
    return this.#domains.size;
  }

  /** Bytes that wait until a device can no longer write to them. */
  get quarantineBytes(): number {
    return this.#quarantine.bytes;
  }
}
