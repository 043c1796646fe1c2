/** Faults as data around the same model: which commands, and what happens to them. */
import { HardwareError } from '../task.js';

/** Which commands a fault applies to; everything that is given must hold. */
export interface FaultMatch {
  /** `admin`, `io`, or one submission queue. */
  readonly queue?: 'admin' | 'io' | number;
  readonly opcode?: number;
  readonly namespace?: number;
  /** I/O commands whose block range holds this one. */
  readonly lba?: number;
  /** Only the n-th command that matches, counted from 1. */
  readonly nth?: number;
  /** Every n-th command that matches. */
  readonly every?: number;
}

export type FaultAction =
  /** Fetched and forgotten: no completion, not even for an abort. */
  | { readonly kind: 'drop' }
  /** Held until it is aborted, or its queue is deleted. */
  | { readonly kind: 'hang' }
  /** Carried out, DMA included, after this time. */
  | { readonly kind: 'delay'; readonly milliseconds: number }
  /** Not carried out; completes with this status. */
  | { readonly kind: 'status'; readonly type: number; readonly code: number }
  /** Carried out; the completion has another command identifier: this one, or the real one with all bits turned. */
  | { readonly kind: 'corruptCommandId'; readonly commandId?: number }
  /** Carried out; the completion names another submission queue: this one, or the next. */
  | { readonly kind: 'wrongQueue'; readonly queue?: number }
  /** Carried out; the completion gives this submission queue head. */
  | { readonly kind: 'wrongHead'; readonly head: number }
  /** Carried out; completes twice. */
  | { readonly kind: 'duplicate' }
  /** Not carried out; the controller reports a fatal error (CSTS.CFS) and stops. */
  | { readonly kind: 'fatal' }
  /** Not carried out; the function leaves the bus. */
  | { readonly kind: 'removeDevice' };

export interface Fault {
  readonly match: FaultMatch;
  readonly action: FaultAction;
}

/** Checks a fault that came from a configuration or a test. Throws RangeError. */
export function checkFault(fault: Fault): void {
  for (const count of [fault.match.nth, fault.match.every]) {
    if (count !== undefined && !(Number.isSafeInteger(count) && count >= 1)) throw new RangeError(`fault: nth and every count from 1, not ${count}`);
  }
  const { action } = fault;
  if (action.kind === 'delay' && !(action.milliseconds >= 0)) throw new RangeError(`fault: delay of ${action.milliseconds} ms`);
  if (action.kind === 'status' && !(action.type >= 0 && action.type <= 7 && action.code >= 0 && action.code <= 0xff)) {
    throw new RangeError(`fault: status type ${action.type}, code ${action.code}`);
  }
}

/** The faults of one controller, with their counters. */
export class Faults {
  readonly #faults: readonly Fault[];
  readonly #matched: number[];

  constructor(faults: readonly Fault[]) {
    if (faults.length > 256) throw new HardwareError('unsupported', 'more than 256 faults');
    for (const fault of faults) checkFault(fault);
    this.#faults = faults;
    this.#matched = faults.map(() => 0);
  }

  /**
   * What happens to a command; the first fault that applies decides, and all that match count it.
   * @param lba first block, or -1 for a command without; `blocks` from there
   */
  find(queue: number, opcode: number, namespace: number, lba: number, blocks: number): FaultAction | undefined {
    let found: FaultAction | undefined;
    for (const [index, { match, action }] of this.#faults.entries()) {
      if (!matches(match, queue, opcode, namespace, lba, blocks)) continue;
      const count = ++this.#matched[index];
      const due = (match.nth === undefined || count === match.nth) && (match.every === undefined || count % match.every === 0);
      if (due) found ??= action;
    }
    return found;
  }
}

function matches(match: FaultMatch, queue: number, opcode: number, namespace: number, lba: number, blocks: number): boolean {
  if (match.queue === 'admin' && queue !== 0) return false;
  if (match.queue === 'io' && queue === 0) return false;
  if (typeof match.queue === 'number' && match.queue !== queue) return false;
  if (match.opcode !== undefined && match.opcode !== opcode) return false;
  if (match.namespace !== undefined && match.namespace !== namespace) return false;
  return match.lba === undefined || (lba >= 0 && match.lba >= lba && match.lba < lba + blocks);
}
