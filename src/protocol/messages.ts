/**
 * The control messages, as maps that msgpack carries. Requests have an `id` that rises; the answer carries the same one.
 *
 * The messages of the path of a request are `submit` and `completions`; they have no id and carry whole entries (see `entry.ts` and
 * `completion.ts`), so that a socket session and a shared-memory ring speak of the same bytes.
 */
import type { OperationName } from './operations.js';

/** Version of this protocol; also in the name of the WebSocket subprotocol. */
export const PROTOCOL_VERSION = 1;
export const SUBPROTOCOL = 'ringwarden.v1';

/** Hold on a device: alone, or beside others. */
export type LeaseMode = 'exclusive' | 'shared';
/** Hardware queue pairs: of the lease's own, or the server's, shared with other leases by credits. */
export type QueueKind = 'own' | 'shared';

/** One window of blocks that a lease may use. Blocks are counted from its start; the client never learns where it lies. */
export interface ShareInfo {
  index: number;
  name: string;
  /** Number of logical blocks. */
  blocks: number;
  /** Bytes of a logical block. */
  blockBytes: number;
  access: ('read' | 'write')[];
  operations: OperationName[];
  /** Most blocks in one request. */
  maxBlocks: number;
}

export interface DeviceInfo {
  name: string;
  /** Device class, for example `nvme`. */
  class: string;
  state: 'closed' | 'open' | 'resetting' | 'lost';
  /** Whether nothing of an earlier holder is left. */
  free: boolean;
  /** What keeps the device from being free, in words; empty when free. */
  heldBy: string[];
  shares: ShareInfo[];
}

export interface LeaseInfo {
  lease: number;
  generation: number;
  device: string;
  mode: LeaseMode;
  queues: QueueKind;
  shares: ShareInfo[];
  /** Interrupt vectors of this lease, numbered from 0. */
  vectors: number;
  /** Most requests in flight over all queues of the lease. */
  maxInFlight: number;
}

/** What a client learns about its ring (R35). Addresses are not part of it. */
export interface QueueInfo {
  queue: number;
  entries: number;
  ringVersion: number;
  /** Bytes of memory that the request ring takes, its indices included. */
  requestBytes: number;
  /** Bytes of memory that the completion ring takes, its indices included. */
  completionBytes: number;
  /** The lease's interrupt vector that completions of this queue raise. */
  vector: number;
  /** The hardware ring behind it. */
  hardware: { kind: QueueKind; submissionEntries: number; submissionBytes: number; completionEntries: number; completionBytes: number };
}

/** What fetches memory from the descriptor socket, once, within a few seconds. */
export interface TicketInfo {
  ticket: Uint8Array;
  /** Path of the descriptor socket. */
  path: string;
}

/** A ring of the hardware that a client may read: entries at the start of a file of whole pages. */
export interface RingInfo {
  entries: number;
  /** Bytes of one entry. */
  entryBytes: number;
  /** Bytes of the file. */
  bytes: number;
}

/** What fetches the hardware's rings of a queue, and what they look like. */
export interface ViewInfo extends TicketInfo {
  /** Of the lease: with it the view ends. */
  generation: number;
  /** A mirror of the submission queue, with regions and offsets in place of bus addresses. */
  submission: RingInfo;
  /** The hardware's completion queue itself. */
  completion: RingInfo;
}

/** Whose event descriptor is bound: one that the client sends with its ticket, or one that the server makes and hands over for it. */
export type EventfdSource = 'client' | 'server';

/** What a vector is bound to. */
export interface VectorInfo {
  /** Events of the session. */
  session: boolean;
  /** An event descriptor. */
  eventfd: boolean;
  /** How often it fired since it was bound to anything. */
  interrupts: number;
  /** How often the event descriptor that is bound now was signalled. */
  signals: number;
}

/** Registers that may be read, of a BAR: whole accesses of `width` bytes, inside. */
export interface ReadableAreaInfo {
  name: string;
  /** Bytes from the start of the BAR. */
  offset: number;
  bytes: number;
  width: 1 | 2 | 4;
}

/** A BAR of the PCI function, or its expansion ROM. Where it lies on the bus is not told. */
export interface PciRegionInfo {
  /** Of the BAR's (first) register, 0 to 5; 6: the expansion ROM. */
  index: number;
  /** `BAR0` to `BAR5`, or `ROM`. */
  name: string;
  kind: 'memory' | 'io' | 'rom';
  bytes: number;
  is64: boolean;
  prefetchable: boolean;
  /** What of it may be read with `readPciRegister`: nothing else. */
  readable: ReadableAreaInfo[];
}

export interface RegionInfo {
  region: number;
  bytes: number;
}

