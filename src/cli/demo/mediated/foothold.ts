/** What any client may get: a session with a domain, a lease, a queue and memory. From here the attacker goes on. */
import {
  COMPLETION_BYTES,
  COMPLETION_WORDS,
  CODES,
  CompletionWord,
  ENTRY_BYTES,
  ENTRY_WORDS,
  Operation,
  type QueueKind,
  type RequestFields,
  codeName,
  packEntry,
} from '../../../protocol/index.js';
import type { Reply } from '../types.js';
import { within } from '../within.js';
import type { Attacker } from './attacker.js';
import { BLOCK_BYTES } from './disk.js';
import { DEVICE } from './server.js';

export const REGION_BYTES = 64 * 1_024;
export const QUEUE_ENTRIES = 256;
/** What a request moves when nothing else is said. */
const BLOCKS = 8;

/** Indices of the attacker's shares, in the order of the configuration. */
export const Share = { data: 0, manual: 1, dropbox: 2, scratch: 3 } as const;

export interface FootholdOptions {
  readonly queues?: QueueKind;
  /** The hardware's rings can be asked for. */
  readonly ringViews?: boolean;
  /** Number of a domain to join. */
  readonly domain?: number;
}

interface Waiting {
  readonly submit: number;
  resolve(reply: Reply): void;
  reject(error: Error): void;
}

export class Foothold {
  readonly attacker: Attacker;
  readonly domain: number;
  readonly lease: number;
  readonly queue: number;
  readonly region: number;
  readonly blocks: number;
  /** Interrupt vectors of the lease. */
  readonly vectors: number;
  generation: number;
  /** Data of the last message of completions. */
  data: Uint8Array = new Uint8Array(0);
  /** By tag; a list, because nothing keeps an attacker from using a tag twice. */
  readonly #waiting = new Map<bigint, Waiting[]>();
  #lastTag = 0n;
  #submits = 0;

  private constructor(attacker: Attacker, domain: number, lease: Readonly<Record<string, unknown>>, queue: number, region: number) {
    this.attacker = attacker;
    this.domain = domain;
    this.lease = Number(lease['lease']);
    this.generation = Number(lease['generation']);
    this.vectors = Number(lease['vectors']);
    const shares = lease['shares'] as readonly { blocks: number }[];
    this.blocks = shares[Share.data].blocks;
    this.queue = queue;
    this.region = region;
    attacker.onCompletions = (message) => this.#completed(message['entries'] as Uint8Array, (message['data'] as Uint8Array | undefined) ?? this.data);
    attacker.onSubmitRefused = (submit, reply) => this.#settle((waiting) => waiting.submit === submit, reply);
    attacker.onEnd = (end) => this.#settle(() => true, end);
  }

  /** On a session that has said hello. */
  static async take(attacker: Attacker, { queues = 'shared', ringViews = false, domain }: FootholdOptions = {}): Promise<Foothold> {
    const set = await attacker.must('setDomain', domain === undefined ? {} : { domain });
    const lease = await attacker.must('openDevice', { device: DEVICE, mode: 'shared', queues, ringViews });
    const { queue } = await attacker.must('openQueue', { lease: lease['lease'], entries: QUEUE_ENTRIES });
    const { region } = await attacker.must('mapMemory', { bytes: REGION_BYTES });
    return new Foothold(attacker, Number(set['domain']), lease, Number(queue), Number(region));
  }

  /** A read of eight blocks at the start of the share into the start of the region, except for what `fields` says. */
  entry(fields: Partial<RequestFields> = {}): RequestFields {
    const blocks = fields.blocks ?? BLOCKS;
    return {
      operation: Operation.read,
      flags: 0,
      share: Share.data,
      generation: this.generation,
      tag: ++this.#lastTag,
      lba: 0n,
      blocks,
      region: this.region,
      offset: 0n,
      length: blocks * BLOCK_BYTES,
      lease: this.lease,
      queue: this.queue,
      ...fields,
    };
  }

  /** Has all of its memory sent to it, if it still can. */
  async showMemory(): Promise<void> {
    if (this.attacker.isOpen) await this.attacker.ask('readMemory', { region: this.region, offset: 0, length: REGION_BYTES });
  }

  /** One request, on the foothold's own queue, and what came of it. */
  async request(fields: Partial<RequestFields> = {}, data?: Uint8Array): Promise<Reply> {
    const [reply] = await this.batch([this.entry(fields)], data);
    return reply;
  }

  /** Requests in one message. What each one came to. */
  batch(entries: readonly RequestFields[], data?: Uint8Array): Promise<Reply[]> {
    const words = new Uint32Array(entries.length * ENTRY_WORDS);
    entries.forEach((fields, index) => packEntry(words, index * ENTRY_WORDS, fields));
    return this.submit(
      words,
      entries.map(({ tag }) => tag),
      data,
    );
  }

  /** Whole entries, whatever is in them; `tags` are those that will be answered. */
  submit(words: Uint32Array, tags: readonly bigint[], data?: Uint8Array, to: { lease?: number; queue?: number } = {}): Promise<Reply[]> {
    const submit = ++this.#submits;
    const replies = tags.map(
      (tag) =>
        new Promise<Reply>((resolve, reject) => {
          this.#waiting.set(tag, [...(this.#waiting.get(tag) ?? []), { submit, resolve, reject }]);
        }),
    );
    const bytes = Buffer.from(words.buffer, words.byteOffset, words.length * (ENTRY_BYTES / ENTRY_WORDS));
    const { lease = this.lease, queue = this.queue } = to;
    this.attacker.send({ type: 'submit', lease, queue, entries: bytes, ...(data === undefined ? {} : { data }) });
    return within('the completions', Promise.all(replies));
  }

  #completed(entries: Uint8Array, data: Uint8Array): void {
    this.data = data;
    const words = new Uint32Array(Uint8Array.from(entries).buffer);
    for (let at = 0; at < entries.length / (COMPLETION_BYTES / COMPLETION_WORDS); at += COMPLETION_WORDS) {
      const tag = BigInt(words[at + CompletionWord.tagLow]) | (BigInt(words[at + CompletionWord.tagHigh]) << 32n);
      const code = codeName(words[at + CompletionWord.code] & 0xffff) ?? 'internal';
      const waiting = this.#waiting.get(tag)?.shift();
      if (waiting === undefined) throw new Error(`a completion with tag ${tag}, which the attacker does not wait for`);
      waiting.resolve(code === 'ok' ? { outcome: 'harmless', code: '' } : { outcome: outcomeOf(code), code });
    }
  }

  #settle(which: (waiting: Waiting) => boolean, end: Reply | Error): void {
    for (const [tag, all] of this.#waiting) {
      this.#waiting.set(
        tag,
        all.filter((waiting) => !which(waiting)),
      );
      for (const waiting of all.filter(which)) {
        if (end instanceof Error) waiting.reject(end);
        else waiting.resolve(end);
      }
    }
  }
}

/** A completion with a code is a refusal, or what became of an admitted request; the session goes on either way. */
const outcomeOf = (code: keyof typeof CODES): Reply['outcome'] => (CODES[code].code < CODES.malformed.code ? 'refused' : 'harmless');
