/**
 * What each message may hold: exactly these fields, each of its type and in its range.
 *
 * A message with an unknown or missing field, or a field of another type, is not of this protocol (a fault). A number out of range is a refusal: what
 * it should have been may depend on limits that the client was only told.
 */
import {
  ENTRY_BYTES,
  MAX_BATCH,
  MAX_COALESCING_EVENTS,
  MAX_COALESCING_MICROSECONDS,
  MAX_MESSAGE_BYTES,
  MAX_REGION_BYTES,
  MAX_RING_ENTRIES,
  MAX_ROM_READ_BYTES,
  MAX_TEXT,
  MIN_RING_ENTRIES,
  type RequestMessage,
  type RequestType,
  type Requests,
  type SubmitMessage,
} from '../../protocol/index.js';
import { Refusal } from '../engine/api.js';
import type { RawMessage } from './codec.js';
import { DATA_OVERHEAD_BYTES } from './data.js';
import { check, isWhole, type Rule } from './rules.js';

/** Most data of one message, in either direction: inline data, `writeMemory`, `readMemory`. */
export const MAX_DATA_BYTES = MAX_MESSAGE_BYTES - DATA_OVERHEAD_BYTES - MAX_BATCH * ENTRY_BYTES;

const HANDLE: Rule = { kind: 'whole', least: 0, most: 0xffff_ffff };
const INDEX: Rule = { kind: 'whole', least: 0, most: 0xffff };
const OFFSET: Rule = { kind: 'whole', least: 0, most: MAX_REGION_BYTES };
const WIDTH: Rule = { kind: 'whole', least: 1, most: 4, powerOfTwo: true };
const DEVICE: Rule = { kind: 'text', most: MAX_TEXT };

/** The fields of each request beside `type` and `id`. */
export const REQUEST_FIELDS: { readonly [Type in RequestType]: { readonly [Name in keyof Required<Requests[Type]>]: Rule } } = {
  hello: {
    version: { kind: 'whole', least: 0, most: 0xffff_ffff },
    tenant: { kind: 'text', most: MAX_TEXT, optional: true },
    token: { kind: 'text', most: MAX_TEXT, optional: true, secret: true },
    client: { kind: 'text', most: MAX_TEXT, optional: true },
  },
  listDevices: {},
  setDomain: { domain: { kind: 'whole', least: 0, most: Number.MAX_SAFE_INTEGER, optional: true } },
  unsetDomain: {},
  openDevice: {
    device: DEVICE,
    mode: { kind: 'oneOf', values: ['exclusive', 'shared'] },
    queues: { kind: 'oneOf', values: ['own', 'shared'] },
    ringViews: { kind: 'flag', optional: true },
  },
  closeDevice: { lease: HANDLE },
  openQueue: { lease: HANDLE, entries: { kind: 'whole', least: MIN_RING_ENTRIES, most: MAX_RING_ENTRIES, powerOfTwo: true } },
  closeQueue: { lease: HANDLE, queue: INDEX },
  shareQueue: { lease: HANDLE, queue: INDEX },
  viewQueue: { lease: HANDLE, queue: INDEX },
  mapMemory: { bytes: { kind: 'whole', least: 1, most: MAX_REGION_BYTES } },
  unmapMemory: { region: HANDLE },
  shareRegion: { region: HANDLE },
  sealRegion: { region: HANDLE },
  writeMemory: { region: HANDLE, offset: OFFSET, data: { kind: 'binary', least: 0, most: MAX_DATA_BYTES, unit: 1 } },
  readMemory: { region: HANDLE, offset: OFFSET, length: { kind: 'whole', least: 0, most: MAX_DATA_BYTES } },
  resetLease: { lease: HANDLE },
  bindVector: { lease: HANDLE, vector: INDEX, enable: { kind: 'flag' } },
  bindEventfd: {
    lease: HANDLE,
    vector: INDEX,
    source: { kind: 'oneOf', values: ['client', 'server'] },
    microseconds: { kind: 'whole', least: 0, most: MAX_COALESCING_MICROSECONDS, optional: true },
    events: { kind: 'whole', least: 0, most: MAX_COALESCING_EVENTS, optional: true },
  },
  unbindEventfd: { lease: HANDLE, vector: INDEX },
  vectorState: { lease: HANDLE, vector: INDEX },
  readPciConfig: { lease: HANDLE, offset: INDEX, width: WIDTH },
  writePciConfig: { lease: HANDLE, offset: INDEX, width: WIDTH, value: { kind: 'whole', least: 0, most: 0xffff_ffff } },
  listPciRegions: { lease: HANDLE },
  readPciRegister: { lease: HANDLE, bar: INDEX, offset: { kind: 'whole', least: 0, most: Number.MAX_SAFE_INTEGER }, width: WIDTH },
  readPciRom: { lease: HANDLE, offset: OFFSET, length: { kind: 'whole', least: 0, most: MAX_ROM_READ_BYTES } },
  deviceState: { device: DEVICE, wait: { kind: 'flag', optional: true } },
  ping: {},
};