/** Fields of each request that has an answer, beside `type` and `id`. */
export interface Requests {
  hello: { version: number; tenant?: string; token?: string; client?: string };
  listDevices: Record<never, never>;
  /** Makes a domain, or joins one of the same tenant by its number. */
  setDomain: { domain?: number };
  unsetDomain: Record<never, never>;
  /** With `ringViews` the hardware's rings of its `own` queue pairs can be asked for. */
  openDevice: { device: string; mode: LeaseMode; queues: QueueKind; ringViews?: boolean };
  closeDevice: { lease: number };
  openQueue: { lease: number; entries: number };
  closeQueue: { lease: number; queue: number };
  /** Asks for the rings of a queue that was not used yet. From then on it takes no `submit`. */
  shareQueue: { lease: number; queue: number };
  /** Asks for the hardware's rings behind a queue, to read. */
  viewQueue: { lease: number; queue: number };
  mapMemory: { bytes: number };
  unmapMemory: { region: number };
  /** Asks for the memory of a region. No request can use it until `sealRegion`. */
  shareRegion: { region: number };
  /** The client has mapped the memory: it is sealed, and requests can use it again. */
  sealRegion: { region: number };
  writeMemory: { region: number; offset: number; data: Uint8Array };
  readMemory: { region: number; offset: number; length: number };
  resetLease: { lease: number };
  /** Asks for an `interrupt` event each time the vector fires (`enable: true`), or for no more. */
  bindVector: { lease: number; vector: number; enable: boolean };
  /**
   * Asks for an event descriptor to be signalled each time the vector fires, beside the events: at once when it was not for `microseconds`, else after them, or
   * as soon as `events` interrupts wait. It is bound when the ticket is used; the one before is released then.
   */
  bindEventfd: { lease: number; vector: number; source: EventfdSource; microseconds?: number; events?: number };
  /** Releases the event descriptor of the vector, if there is one. */
  unbindEventfd: { lease: number; vector: number };
  vectorState: { lease: number; vector: number };
  /** Reads the lease's virtual configuration space. `width`: 1, 2 or 4 bytes; `offset` is a multiple of it. */
  readPciConfig: { lease: number; offset: number; width: number };
  /** Writes it. The function is never written. */
  writePciConfig: { lease: number; offset: number; width: number; value: number };
  listPciRegions: { lease: number };
  /** Reads a register of the function, in an area that `listPciRegions` names. */
  readPciRegister: { lease: number; bar: number; offset: number; width: number };
  /** Reads the expansion ROM's shadow, while its enable bit is set in the virtual configuration space. */
  readPciRom: { lease: number; offset: number; length: number };
  /** The state of a granted device; with `wait`, the answer comes once nothing of an earlier holder is left. */
  deviceState: { device: string; wait?: boolean };
  ping: Record<never, never>;
}
export type RequestType = keyof Requests;

/** Fields of each answer, beside `type: 'answer'` and `id`. */
export interface Answers {
  hello: { session: number; tenant: string; server: string; isolation: 'uid' | 'token' | 'none'; limits: SessionLimits };
  listDevices: { devices: DeviceInfo[] };
  setDomain: { domain: number; pinLimit: number };
  unsetDomain: Record<never, never>;
  openDevice: LeaseInfo;
  closeDevice: Record<never, never>;
  openQueue: QueueInfo;
  closeQueue: Record<never, never>;
  shareQueue: TicketInfo;
  viewQueue: ViewInfo;
  mapMemory: RegionInfo;
  unmapMemory: Record<never, never>;
  shareRegion: TicketInfo;
  sealRegion: Record<never, never>;
  writeMemory: Record<never, never>;
  readMemory: { data: Uint8Array };
  resetLease: { generation: number };
  bindVector: Record<never, never>;
  bindEventfd: TicketInfo;
  unbindEventfd: Record<never, never>;
  vectorState: VectorInfo;
  readPciConfig: { value: number };
  /** `resetAsked`: the write asked for a function-level reset, which was noted and not done. */
  writePciConfig: { resetAsked: boolean };
  listPciRegions: { regions: PciRegionInfo[] };
  readPciRegister: { value: number };
  readPciRom: { data: Uint8Array };
  deviceState: DeviceInfo;
  ping: Record<never, never>;
}

export interface SessionLimits {
  messageBytes: number;
  batch: number;
  regions: number;
  regionBytes: number;
  pinBytes: number;
  leases: number;
  queuesPerLease: number;
  ringEntries: number;
  /** Bytes of data that inline requests in flight may have together. */
  stagingBytes: number;
}

/** A request with its type and id, as it travels. */
export type RequestMessage = { [Type in RequestType]: { type: Type; id: number } & Requests[Type] }[RequestType];

/** Requests on their way to a queue. `data` holds the data of the inline writes, compares and attachments, in the order of the entries. */
export interface SubmitMessage {
  type: 'submit';
  lease: number;
  queue: number;
  /** Whole 64-byte entries. */
  entries: Uint8Array;
  data?: Uint8Array;
}

/** Completions on their way back. `data` holds what the inline reads that succeeded read, in the order of the completions. */
export interface CompletionsMessage {
  type: 'completions';
  lease: number;
  queue: number;
  /** Whole 32-byte completions. */
  entries: Uint8Array;
  data?: Uint8Array;
}

export type AnswerMessage = { type: 'answer'; id: number } & Record<string, unknown>;

/** A refusal or a fault. `id` is that of the request, or 0 for a submit or for a message that could not be read. After a fault the connection closes. */
export interface ErrorMessage {
  type: 'error';
  id: number;
  code: number;
  name: string;
  field: string;
  /** The value that offended, as text. */
  value: string;
  message: string;
  /** Where a submit was refused: which one, counted from 1 over all submits of the session. */
  submit?: number;
}

/** What the server tells without being asked. */
export type EventMessage =
  | { type: 'event'; event: 'interrupt'; lease: number; vector: number; count: number }
  | { type: 'event'; event: 'namespaceChanged'; lease: number; share: number }
  | { type: 'event'; event: 'reset'; lease: number; generation: number; reason: string }
  | { type: 'event'; event: 'revoked'; lease: number; reason: string }
  | { type: 'event'; event: 'deviceLost'; device: string; lease: number; reason: string }
  | { type: 'event'; event: 'deviceRestored'; device: string; lease: number; generation: number }
  | { type: 'event'; event: 'holderGone'; device: string }
  | { type: 'event'; event: 'draining'; milliseconds: number };

export type ServerMessage = AnswerMessage | ErrorMessage | EventMessage | CompletionsMessage;
