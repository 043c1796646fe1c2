/**
 * Memory on its way out: kept until every engine said that its device can no longer write there, however long that takes.
 *
 * A detach that fails (the device is lost) is tried again when the engine reports that it came back, or that nothing of an earlier holder is left.
 */
import type { EngineHost } from '../engine/api.js';
import type { Log } from '../log.js';
import { messageOf } from '../text.js';
import type { Region } from './region.js';

export class Quarantine {
  readonly #held = new Set<Region>();
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Bytes that cannot be freed yet. */
  get bytes(): number {
    let bytes = 0;
    for (const region of this.#held) bytes += region.bytes;
    return bytes;
  }

  /** Takes a region away from every engine, then frees it. Resolves when it is free, or kept because an engine said no. Never rejects. */
  async release(region: Region): Promise<void> {
    this.#held.add(region);
    await Promise.all([...region.attached].map((engine) => this.#detach(region, engine)));
    if (region.attached.size > 0 || !this.#held.delete(region)) return;
    try {
      region.free();
    } catch (error) {
      this.#log.error('memory could not be freed', { region: region.handle, error: messageOf(error) });
    }
  }

  /** The engine's state changed: what it refused to let go of is asked for again. */
  retry(engine: EngineHost): void {
    for (const region of this.#held) if (region.attached.has(engine)) void this.release(region);
  }

  async #detach(region: Region, engine: EngineHost): Promise<void> {
    try {
      await region.forceDetach(engine);
    } catch (error) {
      this.#log.warn('memory stays in quarantine', { region: region.handle, bytes: region.bytes, device: engine.name, error: messageOf(error) });
    }
  }
}
