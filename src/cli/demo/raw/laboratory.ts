/** Machines for the raw halves: one serves several attacks, as long as none of them broke it. */
import type { RawOutcome } from '../types.js';
import { type BackingKind, RawWorld } from './world.js';

export class Laboratory {
  readonly #kind: BackingKind;
  readonly #folder: string;
  #world: RawWorld | undefined;
  #started = 0;

  constructor(kind: BackingKind, folder: string) {
    this.#kind = kind;
    this.#folder = folder;
  }

  /** A machine in which everything is in order. @throws HardwareError */
  async world(): Promise<RawWorld> {
    this.#world ??= await RawWorld.start(this.#kind, this.#folder, this.#started++);
    return this.#world;
  }

  /** Puts the machine in order after an attack, or gives it up. */
  async tidy(outcome: RawOutcome): Promise<void> {
    const world = this.#world;
    if (world === undefined || outcome === 'not-applicable') return;
    const isBroken = outcome === 'crashed' || outcome === 'stalled' || outcome === 'none';
    if (!isBroken) {
      world.restore();
      world.wipeOwnBlocks();
      if ((await world.healthy()) && (await world.corrupted()) === 'none') return;
    }
    await this.dispose();
  }

  async dispose(): Promise<void> {
    const world = this.#world;
    this.#world = undefined;
    await world?.dispose();
  }
}
