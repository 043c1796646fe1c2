/** Refusals, kept for the administrator: the last ones in a ring, counts per tenant and code, and a log that a flood cannot fill. */
import type { Log } from '../log.js';
import type { Audit, RefusalRecord } from '../policy.js';

/** Refusals that the ring keeps. */
export const AUDIT_RECORDS = 4_096;
/** Pairs of tenant and code that are counted apart: 1024 tenants rarely meet more than a few codes each. */
const MOST_KINDS = 16_384;
/** Longest text of a field or a value that is kept. */
const MOST_TEXT = 256;
const SUMMARY_MILLISECONDS = 10_000;

export interface RefusalCount {
  readonly tenant: string;
  readonly code: string;
  readonly count: number;
}

interface Kind {
  readonly tenant: string;
  readonly code: string;
  count: number;
  /** Of those, how many the log has not told yet. */
  untold: number;
}

const cut = (text: string): string => (text.length <= MOST_TEXT ? text : `${text.slice(0, MOST_TEXT)}...`);

export class AuditLog implements Audit {
  readonly #log: Log;
  readonly #ring: RefusalRecord[] = [];
  readonly #kinds = new Map<string, Kind>();
  readonly #timer: NodeJS.Timeout;
  #next = 0;
  #total = 0;

  constructor(log: Log) {
    this.#log = log;
    this.#timer = setInterval(() => this.summarize(), SUMMARY_MILLISECONDS).unref();
  }

  /** Refusals since the start. */
  get total(): number {
    return this.#total;
  }

  refusal(record: RefusalRecord): void {
    const { time, tenant, session, code } = record;
    const field = cut(record.field);
    // A credential is never kept, not even a wrong one.
    const value = record.field === 'token' ? '(not kept)' : cut(record.value);
    this.#total++;
    this.#ring[this.#next] = { time, tenant, session, code, field, value };
    this.#next = (this.#next + 1) % AUDIT_RECORDS;
    const kind = this.#kind(tenant, code);
    kind.count++;
    if (kind.count === 1) this.#log.warn('refused', { tenant, session, code, field, value });
    else kind.untold++;
  }

  /** The last refusals, oldest first. */
  recent(): RefusalRecord[] {
    return [...this.#ring.slice(this.#next), ...this.#ring.slice(0, this.#next)];
  }

  counts(): RefusalCount[] {
    return [...this.#kinds.values()].map(({ tenant, code, count }) => ({ tenant, code, count }));
  }

  /** Tells the log how many refusals of each kind there were since the last time. Called every ten seconds. */
  summarize(): void {
    for (const kind of this.#kinds.values()) {
      if (kind.untold === 0) continue;
      this.#log.warn('refused again', { tenant: kind.tenant, code: kind.code, times: kind.untold, total: kind.count });
      kind.untold = 0;
    }
  }

  close(): void {
    clearInterval(this.#timer);
    this.summarize();
  }

  #kind(tenant: string, code: string): Kind {
    const full = this.#kinds.size >= MOST_KINDS && !this.#kinds.has(`${tenant}\n${code}`);
    const [name, kindCode] = full ? ['other', 'other'] : [tenant, code];
    const key = `${name}\n${kindCode}`;
    let kind = this.#kinds.get(key);
    if (kind === undefined) {
      kind = { tenant: name, code: kindCode, count: 0, untold: 0 };
      this.#kinds.set(key, kind);
    }
    return kind;
  }
}
