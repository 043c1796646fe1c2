/**
 * A workload that knows what every block must hold. Each block carries the workload's seed, its own number and a version all over, so that a block of
 * somebody else, of another place or of another time is seen.
 */
import type { Client } from './server.js';

type Device = Awaited<ReturnType<Client['openDevice']>>;
type Share = ReturnType<Device['share']>;

/** Blocks of one lane: a lane has one request in flight, and blocks of its own. */
const LANE_BLOCKS = 64;
const MOST_BLOCKS = 16;
const MARK_BYTES = 16;
const MAGIC = 0x5256_4c57;
/** Mismatches that are kept: the first ones tell the story. */
const MOST_KEPT = 8;

/** Deterministic, so that a failure can be repeated: xorshift32 (Marsaglia 2003). */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed * 2_654_435_761) >>> 0 || 1;
  }

  /** From 0 to `below` - 1. */
  next(below: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state % below;
  }
}

export class Workload {
  requests = 0;
  /** Resolves when every block was written once. */
  readonly filled: Promise<void>;
  /** What was not as it must be; empty in a sound world. */
  readonly mismatches: string[] = [];
  readonly #share: Share;
  readonly #seed: number;
  readonly #first: number;
  readonly #versions: Uint32Array;
  readonly #lanes: Promise<void>[];
  #fill: () => void = () => undefined;
  #unfilled: number;
  #stopping = false;

  /** Starts at once, on `lanes` x 64 blocks from block `first` on. */
  constructor(share: Share, { seed = 1, lanes = 8, first = 0 } = {}) {
    this.#share = share;
    this.#seed = seed;
    this.#first = first;
    this.#versions = new Uint32Array(lanes * LANE_BLOCKS);
    this.#unfilled = lanes;
    this.filled = new Promise((resolve) => {
      this.#fill = resolve;
    });
    this.#lanes = Array.from({ length: lanes }, (_, lane) => this.#run(lane * LANE_BLOCKS, new Random(seed + lane)));
    // Told at the end; a rejection in between is no unhandled one.
    for (const lane of this.#lanes) lane.catch(() => undefined);
  }

  /** Ends, after a last look at every block. Rejects with what a request was refused with. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#lanes);
    await this.verify(this.#share);
  }

  /** Reads every block, of this share or of the same share in a later lease, and compares. */
  async verify(share: Share): Promise<void> {
    const data = await share.readBlocks(this.#first, this.#versions.length);
    for (let block = 0; block < this.#versions.length; block++) this.#check(block, data.subarray(block * share.blockBytes), 'at the end');
  }

  async #run(base: number, random: Random): Promise<void> {
    await this.#write(base, LANE_BLOCKS);
    if (--this.#unfilled === 0) this.#fill();
    while (!this.#stopping) {
      const count = 1 + random.next(MOST_BLOCKS);
      const block = base + random.next(LANE_BLOCKS - count + 1);
      const kind = random.next(16);
      if (kind === 0) await this.#share.flush();
      else if (kind === 1) await this.#compare(block, count);
      else if (kind < 9) await this.#write(block, count);
      else await this.#read(block, count);
      this.requests++;
    }
  }

  async #write(block: number, count: number): Promise<void> {
    for (let each = block; each < block + count; each++) this.#versions[each]++;
    await this.#share.writeBlocks(this.#first + block, this.#content(block, count));
  }

  async #read(block: number, count: number): Promise<void> {
    const data = await this.#share.readBlocks(this.#first + block, count);
    for (let each = 0; each < count; each++) this.#check(block + each, data.subarray(each * this.#share.blockBytes), 'read');
  }

  async #compare(block: number, count: number): Promise<void> {
    const isEqual = await this.#share.compareBlocks(this.#first + block, this.#content(block, count));
    if (!isEqual) this.#mismatch(`compare at block ${block}`);
  }

  #content(block: number, count: number): Buffer {
    const { blockBytes } = this.#share;
    const content = Buffer.allocUnsafe(count * blockBytes);
    for (let each = 0; each < count; each++) content.fill(this.#mark(block + each), each * blockBytes, (each + 1) * blockBytes);
    return content;
  }

  #mark(block: number): Buffer {
    const mark = Buffer.alloc(MARK_BYTES);
    mark.writeUInt32LE(MAGIC, 0);
    mark.writeUInt32LE(this.#seed, 4);
    mark.writeUInt32LE(block, 8);
    mark.writeUInt32LE(this.#versions[block], 12);
    return mark;
  }

  #check(block: number, found: Buffer, when: string): void {
    const { blockBytes } = this.#share;
    if (Buffer.alloc(blockBytes, this.#mark(block)).equals(found.subarray(0, blockBytes))) return;
    this.#mismatch(`block ${block} ${when}: ${found.toString('hex', 0, MARK_BYTES)}, not ${this.#mark(block).toString('hex')}`);
  }

  #mismatch(what: string): void {
    if (this.mismatches.length < MOST_KEPT) this.mismatches.push(what);
  }
}
