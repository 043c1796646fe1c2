/** One queue of a lease, as its session holds it. */
import type { QueueChannel } from '../engine/api.js';
import type { QueueFiles } from '../handover/index.js';
import { deliver } from './deliver.js';
import type { Outlet } from './outlet.js';
import type { StagingPool } from './staging-pool.js';

/** What a queue needs of its session. */
export interface QueueOwner {
  readonly outlet: Outlet;
  /** The stagings of the session, once a domain is set. */
  readonly stagings: StagingPool | undefined;
  /** Requests were answered: what waited for room may go on. */
  onRoom(): void;
}

export class SessionQueue {
  readonly lease: number;
  /** Index in the lease. */
  readonly index: number;
  /** Number among all queues of the session: whose staging pages are whose. */
  readonly key: number;
  readonly channel: QueueChannel;
  readonly owner: QueueOwner;
  /** What the view of its hardware rings counts, bytes. */
  readonly viewBytes: number;
  /** Requests pushed and not answered. */
  inFlight = 0;
  /** Requests were pushed. */
  used = false;
  /** The rings were asked for: nothing is pushed any more. */
  offered = false;
  /** The memory of its rings, once a client has it. */
  files: QueueFiles | undefined;
  /** It is being closed: nothing more is pushed. */
  closing = false;
  /** A completion that was taken and did not fit into the message before: its words and its cookie. */
  readonly carried = new Uint32Array(8);
  carriedCookie = -1;

  constructor(lease: number, index: number, key: number, channel: QueueChannel, owner: QueueOwner, viewBytes: number) {
    this.lease = lease;
    this.index = index;
    this.key = key;
    this.channel = channel;
    this.owner = owner;
    this.viewBytes = viewBytes;
    channel.onCompletions = () => this.deliver();
  }

  deliver(): number {
    return deliver(this, false);
  }

  /** The queue is gone: passes on what is left of it. `quiet`: the engine no longer has anything to do with it. */
  end(quiet: boolean): void {
    this.files?.revoke(quiet);
    this.channel.onCompletions = () => undefined;
    deliver(this, true);
    this.inFlight = 0;
  }
}
