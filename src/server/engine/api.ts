/**
 * The main thread's face of one I/O engine: what sessions, administration and metrics ask of a device.
 *
 * Everything here is for the control plane; requests travel through a {@link QueueChannel}. Promises reject with a {@link Refusal}, or with a
 * HardwareError-like Error when the device failed.
 */
import type { EventEmitter } from 'node:events';
import type { ShownEnd } from '../../hw/dma/index.js';
import type { CodeName, LeaseMode, QueueKind } from '../../protocol/index.js';
import type { PciCalls } from './pci-api.js';
import type { RingFiles } from './shared-rings.js';

/** A "no" with its reason; what a client is shown of it is code, field and value. */
export class Refusal extends Error {
  readonly code: CodeName;
  readonly field: string;
  readonly value: string;
  constructor(code: CodeName, field = '', value: string | number | bigint = '') {
    super(`${code}${field === '' ? '' : ` at ${field}`}${value === '' ? '' : `: ${value}`}`);
    this.name = 'Refusal';
    this.code = code;
    this.field = field;
    this.value = String(value);
  }
}

export interface NamespaceFacts {
  /** Namespace identifier on the device. Never shown to a tenant. */
  readonly id: number;
  readonly blocks: number;
  /** Bytes of a logical block. */
  readonly blockBytes: number;
}

/** What the probe at start learned. */
export interface DeviceFacts {
  readonly class: string;
  readonly model: string;
  readonly serial: string;
  readonly firmware: string;
  /** Interrupt vectors in use: the smaller of the MSI-X table and the configured ceiling (R11). */
  readonly vectors: number;
  /** I/O queue pairs that the device gave us. */
  readonly queuePairs: number;
  /** Largest entries of one hardware queue. */
  readonly queueEntries: number;
  /** Most bytes of data in one command. */
  readonly maxTransferBytes: number;
  /** Memories that the device can reach at a time, the server's own among them; left out where nothing but their bytes counts. */
  readonly memorySlots?: number | undefined;
  readonly namespaces: readonly NamespaceFacts[];
  /** The backing's kind and description (R33). */
  readonly backing: string;
  readonly description: string;
}

/** A share as the engine needs it: a window of a namespace with rights. */
export interface ShareGrant {
  readonly name: string;
  readonly namespace: number;
  readonly firstBlock: number;
  readonly blocks: number;
  /** Bits of `Right`. */
  readonly access: number;
  /** Mask of `1 << operation`. */
  readonly operations: number;
}

export interface Rates {
  /** Requests a second; 0: no limit. */
  readonly operations: number;
  /** Bytes a second; 0: no limit. */
  readonly bytes: number;
}

export interface OpenLease {
  /** Index of the tenant in the server, 0 and up: the scheduler's and the counters' key. */
  readonly tenant: number;
  readonly tenantName: string;
  /** Share of the device between tenants, 1 to 1000. */
  readonly weight: number;
  readonly rates: Rates;
  readonly session: number;
  readonly domain: number;
  readonly mode: LeaseMode;
  readonly queues: QueueKind;
  readonly shares: readonly ShareGrant[];
  /** Most requests in flight over all queues of the lease. */
  readonly maxInFlight: number;
  readonly maxQueues: number;
  /**
   * The holder may be shown the hardware's rings of its `own` queue pairs. `truncated` for those whom the kernel keeps from opening the files for writing;
   * `orphaned` for user 0 and the server's own user. Left out: never, and no request costs anything for it.
   */
  readonly ringViews?: ShownEnd | undefined;
}

export interface OpenedLease {
  readonly lease: number;
  readonly generation: number;
  /** Vectors of this lease. */
  readonly vectors: number;
  /** Most blocks in one request, for each share. */
  readonly maxBlocks: readonly number[];
}

export interface OpenedQueue {
  readonly queue: number;
  readonly vector: number;
  readonly hardware: { kind: QueueKind; submissionEntries: number; submissionBytes: number; completionEntries: number; completionBytes: number };
  readonly channel: QueueChannel;
}

/** A ring that a client may read, in a memory file of its own. */
export interface ShownRing {
  /** Opened for reading only; the caller's to close. */
  readonly fd: number;
  /** Of the file, whole pages. The entries begin at its start. */
  readonly bytes: number;
  readonly entries: number;
  readonly entryBytes: number;
}

/** The hardware's rings of a queue, as its holder may see them (layout: `hw/nvme/ring-view.ts`). */
export interface HardwareView {
  /** Of the lease: a reset ends the view, and there is another to ask for. */
  readonly generation: number;
  /** A mirror of the submission queue, without bus addresses. */
  readonly submission: ShownRing;
  /** The hardware's own completion queue. */
  readonly completion: ShownRing;
}

