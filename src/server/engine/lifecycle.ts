/**
 * The controller's life: opened, reset, lost, brought back, closed; and what that does to the leases on it.
 *
 * Its tasks are parts of those of `Device`, which run one at a time.
 */
import { Code } from '../../protocol/index.js';
import type { NvmeDriver, NvmeFacts } from '../../hw/nvme/index.js';
import { HardwareError, type Clock, type Task } from '../../hw/task.js';
import { Refusal, type DeviceState } from './api.js';
import type { EnginePost } from './control.js';
import type { Holders } from './holders.js';
import type { Lease } from './lease.js';
import { QueuePairs } from './pairs.js';
import type { RequestPath } from './request-path.js';

/** What a device is made of. */
export interface DeviceParts {
  readonly driver: NvmeDriver;
  readonly path: RequestPath;
  readonly clock: Clock;
  readonly post: EnginePost;
}

export class Lifecycle {
  state: DeviceState = 'closed';
  lostReason = '';
  resets = 0;
  /** Controller resets that have ended, well or not. */
  resetsEnded = 0;
  /** Wipes and other work of the server that needs the device open. */
  users = 0;
  readonly pairs: QueuePairs;
  readonly #parts: DeviceParts;
  readonly #holders: Holders;
  /** What the leases were judged by. */
  #facts: NvmeFacts | undefined;

  constructor(parts: DeviceParts, holders: Holders) {
    this.#parts = parts;
    this.#holders = holders;
    this.pairs = new QueuePairs(parts, holders, this);
  }

  /** @throws {@link Refusal} `deviceLost`, `deviceUnavailable`. */
  *open(): Task<void> {
    if (this.state === 'open') return;
    if (this.state === 'lost') throw new Refusal('deviceLost', 'device', this.lostReason);
    try {
      yield* this.#parts.driver.open();
      this.#facts = this.#parts.driver.facts;
      this.state = 'open';
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      this.#parts.post.log('error', 'the device could not be opened', { error: error.message });
      if (error.code === 'lost') throw new Refusal('deviceLost', 'device', error.message);
      throw new Refusal('deviceUnavailable', 'device');
    }
  }

  *closeIfUnused(): Task<void> {
    if (this.state !== 'open' || this.#holders.leases.size > 0 || this.users > 0) return;
    yield* this.pairs.deleteShared();
    if (this.state !== 'open') return;
    this.state = 'closed';
    yield* this.#parts.driver.close();
  }

  /** Resets the controller, if that is still `needed` when its turn comes. True if it did. */
  *reset(reason: string, needed: () => boolean = () => true): Task<boolean> {
    if (this.state !== 'open' || !needed()) return false;
    const { driver, post } = this.#parts;
    this.state = 'resetting';
    this.resets++;
    post.log('warn', 'controller reset', { reason });
    for (const lease of this.#holders.leases.values()) lease.active = false;
    try {
      yield* driver.disable();
      this.pairs.forget(Code.reset);
      yield* driver.enable();
      this.#checkUnchanged();
      this.#checkNotLost();
      this.state = 'open';
      for (const lease of yield* this.#resume()) post.event('reset', [lease.handle, lease.generation, reason]);
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      this.declareLost(error.message);
      yield* this.goDown();
    } finally {
      this.resetsEnded++;
    }
    return true;
  }

  /** Ends everything that waits for the device at once; `goDown` follows. */
  declareLost(reason: string): void {
    if (this.state !== 'lost') this.#parts.post.event('deviceLost', [reason]);
    this.state = 'lost';
    this.lostReason = reason;
    for (const lease of this.#holders.leases.values()) lease.active = false;
    this.pairs.abandon();
  }

  /** Closes a lost device. Where it is not known whether it still writes, its commands and their memory stay until it is opened again. */
  *goDown(): Task<void> {
    if (yield* this.#parts.driver.close()) this.pairs.forget(Code.deviceLost);
  }

  /** Tries to bring a lost device back. True if it worked. */
  *revive(): Task<boolean> {
    if (this.state !== 'lost') return false;
    try {
      yield* this.#parts.driver.open();
      // Opening disabled the controller: whatever it was still at has ended.
      this.pairs.forget(Code.deviceLost);
      this.#checkUnchanged();
      this.state = 'open';
      const resumed = yield* this.#resume();
      this.lostReason = '';
      this.#parts.post.event('deviceRestored', [resumed.map((lease) => ({ lease: lease.handle, generation: lease.generation }))]);
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      this.declareLost(error.message);
      yield* this.goDown();
      return false;
    }
    yield* this.closeIfUnused();
    return true;
  }

  /** Leases go on after the controller was enabled again only on a device that is what they were judged by. @throws HardwareError `unsupported` */
  #checkUnchanged(): void {
    const [before, now] = [this.#facts, this.#parts.driver.facts];
    if (before === undefined || this.#holders.leases.size === 0) return;
    const same =
      now.maxTransferBytes >= before.maxTransferBytes &&
      before.namespaces.every((old) =>
        now.namespaces.some(({ id, blocks, blockBytes }) => id === old.id && blocks >= old.blocks && blockBytes === old.blockBytes),
      );
    if (!same) throw new HardwareError('unsupported', 'the device is not what it was: its leases have to be closed');
  }

  /** Somebody may have found out on the way that the device is gone. @throws HardwareError `lost` */
  #checkNotLost(): void {
    if (this.state === 'lost') throw new HardwareError('lost', this.lostReason);
  }

  /** Leases go on with new generations and new hardware queues; returns which. One for which no queue pair is left is put out. */
  *#resume(): Task<Lease[]> {
    const resumed: Lease[] = [];
    for (const lease of [...this.#holders.leases.values()]) {
      if (lease.closing) continue;
      lease.generation = this.#holders.nextGeneration();
      try {
        for (const queue of lease.queues) if (queue !== undefined) yield* this.pairs.connect(queue);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        this.#parts.post.event('revoked', [lease.handle, 'no queue pair is left for it']);
        continue;
      }
      if (this.state !== 'open') throw new HardwareError('lost', this.lostReason);
      lease.active = !lease.closing;
      resumed.push(lease);
    }
    return resumed;
  }
}