/** The fields of `submit` beside `type`. */
export const SUBMIT_FIELDS: { readonly [Name in Exclude<keyof SubmitMessage, 'type'>]-?: Rule } = {
  lease: HANDLE,
  queue: INDEX,
  entries: { kind: 'binary', least: ENTRY_BYTES, most: MAX_BATCH * ENTRY_BYTES, unit: ENTRY_BYTES },
  data: { kind: 'binary', least: 0, most: MAX_DATA_BYTES, unit: 1, optional: true },
};

/** Ids of requests. */
export const ID: Rule = { kind: 'whole', least: 1, most: Number.MAX_SAFE_INTEGER };

export const isRequestType = (type: unknown): type is RequestType => typeof type === 'string' && Object.hasOwn(REQUEST_FIELDS, type);

/**
 * The message as what its type says it is.
 *
 * @throws {@link Refusal} `unknownField`, `missingField`, `wrongType` or `outOfRange`, with the field.
 */
export function guardRequest(type: RequestType, message: RawMessage): RequestMessage {
  const fields: Readonly<Record<string, Rule>> = REQUEST_FIELDS[type];
  for (const name of Object.keys(message)) {
    if (name !== 'type' && name !== 'id' && !Object.hasOwn(fields, name)) throw new Refusal('unknownField', name);
  }
  for (const name of Object.keys(fields)) {
    const rule = fields[name];
    if (Object.hasOwn(message, name)) check(rule, name, message[name]);
    else if (rule.optional !== true) throw new Refusal('missingField', name);
  }
  return message as unknown as RequestMessage;
}

/** The id of a request where it has one, for the error that it may meet; otherwise 0. */
export const idOf = ({ id }: RawMessage): number => (isWhole(id, 1, Number.MAX_SAFE_INTEGER) ? id : 0);

/** The id of a request, proven to be one. */
export function guardId(message: RawMessage): number {
  if (!Object.hasOwn(message, 'id')) throw new Refusal('missingField', 'id');
  check(ID, 'id', message.id);
  return message.id as number;
}

/** {@link guardRequest} for the message of the hot path. */
export function guardSubmit(message: RawMessage): SubmitMessage {
  const { lease, queue, entries, data } = message;
  const fields = Object.keys(message).length;
  if (
    isWhole(lease, 0, 0xffff_ffff) &&
    isWhole(queue, 0, 0xffff) &&
    entries instanceof Uint8Array &&
    entries.length >= ENTRY_BYTES &&
    entries.length <= MAX_BATCH * ENTRY_BYTES &&
    entries.length % ENTRY_BYTES === 0 &&
    (data === undefined ? fields === 4 : fields === 5 && data instanceof Uint8Array && data.length <= MAX_DATA_BYTES)
  ) {
    return message as unknown as SubmitMessage;
  }
  throw refuseSubmit(message);
}

/** Says what is wrong with a `submit` that is known to be wrong. */
function refuseSubmit(message: RawMessage): Refusal {
  try {
    for (const name of Object.keys(message)) {
      if (name !== 'type' && !Object.hasOwn(SUBMIT_FIELDS, name)) return new Refusal('unknownField', name);
    }
    for (const [name, rule] of Object.entries(SUBMIT_FIELDS)) {
      if (Object.hasOwn(message, name)) check(rule, name, message[name]);
      else if (rule.optional !== true) return new Refusal('missingField', name);
    }
  } catch (refusal) {
    if (refusal instanceof Refusal) return refusal;
  }
  return new Refusal('malformed');
}