/** One queue of a lease, seen from the main thread: an in-process ring pair of the layout in `protocol/ring.ts`. */
export interface QueueChannel {
  readonly entries: number;
  /** How many requests can be pushed now. */
  room(): number;
  /**
   * Copies the entry at `at` (counted in 64-bit halves) into the next slot. `cookie` (0 to 2^31-1) comes back with the completion and never leaves the server.
   * Only when `room()` > 0. Nothing is seen by the engine before `commit`.
   */
  push(entries: BigUint64Array, at: number, cookie: number): void;
  /** Makes the pushed requests visible, and wakes the engine if it sleeps. */
  commit(): void;
  /** Copies the next completion to `at` of `completions` (64-bit halves) and returns its cookie; -1 if there is none. */
  take(completions: BigUint64Array, at: number): number;
  /** Called on the main thread when completions may have arrived. Set once by the owner. */
  onCompletions: () => void;
}

/**
 * How often an event descriptor is signalled: at once when it was not for `microseconds` (0 to 1,000,000), else after them, or as soon as `events` (0 to 65,535;
 * 0: no such number) interrupts wait. Without microseconds every interrupt is told of at once, and `events` has to be 0.
 */
export interface Coalescing {
  readonly microseconds: number;
  readonly events: number;
}

/** What a vector of a lease is bound to, and what came of it since. */
export interface VectorState {
  /** The session is told. */
  readonly session: boolean;
  /** An event descriptor is raised. */
  readonly eventfd: boolean;
  /** How often the vector fired since it was bound to anything. */
  readonly interrupts: number;
  /** How often the event descriptor that is bound now was signalled. */
  readonly signals: number;
}

export type DeviceState = 'closed' | 'open' | 'resetting' | 'lost';

export interface DeviceReport {
  readonly state: DeviceState;
  /** Nothing of an earlier holder is left: no lease, no queue, no memory in quarantine. */
  readonly free: boolean;
  /** What keeps it from being free, in words that name tenants; for the administrator. */
  readonly heldBy: readonly string[];
  readonly leases: readonly {
    lease: number;
    tenant: string;
    session: number;
    mode: LeaseMode;
    queues: QueueKind;
    generation: number;
    inFlight: number;
  }[];
  readonly quarantineBytes: number;
  readonly resets: number;
  /** Names what to do when the state is `lost`. */
  readonly lost: string;
}

/** Events of an engine, in the order in which they happened. */
export interface EngineEvents {
  interrupt: [lease: number, vector: number, count: number];
  namespaceChanged: [lease: number, share: number];
  /** The lease's generation changed, and its requests in flight have been completed with `reset`. */
  reset: [lease: number, generation: number, reason: string];
  /** The engine took the lease away (it causes resets, broke the ring contract, lost its grant). */
  revoked: [lease: number, reason: string];
  /** The client broke the ring contract: the session must end. */
  fault: [lease: number, code: number];
  deviceLost: [reason: string];
  deviceRestored: [leases: readonly { lease: number; generation: number }[]];
  /** The world that the device was in has ended, and its leases with it: nothing but {@link EngineHost.restart} brings the device back. */
  gone: [reason: string];
  /** Nothing of an earlier holder is left. */
  free: [];
  log: [level: 'debug' | 'info' | 'warn' | 'error', message: string, details: Readonly<Record<string, string | number | boolean>>];
}

/** Who may name a region: `client` (everybody), `staging` (sessions alone), `held` (nobody, until it is released). */
export type RegionUse = 'client' | 'staging' | 'held';

/** Whether the device reaches the memory of a region itself, or a copy of it that the engine makes for each request. */
export type RegionDma = 'direct' | 'copied';

export interface EngineHost extends EventEmitter<EngineEvents>, PciCalls {
  readonly name: string;
  readonly facts: DeviceFacts;
  /** Why the world that the device was in has ended; undefined while it is there. */
  readonly gone: string | undefined;

