/**
 * Handles of a domain's regions: `slot | sequence << 16`.
 *
 * The slot is an index for the engines; the sequence makes the handle of a region that is gone name nothing. A slot rests before it is used again,
 * so that a handle comes back only after the slot's sequence ran through all its values.
 */

/** Slots that rest before the first of them is used again. */
const RESTING = 64;
/** The last slot is never used: no handle is 0xffff_xxxx. */
const MAX_SLOTS = 65_535;
const LAST_SEQUENCE = 0xffff;

export class HandleTable {
  /** The sequence that each slot was last used with. It is never 0, so no handle is 0. */
  readonly #sequences: number[] = [];
  readonly #resting: number[] = [];

  /** A handle that is not in use, or undefined when all slots are. */
  allocate(): number | undefined {
    const slot = this.#slot();
    if (slot === undefined) return undefined;
    const sequence = this.#sequences[slot] === LAST_SEQUENCE ? 1 : this.#sequences[slot] + 1;
    this.#sequences[slot] = sequence;
    return ((sequence << 16) | slot) >>> 0;
  }

  /** The caller knows that no engine has anything in the slot. */
  free(handle: number): void {
    this.#resting.push(handle & 0xffff);
  }

  #slot(): number | undefined {
    if (this.#resting.length >= RESTING || this.#sequences.length === MAX_SLOTS) return this.#resting.shift();
    return this.#sequences.push(0) - 1;
  }
}
