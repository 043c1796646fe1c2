/**
 * The DMA audit: whose memory each access of the device hit. For tests and demonstrations; a model without it pays one comparison an access.
 */

/** What an address led to. */
export type AccessTarget = 'memory' | 'registers' | 'interrupt' | 'nothing';

/** One access of the device on the bus, within one page of 4096 bytes. */
export interface AuditRecord {
  readonly target: AccessTarget;
  /** `AttachOptions.owner` of the memory; empty for anything else, and where none was given. */
  readonly owner: string;
  /** Bus address, hexadecimal. */
  readonly address: string;
  /** Offset in the attached memory, bytes; 0 where the target is something else. */
  readonly offset: number;
  readonly bytes: number;
  /** Seen from the device. */
  readonly direction: 'read' | 'write';
  /** Submission queue and command identifier of the command that caused it; -1 where none did. */
  readonly queue: number;
  readonly command: number;
}

/** Records that are kept; beyond, the audit says how many it lost. One record costs 32 bytes. */
export const AUDIT_LIMIT = 1 << 20;

const WORDS = 8;
const TARGETS: readonly AccessTarget[] = ['memory', 'registers', 'interrupt', 'nothing'];

export class Audit {
  /** Submission queue and command that the accesses from now on belong to; -1: none. */
  queue = -1;
  command = -1;
  #words = new Int32Array(1024 * WORDS);
  #count = 0;
  #lost = 0;
  readonly #owners: string[] = [''];
  readonly #ownerIndex = new Map<string, number>([['', 0]]);

  /** Records that did not fit. */
  get lost(): number {
    return this.#lost;
  }

  record(target: AccessTarget, owner: string, low: number, high: number, offset: number, bytes: number, write: boolean): void {
    if (this.#count === AUDIT_LIMIT) {
      this.#lost++;
      return;
    }
    if (this.#count * WORDS === this.#words.length) {
      const words = new Int32Array(2 * this.#words.length);
      words.set(this.#words);
      this.#words = words;
    }
    const at = this.#count++ * WORDS;
    const words = this.#words;
    words[at] = TARGETS.indexOf(target) | (write ? 0x100 : 0);
    words[at + 1] = this.#intern(owner);
    words[at + 2] = low;
    words[at + 3] = high;
    words[at + 4] = offset;
    words[at + 5] = bytes;
    words[at + 6] = this.queue;
    words[at + 7] = this.command;
  }

  /** Up to `most` records from number `first` on. */
  list(first: number, most: number): AuditRecord[] {
    const records: AuditRecord[] = [];
    for (let index = first; index < this.#count && records.length < most; index++) {
      const [kind, owner, low, high, offset, bytes, queue, command] = this.#words.subarray(index * WORDS, (index + 1) * WORDS);
      const address = ((BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)).toString(16);
      const direction = (kind & 0x100) === 0 ? 'read' : 'write';
      records.push({ target: TARGETS[kind & 0xff], owner: this.#owners[owner], address, offset, bytes, direction, queue, command });
    }
    return records;
  }

  clear(): void {
    this.#count = 0;
    this.#lost = 0;
  }

  #intern(owner: string): number {
    let index = this.#ownerIndex.get(owner);
    if (index === undefined) {
      index = this.#owners.push(owner) - 1;
      this.#ownerIndex.set(owner, index);
    }
    return index;
  }
}

/**
 * The accesses that reached anything but memory of the owners in `allowed` and interrupt messages that no command caused: the device's
 * own MSI-X messages.
 */
export function violations(records: readonly AuditRecord[], allowed: readonly string[]): AuditRecord[] {
  const owners = new Set(allowed);
  return records.filter((record) => {
    if (record.target === 'interrupt') return record.command !== -1;
    return !(record.target === 'memory' && owners.has(record.owner));
  });
}
