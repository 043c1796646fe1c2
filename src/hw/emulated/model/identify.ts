/** Identify (Base Specification 1.4, 5.15): what the controller and its namespaces are. */
import {
  Cns,
  DESCRIPTOR_HEADER_BYTES,
  DescriptorType,
  EventConfiguration,
  IDENTIFY_BYTES,
  IdentifyCdw10,
  IdentifyController,
  IdentifyNamespace,
  OptionalCommand,
  SUBMISSION_SHIFT,
  COMPLETION_SHIFT,
  Sqe,
  Status,
  getField,
} from '../../nvme/spec/index.js';
import { putNumber, putText } from './bytes.js';
import type { Command } from './command.js';
import { VENDOR_ID } from './config-space.js';
import { ERROR_ENTRIES } from './error-log.js';
import { EVENT_REQUESTS } from './events.js';
import { CRITICAL_TEMPERATURE, WARNING_TEMPERATURE } from './health.js';
import type { Namespace } from './namespace.js';
import type { ControllerShape } from './shape.js';

/** NVM Express 1.4. */
export const VERSION = 0x0001_0400;
export const FIRMWARE = '1.0';
const MODEL = 'Ringwarden embedded NVMe controller';
/** Abort commands that are carried out at once; ACL is one less. */
const ABORTS = 4;
/** Size of the zero-based list of active namespaces, entries. */
const LIST_ENTRIES = 1024;

/** Answers an Identify command with `answer`, which writes up to 4096 bytes where the command says and returns a status. */
export function identify(shape: ControllerShape, namespaces: readonly Namespace[], command: Command, answer: (data: Uint8Array) => number): number {
  const id = command.namespace;
  switch (getField(IdentifyCdw10.cns, command.words[Sqe.cdw10])) {
    case Cns.controller:
      return answer(controllerData(shape));
    case Cns.namespace:
      return id >= 1 && id <= namespaces.length ? answer(namespaceData(namespaces[id - 1])) : command.wrong(Sqe.nsid, Status.invalidNamespace);
    case Cns.activeNamespaces:
      return id < 0xffff_fffe ? answer(namespaceList(namespaces, id)) : command.wrong(Sqe.nsid, Status.invalidNamespace);
    case Cns.namespaceDescriptors:
      return id >= 1 && id <= namespaces.length ? answer(descriptors(namespaces[id - 1])) : command.wrong(Sqe.nsid, Status.invalidNamespace);
    default:
      return command.wrong(Sqe.cdw10, Status.invalidField);
  }
}

function controllerData(shape: ControllerShape): Uint8Array {
  const data = new Uint8Array(IDENTIFY_BYTES);
  const field = IdentifyController;
  putNumber(data, field.vid, VENDOR_ID);
  putNumber(data, field.ssvid, VENDOR_ID);
  putText(data, field.sn, shape.serial);
  putText(data, field.mn, MODEL);
  putText(data, field.fr, FIRMWARE);
  // Locally administered: nobody's.
  putNumber(data, field.ieee, 0x02_52_57);
  putNumber(data, field.mdts, shape.mdts);
  putNumber(data, field.ver, VERSION);
  putNumber(data, field.oaes, EventConfiguration.namespaceAttribute);
  // I/O controller.
  putNumber(data, field.cntrltype, 1);
  putNumber(data, field.acl, ABORTS - 1);
  putNumber(data, field.aerl, EVENT_REQUESTS - 1);
  // One firmware slot, read-only.
  putNumber(data, field.frmw, 0x03);
  // Log pages can be read from an offset.
  putNumber(data, field.lpa, 0x04);
  putNumber(data, field.elpe, ERROR_ENTRIES - 1);
  putNumber(data, field.wctemp, WARNING_TEMPERATURE);
  putNumber(data, field.cctemp, CRITICAL_TEMPERATURE);
  putNumber(data, field.sqes, SUBMISSION_SHIFT | (SUBMISSION_SHIFT << 4));
  putNumber(data, field.cqes, COMPLETION_SHIFT | (COMPLETION_SHIFT << 4));
  putNumber(data, field.nn, shape.namespaces.length);
  const optional = OptionalCommand.compare | OptionalCommand.datasetManagement | OptionalCommand.writeZeroes | OptionalCommand.saveSelect;
  putNumber(data, field.oncs, optional);
  // A volatile write cache is present; Flush takes the id of all namespaces.
  putNumber(data, field.vwc, 0x07);
  const name = new TextEncoder().encode(`nqn.2014-08.org.nvmexpress:ringwarden:${shape.serial.trim()}`);
  data.set(name.subarray(0, field.subnqn.bytes - 1), field.subnqn.at);
  // One power state: 0.01 W units, 8 W.
  putNumber(data, { at: field.psd.at, bytes: 2 }, 800);
  return data;
}

function namespaceData(namespace: Namespace): Uint8Array {
  const data = new Uint8Array(IDENTIFY_BYTES);
  const field = IdentifyNamespace;
  const used = Math.ceil(namespace.media.usedBytes / namespace.blockBytes);
  putNumber(data, field.nsze, namespace.blocks);
  putNumber(data, field.ncap, namespace.blocks);
  putNumber(data, field.nuse, used);
  // Deallocated blocks read as zeros.
  putNumber(data, field.dlfeat, 0x01);
  putNumber(data, field.nvmcap, namespace.blocks * namespace.blockBytes);
  putNumber(data, field.lbaf, namespace.blockShift << 16);
  return data;
}

function namespaceList(namespaces: readonly Namespace[], after: number): Uint8Array {
  const data = new Uint8Array(IDENTIFY_BYTES);
  let at = 0;
  for (const { id } of namespaces) {
    if (id > after && at < LIST_ENTRIES) putNumber(data, { at: 4 * at++, bytes: 4 }, id);
  }
  return data;
}

function descriptors(namespace: Namespace): Uint8Array {
  const data = new Uint8Array(IDENTIFY_BYTES);
  data[0] = DescriptorType.uuid;
  data[1] = namespace.uuid.length;
  data.set(namespace.uuid, DESCRIPTOR_HEADER_BYTES);
  return data;
}
