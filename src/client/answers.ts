/** Reads the answers of the server: what is not as `protocol/messages.ts` has it throws a ConnectionError. */
import {
  type DeviceInfo,
  type ErrorMessage,
  type LeaseInfo,
  MAX_BLOCKS,
  MAX_REGION_BYTES,
  Operation,
  type OperationName,
  type PciRegionInfo,
  type QueueInfo,
  type RegionInfo,
  type RingInfo,
  RING_VERSION,
  type SessionLimits,
  type ShareInfo,
  TICKET_BYTES,
  type VectorInfo,
  type ViewInfo,
} from '../protocol/index.js';
import { malformed } from './errors.js';
import { bytes, type Fields, flag, list, map, oneOf, positive, text, whole } from './shapes.js';

const U16 = 0xffff;
const U32 = 0xffff_ffff;
const OPERATION_NAMES = Object.keys(Operation) as OperationName[];
const QUEUE_KINDS = ['own', 'shared'] as const;

/** What the server said about the session. */
export interface SessionInfo {
  readonly session: number;
  readonly tenant: string;
  /** Name and version of the server. */
  readonly server: string;
  /** How the tenant was proved; `none`: another program of this machine could undo the isolation. */
  readonly isolation: 'uid' | 'token' | 'none';
  readonly limits: Readonly<SessionLimits>;
}

function readLimits(fields: Fields): SessionLimits {
  return {
    messageBytes: positive(fields, 'messageBytes', U32),
    batch: positive(fields, 'batch', U16),
    regions: whole(fields, 'regions'),
    regionBytes: whole(fields, 'regionBytes'),
    pinBytes: whole(fields, 'pinBytes'),
    leases: whole(fields, 'leases'),
    queuesPerLease: whole(fields, 'queuesPerLease'),
    ringEntries: positive(fields, 'ringEntries', U16),
    stagingBytes: whole(fields, 'stagingBytes'),
  };
}

export const readHello = (answer: Fields): SessionInfo => ({
  session: whole(answer, 'session'),
  tenant: text(answer, 'tenant'),
  server: text(answer, 'server'),
  isolation: oneOf(answer, 'isolation', ['uid', 'token', 'none']),
  limits: readLimits(map(answer, 'limits')),
});

function readShare(holder: Fields, name: string): ShareInfo {
  const fields = map(holder, name);
  // A share on a namespace that is gone has blocks of no bytes.
  const blockBytes = whole(fields, 'blockBytes', U32);
  const blocks = whole(fields, 'blocks');
  if (!Number.isSafeInteger(blocks * blockBytes)) throw malformed(`a share of ${blocks} blocks`);
  return {
    index: whole(fields, 'index', U16),
    name: text(fields, 'name'),
    blocks,
    blockBytes,
    access: list(fields, 'access', (each, key) => oneOf(each, key, ['read', 'write'])),
    operations: list(fields, 'operations', (each, key) => oneOf(each, key, OPERATION_NAMES)),
    maxBlocks: whole(fields, 'maxBlocks', MAX_BLOCKS),
  };
}

export const readDevice = (fields: Fields): DeviceInfo => ({
  name: text(fields, 'name'),
  class: text(fields, 'class'),
  state: oneOf(fields, 'state', ['closed', 'open', 'resetting', 'lost']),
  free: flag(fields, 'free'),
  heldBy: list(fields, 'heldBy', text),
  shares: list(fields, 'shares', readShare),
});

export const readDevices = (answer: Fields): DeviceInfo[] => list(answer, 'devices', (holder, name) => readDevice(map(holder, name)));

export const readDomain = (answer: Fields): { domain: number; pinLimit: number } => ({
  domain: whole(answer, 'domain', U32),
  pinLimit: whole(answer, 'pinLimit'),
});

export const readLease = (answer: Fields): LeaseInfo => ({
  lease: whole(answer, 'lease', U32),
  generation: whole(answer, 'generation', U32),
  device: text(answer, 'device'),
  mode: oneOf(answer, 'mode', ['exclusive', 'shared']),
  queues: oneOf(answer, 'queues', QUEUE_KINDS),
  shares: list(answer, 'shares', readShare),
  vectors: whole(answer, 'vectors', U16),
  maxInFlight: positive(answer, 'maxInFlight', U32),
});

