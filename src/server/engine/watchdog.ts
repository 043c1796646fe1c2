/**
 * Looks after commands that do not end and a controller that does not work. The ladder for a command: abort it; then delete that lease's queues; then
 * reset the controller. One tenant's timeout never ends another's work on the shared queue: there the command keeps its memory, and a tenant that causes
 * several is put out.
 */
import { Code } from '../../protocol/index.js';
import type { QueuePair } from '../../hw/nvme/index.js';
import { HardwareError, type Clock, type Task } from '../../hw/task.js';
import type { EnginePost } from './control.js';
import type { Device } from './device.js';
import type { Lease } from './lease.js';
import type { RequestPath } from './request-path.js';
import type { Tasks } from './tasks.js';

const SCAN_MS = 50;
const HEALTH_MS = 1_000;
const SETTLE_MS = 1_000;
const REVIVE_MS = 2_000;
/** Part of a shared queue pair that commands may hold that were given up and do not end, before the controller is reset. */
const MAX_GIVEN_UP = 0.25;

export class Watchdog {
  readonly #device: Device;
  readonly #path: RequestPath;
  readonly #tasks: Tasks;
  readonly #clock: Clock;
  readonly #post: EnginePost;
  readonly #timeout: number;
  #nextScan = 0;
  #nextHealth = 0;
  #checking = false;

  constructor(device: Device, path: RequestPath, tasks: Tasks, clock: Clock, post: EnginePost, timeout: number) {
    this.#device = device;
    this.#path = path;
    this.#tasks = tasks;
    this.#clock = clock;
    this.#post = post;
    this.#timeout = timeout;
  }

  /** Milliseconds until it wants to look again. An idle open device is looked at once a second, a closed one never. */
  wait(now: number): number {
    if (this.#device.state === 'closed') return Infinity;
    const scan = this.#device.commandsInFlight() > 0 ? this.#nextScan - now : Infinity;
    return Math.max(0, Math.min(scan, this.#nextHealth - now));
  }

  turn(now: number): void {
    if (this.#device.state === 'closed') return;
    if (now >= this.#nextScan) {
      this.#nextScan = now + SCAN_MS;
      for (const pair of this.#path.tables.keys()) this.#scan(pair, now);
      for (const lease of this.#device.leases.values()) if (lease.tenant.isOut(now) && !lease.closing) this.#putOut(lease);
    }
    if (now >= this.#nextHealth && !this.#checking) {
      this.#nextHealth = now + (this.#device.state === 'lost' ? REVIVE_MS : HEALTH_MS);
      this.#checking = true;
      this.#start('health', this.#check());
    }
  }

  /** Something showed that the controller is not to be believed, or is gone. */
  failed(error: HardwareError): void {
    if (this.#device.state !== 'open') return;
    this.#post.log('error', 'device failure', { code: error.code, error: error.message });
    if (error.code === 'lost') this.#start('lose', this.#device.lose(error.message));
    else this.#start('reset', this.#device.resetController(error.message));
  }

  /** The backing is lost, for good. */
  gone(reason: string): void {
    this.#post.log('error', 'device failure', { code: 'lost', error: reason });
    this.#start('leave', this.#device.leave(reason));
  }

  #scan(pair: QueuePair, now: number): void {
    if (pair.count === 0) return;
    const table = this.#path.tables.get(pair);
    if (table === undefined) return;
    let given = 0;
    for (let slot = 0; slot < pair.capacity; slot++) {
      if (pair.inFlight[slot] !== 1 || now - pair.submittedAt[slot] < this.#timeout) continue;
      // An own queue is deleted with all that its lease gave up; that may be under way just now, and is nobody else's business.
      if (table.abandoned[slot] === 1 && table.asker[slot]?.owner.kind !== 'own') given++;
      if (table.timedOut[slot] === 1) continue;
      table.timedOut[slot] = 1;
      // One that its client gave up, by a reset or an end, counts like one that was waited for.
      if (table.abandoned[slot] === 1) table.asker[slot]?.owner.strike(now);
      else this.#start('timeout', this.#climb(pair, slot));
    }
    if (given > pair.capacity * MAX_GIVEN_UP && !pair.closed) {
      this.failed(new HardwareError('timeout', `${given} commands of queue ${pair.id} that were given up do not end`));
    }
  }

  *#climb(pair: QueuePair, slot: number): Task<void> {
    const table = this.#path.tables.get(pair);
    const queue = table?.waiting(slot);
    if (table === undefined || queue === undefined) return;
    const identifier = pair.commandId(slot);
    const stuck = (): boolean => this.#path.tables.get(pair) === table && table.waiting(slot) === queue && pair.commandId(slot) === identifier;
    const lease = queue.owner;
    this.#post.log('warn', 'a command does not end: abort', { tenant: lease.tenant.name, lease: lease.handle, pair: pair.id });
    try {
      yield* this.#device.driver.abort(pair, slot);
      const deadline = this.#clock() + SETTLE_MS;
      while (stuck() && this.#clock() < deadline) yield 5;
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      if (stuck() && (yield* this.#device.resetController(`an abort got no answer: ${error.message}`))) lease.strike(this.#clock());
      return;
    }
    if (!stuck() || lease.closing) return;
    if (lease.kind === 'own') {
      yield* this.#device.recoverQueue(lease, 'a command did not end', stuck);
    } else {
      this.#path.abandon(pair, slot, Code.timeout);
      lease.strike(this.#clock());
    }
  }

  #putOut(lease: Lease): void {
    lease.active = false;
    lease.closing = true;
    this.#post.event('revoked', [lease.handle, 'commands of the tenant do not end']);
    this.#start('revoke', this.#device.closeLease(lease.handle, Code.revoked));
  }

  *#check(): Task<void> {
    try {
      if (this.#device.state === 'lost') yield* this.#device.revive();
      else if (this.#device.state === 'open' && !(yield* this.#device.driver.healthy()) && this.#device.state === 'open') {
        yield* this.#device.resetController('the controller reports fatal status');
      }
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      this.failed(error.code === 'timeout' ? new HardwareError('lost', error.message) : error);
    } finally {
      this.#checking = false;
    }
  }

  #start(name: string, task: Task<unknown>): void {
    this.#tasks.start(
      name,
      task,
      () => {},
      (error) => this.#post.log('error', `${name} failed`, { error: error instanceof Error ? error.message : String(error) }),
    );
  }
}
