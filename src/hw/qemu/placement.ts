/** Slots and bus addresses of hot-plugged memory: pages of one window, first fit. Not for the hot path. */
import { HardwareError } from '../task.js';
import { MEMORY_BASE, MEMORY_BYTES, MEMORY_SLOTS } from './address-map.js';

export interface Place {
  readonly slot: number;
  /** Bus address of the first byte; a number below 2^53. */
  readonly address: number;
  readonly bytes: number;
}

export class Placement {
  /** By address. */
  readonly #taken: Place[] = [];
  readonly #slots = new Uint8Array(MEMORY_SLOTS);

  /** @throws HardwareError `exhausted`. */
  take(bytes: number): Place {
    const slot = this.#slots.indexOf(0);
    if (slot < 0) throw new HardwareError('exhausted', `all ${MEMORY_SLOTS} memory slots of the machine are in use`);
    let address = MEMORY_BASE;
    let at = 0;
    while (at < this.#taken.length && this.#taken[at].address - address < bytes) {
      address = this.#taken[at].address + this.#taken[at].bytes;
      at++;
    }
    if (bytes > MEMORY_BASE + MEMORY_BYTES - address) {
      throw new HardwareError('exhausted', `no ${bytes} bytes of bus addresses are left in one piece`);
    }
    const place = { slot, address, bytes };
    this.#taken.splice(at, 0, place);
    this.#slots[slot] = 1;
    return place;
  }

  release(place: Place): void {
    const at = this.#taken.indexOf(place);
    if (at < 0) throw new Error('a place that is not taken');
    this.#taken.splice(at, 1);
    this.#slots[place.slot] = 0;
  }

  /** Places in use, by address. */
  get taken(): readonly Place[] {
    return this.#taken;
  }
}