export function readQueue(answer: Fields): QueueInfo {
  const hardware = map(answer, 'hardware');
  const info: QueueInfo = {
    queue: whole(answer, 'queue', U16),
    entries: positive(answer, 'entries', U16),
    ringVersion: whole(answer, 'ringVersion', U32),
    requestBytes: whole(answer, 'requestBytes', U32),
    completionBytes: whole(answer, 'completionBytes', U32),
    vector: whole(answer, 'vector', U16),
    hardware: {
      kind: oneOf(hardware, 'kind', QUEUE_KINDS),
      submissionEntries: whole(hardware, 'submissionEntries', U32),
      submissionBytes: whole(hardware, 'submissionBytes', U32),
      completionEntries: whole(hardware, 'completionEntries', U32),
      completionBytes: whole(hardware, 'completionBytes', U32),
    },
  };
  if (info.ringVersion !== RING_VERSION) throw malformed(`a queue of ring version ${info.ringVersion}`);
  return info;
}

export const readRegion = (answer: Fields): RegionInfo => ({
  region: positive(answer, 'region', U32),
  bytes: positive(answer, 'bytes', MAX_REGION_BYTES),
});

export const readGeneration = (answer: Fields): number => whole(answer, 'generation', U32);

/** The data of `readMemory`, which are exactly as many as were asked for. */
export function readData(answer: Fields, length: number): Uint8Array {
  const data = bytes(answer, 'data');
  if (data.length !== length) throw malformed(`${data.length} bytes of memory where ${length} were asked for`);
  return data;
}

/** An answer without fields. */
export const readNothing = (): void => undefined;

/** Fetches memory from the descriptor socket at `path`. */
export interface Ticket {
  readonly ticket: Uint8Array;
  readonly path: string;
}

export function readTicket(answer: Fields): Ticket {
  const ticket = bytes(answer, 'ticket');
  if (ticket.length !== TICKET_BYTES) throw malformed(`a ticket of ${ticket.length} bytes`);
  // A view of the message, whose memory is used again.
  return { ticket: Uint8Array.from(ticket), path: text(answer, 'path') };
}

function readRing(holder: Fields, name: string): RingInfo {
  const fields = map(holder, name);
  const info = { entries: positive(fields, 'entries', U16), entryBytes: positive(fields, 'entryBytes', U16), bytes: positive(fields, 'bytes', U32) };
  if (info.entries * info.entryBytes > info.bytes) throw malformed(`a ring of ${info.entries} entries in ${info.bytes} bytes`);
  return info;
}

export const readView = (answer: Fields): ViewInfo => ({
  ...readTicket(answer),
  generation: whole(answer, 'generation', U32),
  submission: readRing(answer, 'submission'),
  completion: readRing(answer, 'completion'),
});

export const readVector = (answer: Fields): VectorInfo => ({
  session: flag(answer, 'session'),
  eventfd: flag(answer, 'eventfd'),
  interrupts: whole(answer, 'interrupts'),
  signals: whole(answer, 'signals'),
});

const WIDTHS = [1, 2, 4] as const;

/** The value of a register of `width` bytes. */
export const readConfigValue = (answer: Fields, width: (typeof WIDTHS)[number]): number => whole(answer, 'value', 2 ** (8 * width) - 1);

export const readResetAsked = (answer: Fields): boolean => flag(answer, 'resetAsked');

function readPciRegion(holder: Fields, name: string): PciRegionInfo {
  const fields = map(holder, name);
  return {
    index: whole(fields, 'index', 6),
    name: text(fields, 'name'),
    kind: oneOf(fields, 'kind', ['memory', 'io', 'rom']),
    bytes: positive(fields, 'bytes'),
    is64: flag(fields, 'is64'),
    prefetchable: flag(fields, 'prefetchable'),
    readable: list(fields, 'readable', readArea),
  };
}

function readArea(holder: Fields, name: string): PciRegionInfo['readable'][number] {
  const fields = map(holder, name);
  const width = WIDTHS.find((candidate) => candidate === fields['width']);
  if (width === undefined) throw malformed('a register that is not 1, 2 or 4 bytes wide');
  return { name: text(fields, 'name'), offset: whole(fields, 'offset'), bytes: positive(fields, 'bytes'), width };
}

export const readPciRegions = (answer: Fields): PciRegionInfo[] => list(answer, 'regions', readPciRegion);

export function readError(message: Fields): Pick<ErrorMessage, 'id' | 'code' | 'field' | 'value'> {
  text(message, 'name');
  text(message, 'message');
  return { id: whole(message, 'id'), code: whole(message, 'code', U16), field: text(message, 'field'), value: text(message, 'value') };
}
