/**
 * Remembers, over restarts, which tenant used which bytes of which namespace, so that no tenant ever reads what another left behind.
 *
 * A wipe is written down before it begins and after it ended; a server that dies in between finds the note and wipes again.
 */
import { join } from 'node:path';
import { messageOf } from '../text.js';
import { replaceFile, systemFiles } from './durable.js';
import type { Files } from './durable.js';
import { judgeClaims, replaceSegment } from './segments.js';
import type { Claim, Judged, Segment } from './segments.js';

export const LEDGER_VERSION = 1;
const FILE = 'ledger.json';

/** Namespaces whose identity begins so live in memory: they are clean at each start, and are not written down. */
export const VOLATILE = 'memory:';

/** A ledger that cannot be relied on. */
export class LedgerError extends Error {
  override readonly name = 'LedgerError';
  readonly remedy: string;
  constructor(what: string, path: string) {
    super(what);
    this.remedy = `restore ${path} from a backup, or move it away and say for each share whether to keep its data ("keepData")`;
  }
}

interface LedgerFile {
  readonly version: number;
  readonly namespaces: Readonly<Record<string, readonly Segment[]>>;
}

function isSegment(value: unknown): value is Segment {
  const { first, bytes, owners, wiping } = (value ?? {}) as Partial<Segment>;
  return (
    Number.isSafeInteger(first) &&
    Number.isSafeInteger(bytes) &&
    Array.isArray(owners) &&
    owners.every((owner) => typeof owner === 'string') &&
    typeof wiping === 'boolean'
  );
}

function parse(path: string, text: string): LedgerFile {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new LedgerError(`the ledger cannot be read (${messageOf(error)})`, path);
  }
  const { version, namespaces } = (value ?? {}) as Partial<LedgerFile>;
  if (version !== LEDGER_VERSION) {
    throw new LedgerError(`the ledger has version ${String(version)}, and this server knows ${LEDGER_VERSION}`, path);
  }
  const sound =
    typeof namespaces === 'object' && namespaces !== null && Object.values(namespaces).every((list) => Array.isArray(list) && list.every(isSegment));
  if (!sound) throw new LedgerError('the ledger is damaged', path);
  return { version, namespaces };
}

export class Ledger {
  readonly #path: string;
  readonly #files: Files;
  #namespaces: ReadonlyMap<string, readonly Segment[]>;

  /** Reads the ledger in `folder`, which is there. Throws a {@link LedgerError} when it cannot be relied on. */
  constructor(folder: string, files: Files = systemFiles) {
    this.#path = join(folder, FILE);
    this.#files = files;
    const text = files.read(this.#path);
    this.#namespaces = new Map(text === undefined ? [] : Object.entries(parse(this.#path, text).namespaces));
  }

  /** Segments of a namespace, in order. */
  segments(namespace: string): readonly Segment[] {
    return this.#namespaces.get(namespace) ?? [];
  }

  /** Nobody's data lie there: the server has just made these bytes. */
  noteClean(namespace: string, first: number, bytes: number): void {
    if (bytes > 0) this.#replace([{ namespace, segment: { first, bytes, owners: [], wiping: false } }]);
  }

  /** What becomes of each piece that is claimed, in whole blocks of `blockBytes`. Changes nothing. */
  judge(namespace: string, claims: readonly Claim[], blockBytes: number): Judged[] {
    return judgeClaims(this.segments(namespace), claims, blockBytes);
  }

  /** The pieces that are kept belong to their claimants from now on, and the wipes of the others have begun: durable when it returns. */
  begin(pieces: readonly { readonly namespace: string; readonly judged: Judged }[]): void {
    this.#replace(
      pieces.flatMap(({ namespace, judged: { first, bytes, owners, verdict } }) => {
        if (verdict === 'undecided') return [];
        const wiping = verdict === 'wipe';
        return [{ namespace, segment: { first, bytes, owners: wiping ? [] : owners, wiping } }];
      }),
    );
  }

  /** The wipe of a piece ended, and its claimants have it: durable when it returns. */
  wiped(namespace: string, { first, bytes, owners }: Judged): void {
    this.#replace([{ namespace, segment: { first, bytes, owners, wiping: false } }]);
  }

  /** All or nothing: what could not be written down did not happen. */
  #replace(changes: readonly { readonly namespace: string; readonly segment: Segment }[]): void {
    const next = new Map(this.#namespaces);
    for (const { namespace, segment } of changes) next.set(namespace, replaceSegment(next.get(namespace) ?? [], segment));
    const text = textOf(next);
    if (text !== textOf(this.#namespaces)) replaceFile(this.#files, this.#path, text);
    this.#namespaces = next;
  }
}

function textOf(namespaces: ReadonlyMap<string, readonly Segment[]>): string {
  const durable = [...namespaces].filter(([namespace]) => !namespace.startsWith(VOLATILE));
  const file: LedgerFile = { version: LEDGER_VERSION, namespaces: Object.fromEntries(durable) };
  return `${JSON.stringify(file, undefined, 2)}\n`;
}
