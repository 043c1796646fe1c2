/**
 * Who waits for the end of an earlier holder of a device (R23): answers to `deviceState` that are owed until then, and sessions that were told that the device
 * is not free. Each asked; nobody else hears of what others do with the device.
 */
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
  /** Devices of which the client knows that they were not free. */
  readonly #watched = new Set<string>();

  constructor(session: Session) {
    this.#session = session;
  }

  /** @throws {@link Refusal} `tooManyMessages`. */
  add(id: number, device: string): void {
    if (this.#devices.size >= MAX_WAITS) throw new Refusal('tooManyMessages', 'wait', this.#devices.size);
    this.#devices.set(id, device);
  }

  /** The client was told that the device is not free: it will be told once that it is. */
  watch(device: string): void {
    this.#watched.add(device);
  }

  /** Whether the answer was still owed; it no longer is. */
  remove(id: number): boolean {
    return this.#devices.delete(id);
  }

  clear(): void {
    this.#devices.clear();
    this.#watched.clear();
  }

  /** Nothing of an earlier holder of the device is left, or was a moment ago. */
  async check(device: string): Promise<void> {
    const session = this.#session;
    if (this.#watched.delete(device)) session.event({ type: 'event', event: 'holderGone', device });
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
