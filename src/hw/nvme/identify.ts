/** What Identify answers say, in the terms that the driver needs (NVMe Base Specification 1.4, 5.15). Total: any bytes give an answer or a HardwareError. */
import { HardwareError } from '../task.js';
import { IdentifyController, IdentifyNamespace, LbaFormat, OptionalCommand, getField, type ByteField } from './spec/index.js';

export interface ControllerFacts {
  readonly model: string;
  readonly serial: string;
  readonly firmware: string;
  /** log2 of the most 4096-byte pages in one transfer; 0: no limit. */
  readonly mdts: number;
  /** Asynchronous event requests that may be outstanding. */
  readonly eventRequests: number;
  /** Entries of the error log. */
  readonly errorEntries: number;
  readonly compare: boolean;
  readonly writeZeroes: boolean;
  readonly datasetManagement: boolean;
}

export interface NamespaceFacts {
  readonly id: number;
  /** Logical blocks, at most 2^53 - 1. */
  readonly blocks: number;
  /** Bytes of a logical block, 512 to 65536. */
  readonly blockBytes: number;
}

const text = (bytes: Uint8Array, field: ByteField): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset + field.at, field.bytes)
    .toString('latin1')
    .replaceAll(/[^\x20-\x7e]/g, '?')
    .trim();

export function parseController(bytes: Uint8Array): ControllerFacts {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const optional = view.getUint16(IdentifyController.oncs.at, true);
  return {
    model: text(bytes, IdentifyController.mn),
    serial: text(bytes, IdentifyController.sn),
    firmware: text(bytes, IdentifyController.fr),
    mdts: view.getUint8(IdentifyController.mdts.at),
    eventRequests: view.getUint8(IdentifyController.aerl.at) + 1,
    errorEntries: view.getUint8(IdentifyController.elpe.at) + 1,
    compare: (optional & OptionalCommand.compare) !== 0,
    writeZeroes: (optional & OptionalCommand.writeZeroes) !== 0,
    datasetManagement: (optional & OptionalCommand.datasetManagement) !== 0,
  };
}

/** @throws HardwareError `unsupported` for a format with metadata or a block size that this driver does not use. */
export function parseNamespace(id: number, bytes: Uint8Array): NamespaceFacts {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const flbas = view.getUint8(IdentifyNamespace.flbas.at);
  const format = view.getUint32(IdentifyNamespace.lbaf.at + 4 * ((flbas & 0xf) | ((flbas >>> 1) & 0x30)), true);
  const shift = getField(LbaFormat.lbads, format);
  if (!(shift >= 9 && shift <= 16))
    throw new HardwareError('unsupported', `namespace ${id} has blocks of 2^${shift} bytes; 512 to 65536 are supported`);
  if (getField(LbaFormat.ms, format) !== 0) throw new HardwareError('unsupported', `namespace ${id} has metadata; format it without`);
  const blocks = view.getBigUint64(IdentifyNamespace.nsze.at, true);
  if (blocks > BigInt(Number.MAX_SAFE_INTEGER)) throw new HardwareError('protocol', `namespace ${id} claims ${blocks} blocks`);
  return { id, blocks: Number(blocks), blockBytes: 2 ** shift };
}

/** Active namespace ids (CNS 02h), ascending. */
export function parseNamespaceList(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const ids: number[] = [];
  for (let at = 0; at + 4 <= bytes.byteLength; at += 4) {
    const id = view.getUint32(at, true);
    if (id === 0) break;
    if (id <= (ids.at(-1) ?? 0)) throw new HardwareError('protocol', 'the list of active namespaces is not ascending');
    ids.push(id);
  }
  return ids;
}
