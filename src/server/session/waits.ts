/** Answers to `deviceState` that are owed until nothing of an earlier holder of the device is left (R23). */
import { Refusal } from '../engine/api.js';
import { encode } from '../wire/index.js';
import { describeDevice } from './describe.js';
import type { Session } from './session.js';

/** Answers that may be owed at a time. */
const MAX_WAITS = 16;

export class DeviceWaits {
  readonly #session: Session;
  /** Device by id of the request. */
  readonly #devices = new Map<number, string>();

  constructor(session: Session) {
    this.#session = session;
  }

  /** @throws {@link Refusal} `tooManyMessages`. */
  add(id: number, device: string): void {
    if (this.#devices.size >= MAX_WAITS) throw new Refusal('tooManyMessages', 'wait', this.#devices.size);
    this.#devices.set(id, device);
  }

  /** Whether the answer was still owed; it no longer is. */
  remove(id: number): boolean {
    return this.#devices.delete(id);
  }

  clear(): void {
    this.#devices.clear();
  }

  /** The device may be free now. */
  async check(device: string): Promise<void> {
    const session = this.#session;
    for (const [id, waited] of [...this.#devices]) {
      if (waited !== device) continue;
      const engine = session.services.engines.get(device);
      const grant = session.tenant.grants.get(device);
      try {
        if (engine === undefined || grant === undefined) throw new Refusal('notInGrant', 'device', device);
        const info = await describeDevice(engine, grant, session.tenantName);
        if (info.free && this.remove(id)) session.outlet.send(encode({ type: 'answer', id, ...info }));
      } catch (error) {
        if (this.remove(id)) session.refuse(error, id);
      }
    }
  }
}
