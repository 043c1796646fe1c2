/** Get Log Page (Base Specification 1.4, 5.14). */
import {
  CHANGED_NAMESPACES_BYTES,
  FIRMWARE_BYTES,
  FirmwareLog,
  ALL_NAMESPACES,
  LogPageCdw10,
  LogPageCdw11,
  LogPageId,
  Sqe,
  Status,
  getField,
} from '../../nvme/spec/index.js';
import { putNumber, putText } from './bytes.js';
import type { Command } from './command.js';
import type { ErrorLog } from './error-log.js';
import type { Events } from './events.js';
import type { Health } from './health.js';
import { FIRMWARE } from './identify.js';

/** Entries of the changed namespace list. */
const MOST_CHANGED = 1024;

export interface LogTargets {
  readonly errors: ErrorLog;
  readonly events: Events;
  readonly health: Health;
  /** Most bytes of one transfer; Infinity for no limit. */
  readonly mostBytes: number;
  now(): number;
}

export class Logs {
  readonly #targets: LogTargets;
  readonly #changed = new Set<number>();

  constructor(targets: LogTargets) {
    this.#targets = targets;
  }

  /** Puts a namespace on the changed namespace list. */
  namespaceChanged(id: number): void {
    this.#changed.add(id);
  }

  /** @param answer writes the data where the command says and returns a status */
  get(command: Command, answer: (data: Uint8Array) => number): number {
    const { words } = command;
    const dwords = getField(LogPageCdw10.numdl, words[Sqe.cdw10]) + getField(LogPageCdw11.numdu, words[Sqe.cdw11]) * 0x1_0000 + 1;
    const offset = (words[Sqe.cdw13] >>> 0) * 2 ** 32 + (words[Sqe.cdw12] >>> 0);
    const id = getField(LogPageCdw10.lid, words[Sqe.cdw10]);
    const page = this.#page(id, command.namespace);
    if (page === undefined) return command.wrong(Sqe.cdw10, Status.invalidLogPage);
    if (page === Status.invalidField) return command.wrong(Sqe.nsid, page);
    const bytes = dwords * 4;
    if (bytes > this.#targets.mostBytes) return command.wrong(Sqe.cdw10, Status.invalidField);
    if (offset % 4 !== 0 || offset > page.length) return command.wrong(Sqe.cdw12, Status.invalidField);
    // What is beyond the end of the page is undefined (figure 194): it is not written.
    const data = page.subarray(offset, offset + bytes);
    const status = data.length === 0 ? Status.success : answer(data);
    const retain = getField(LogPageCdw10.rae, words[Sqe.cdw10]) !== 0;
    if (status === Status.success && !retain) this.#cleared(id);
    return status;
  }

  #page(id: number, namespace: number): Uint8Array | typeof Status.invalidField | undefined {
    switch (id) {
      case LogPageId.errorInformation:
        return this.#targets.errors.page();
      case LogPageId.smart:
        // One log for the controller, none for a namespace (LPA bit 0).
        if (namespace !== 0 && namespace !== ALL_NAMESPACES) return Status.invalidField;
        return this.#targets.health.page(this.#targets.now(), this.#targets.errors.count);
      case LogPageId.firmwareSlot:
        return firmwarePage();
      case LogPageId.changedNamespaces:
        return this.#changedPage();
      default:
        return undefined;
    }
  }

  #changedPage(): Uint8Array {
    const page = new Uint8Array(CHANGED_NAMESPACES_BYTES);
    const ids = [...this.#changed].sort((a, b) => a - b);
    const list = ids.length > MOST_CHANGED ? [ALL_NAMESPACES] : ids;
    for (const [index, id] of list.entries()) putNumber(page, { at: 4 * index, bytes: 4 }, id);
    return page;
  }

  #cleared(id: number): void {
    if (id === LogPageId.changedNamespaces) this.#changed.clear();
    this.#targets.events.cleared(id);
  }
}

function firmwarePage(): Uint8Array {
  const page = new Uint8Array(FIRMWARE_BYTES);
  putNumber(page, FirmwareLog.afi, 1);
  putText(page, { at: FirmwareLog.frs.at, bytes: 8 }, FIRMWARE);
  return page;
}