  openLease(request: OpenLease): Promise<OpenedLease>;
  /** Resolves when nothing of it is left: its queues deleted, its requests completed, its memory out of quarantine or given to it. Safe to repeat. */
  closeLease(lease: number, reason: string): Promise<void>;
  openQueue(lease: number, entries: number): Promise<OpenedQueue>;
  closeQueue(lease: number, queue: number): Promise<void>;
  /**
   * Moves a queue that was not used yet to rings in memory files, which a client maps; the engine maps them, and takes the doorbell over. Its channel is of
   * no use from then on. Refused with `notFresh`; nothing was taken then.
   */
  shareQueue(lease: number, queue: number, files: RingFiles): Promise<void>;
  /**
   * New descriptors of the queue's hardware rings. The files are taken away when the queue or its lease ends or is reset, once the device is done with them.
   * Refused with `noRingView` for a lease that did not ask for views or has no queue pairs of its own, and where the backing cannot split its memory further.
   */
  hardwareView(lease: number, queue: number): Promise<HardwareView>;
  /** Ends the lease's requests in flight with `reset`, empties its queues, and returns the new generation. Nobody else notices. */
  resetLease(lease: number): Promise<number>;
  /** Events `interrupt` for the vector, or none any more. */
  bindVector(lease: number, vector: number, enable: boolean): Promise<void>;
  /**
   * Raises an event descriptor when the vector fires, beside the events. `fd` is taken over, also by a call that fails; -1: none any more. Binding again releases
   * the earlier descriptor; the end of the lease releases all. Refused with `unknownVector` at or above the lease's vectors, with `notAnEventfd` for a descriptor
   * of another kind, with `outOfRange` for coalescing that cannot be, with `noSignal` where the machine has no more of them. `owner`: the user whose it is.
   */
  bindVectorDescriptor(lease: number, vector: number, fd: number, coalescing?: Coalescing, owner?: number): Promise<void>;
  /** Refused with `unknownVector` at or above the lease's vectors. */
  vectorState(lease: number, vector: number): Promise<VectorState>;
  /** Bytes of memory that the view of a queue of `entries` takes. */
  ringViewBytes(entries: number): number;
  /** The grant changed: replaced as a whole; an empty list revokes. */
  replaceGrant(lease: number, shares: readonly ShareGrant[]): Promise<void>;
  /** Weight and rates of a tenant as the configuration has them now; in force at once for the leases that it holds. */
  setTenant(tenant: number, weight: number, rates: Rates): Promise<void>;

  /** Makes a memory file of the domain reachable for the device under `handle`. The descriptor stays the caller's, open until `detachRegion` is done. */
  attachRegion(domain: number, handle: number, fd: number, bytes: number, owner: string, use: RegionUse, dma: RegionDma): Promise<void>;
  /** With `held` no request can use the region, without it they can again. Refused with `regionBusy` while requests that use it are in flight. */
  holdRegion(domain: number, handle: number, held: boolean): Promise<void>;
  /**
   * Takes it away. Without `force` it is refused with `regionBusy` while requests that use it are in flight. With `force` no new request can
   * use it, and the promise resolves when the device can no longer write there (the memory is in quarantine until then).
   */
  detachRegion(domain: number, handle: number, force: boolean): Promise<void>;
  /** Requests in flight that use the region. */
  regionInFlight(domain: number, handle: number): Promise<number>;

  report(): Promise<DeviceReport>;
  /** Writes zeroes over a window (a window changes tenant). Progress in blocks. No lease may cover it. */
  wipe(namespace: number, firstBlock: number, blocks: number, progress: (done: number) => void): Promise<void>;
  /** Log page for the administrator, raw bytes. */
  logPage(page: 'smart' | 'error' | 'firmware'): Promise<Uint8Array>;
  /** Controller reset, by the administrator: every lease gets a `reset` event. */
  resetController(reason: string): Promise<void>;
  /** Everything with state, as a tree of plain values, for `inspect`. */
  inspect(): Promise<unknown>;
  /** Statistics that the engine keeps in shared memory; read at any time. */
  readonly counters: CounterView;
  /**
   * After `gone`, once the report says that nothing of an earlier holder is left: ends the thread, prepares the device's world anew, and starts over with a thread
   * in it. Until then everything else is refused with `deviceLost`. It can be tried again. `check` is asked before and after whether
   * the device is what it was, and throws when it is not. @throws HardwareError as long as there is no such world, or another device in it
   */
  restart(check?: () => void): Promise<void>;
  /** Lets requests in flight end (up to `milliseconds`), closes every lease and the device, and ends the thread. */
  close(milliseconds: number): Promise<void>;
}

/** Counters of one tenant on one device. */
export interface TenantCounters {
  /** Requests completed, by operation code. */
  readonly requests: readonly number[];
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** Requests that ended with each code other than 0, by code number. */
  readonly byCode: ReadonlyMap<number, number>;
  readonly inFlight: number;
  readonly resets: number;
  /** Latency from admission to completion: upper bound of each bucket in seconds, count in it, sum in seconds. */
  readonly latency: { readonly bounds: readonly number[]; readonly counts: readonly number[]; readonly sum: number };
}

export interface TraceRecord {
  /** Milliseconds since the epoch. */
  readonly time: number;
  readonly lease: number;
  readonly queue: number;
  readonly operation: number;
  readonly share: number;
  readonly lba: number;
  readonly blocks: number;
  readonly region: number;
  readonly code: number;
  /** Microseconds from admission to completion; 0 for refused requests. */
  readonly microseconds: number;
}

export interface CounterView {
  tenant(index: number): TenantCounters;
  /** The last requests of a tenant, oldest first. */
  trace(index: number): TraceRecord[];
}
