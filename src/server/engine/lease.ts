/** A session's hold on a device, as the engine knows it. */
import type { DeviceDomain, ShownEnd } from '../../hw/dma/index.js';
import type { LeaseMode, QueueKind } from '../../protocol/index.js';
import type { Grant } from '../../validator/index.js';
import type { ClientQueue } from './client-queue.js';
import type { TenantState } from './tenant-state.js';

/** Where a share lies on the device. The client never learns it. */
export interface Window {
  readonly namespace: number;
  readonly firstBlock: number;
}

export class Lease {
  readonly handle: number;
  readonly tenant: TenantState;
  readonly session: number;
  readonly domainId: number;
  readonly domain: DeviceDomain;
  readonly mode: LeaseMode;
  readonly kind: QueueKind;
  readonly maxQueues: number;
  /** The holder may be shown the rings of its own queue pairs, which end in this way. */
  readonly ringViews?: ShownEnd | undefined;
  /** What the validator judges by, and where each share lies: replaced together. */
  grant: Grant;
  windows: readonly Window[];
  generation: number;
  /** False while it is being reset, revoked or closed: every request is refused. */
  active = true;
  /** Set once it is being closed; nothing brings it back. */
  closing = false;
  /** Requests in flight over all queues, in the eyes of the client. */
  inFlight = 0;
  /** Requests that were given up but that the device may still be working on. They hold their memory. */
  abandoned = 0;
  readonly queues: (ClientQueue | undefined)[] = [];

  constructor(
    fields: Pick<
      Lease,
      'handle' | 'tenant' | 'session' | 'domainId' | 'domain' | 'mode' | 'kind' | 'maxQueues' | 'ringViews' | 'grant' | 'windows' | 'generation'
    >,
  ) {
    this.handle = fields.handle;
    this.tenant = fields.tenant;
    this.session = fields.session;
    this.domainId = fields.domainId;
    this.domain = fields.domain;
    this.mode = fields.mode;
    this.kind = fields.kind;
    this.maxQueues = fields.maxQueues;
    this.ringViews = fields.ringViews;
    this.grant = fields.grant;
    this.windows = fields.windows;
    this.generation = fields.generation;
  }

  /**
   * Counts against the tenant that a command did not even end by an abort, or that it took a controller reset. Whoever holds the device alone harms nobody.
   */
  strike(now: number): void {
    if (this.mode === 'shared') this.tenant.strike(now);
  }
}
