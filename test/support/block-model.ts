/**
 * What a range of blocks may hold. Each write has a version of its own; a request whose outcome is not known leaves more than one that may be there, and on a
 * lease with shared queues it may still be carried out later, until the lease is closed (docs/protocol.md, "Completion").
 */
const MARK_BYTES = 16;
const MAGIC = 0x5256_534b;
/** The version of a block of zeroes. */
export const ZERO = 0;

export class BlockModel {
  readonly first: number;
  readonly blocks: number;
  readonly #blockBytes: number;
  readonly #owner: number;
  /** Of each block: the versions that may be there. */
  readonly #possible: Set<number>[];
  /** Of each block: the versions that may still come. */
  readonly #late: Set<number>[];
  #version = ZERO;

  /** Blocks from `first` on, all zeroes; `owner` tells them from the blocks of others. */
  constructor(owner: number, first: number, blocks: number, blockBytes: number) {
    this.#owner = owner;
    this.first = first;
    this.blocks = blocks;
    this.#blockBytes = blockBytes;
    this.#possible = Array.from({ length: blocks }, () => new Set([ZERO]));
    this.#late = Array.from({ length: blocks }, () => new Set<number>());
  }

  /** A version that was never written before. */
  next(): number {
    return ++this.#version;
  }

  content(at: number, count: number, version: number): Buffer {
    const content = Buffer.alloc(count * this.#blockBytes);
    for (let each = 0; each < count; each++) this.#fill(content.subarray(each * this.#blockBytes, (each + 1) * this.#blockBytes), at + each, version);
    return content;
  }

  /** What is there, when that is certain. */
  certain(at: number, count: number): Buffer | undefined {
    const parts: Buffer[] = [];
    for (let each = at; each < at + count; each++) {
      if (this.#possible[each].size !== 1 || this.#late[each].size > 0) return undefined;
      parts.push(this.content(each, 1, [...this.#possible[each]][0]));
    }
    return Buffer.concat(parts);
  }

  wrote(at: number, count: number, version: number): void {
    for (let each = at; each < at + count; each++) this.#possible[each] = new Set([version, ...this.#late[each]]);
  }

  /** Nobody knows whether it was written; `isShared`: nor whether it will be. */
  mayHaveWritten(at: number, count: number, version: number, isShared: boolean): void {
    for (let each = at; each < at + count; each++) {
      this.#possible[each].add(version);
      if (isShared) this.#late[each].add(version);
    }
  }

  /** The lease is closed: what was on its way has come or will not. */
  settle(): void {
    this.#late.forEach((late) => late.clear());
  }

  /** Looks at every byte that was read. Returns what is wrong with the first block with which something is, and otherwise knows more than before. */
  check(at: number, count: number, found: Uint8Array): string {
    const bytes = Buffer.from(found.buffer, found.byteOffset, found.byteLength);
    if (bytes.length !== count * this.#blockBytes) return `${bytes.length} bytes for ${count} blocks`;
    for (let each = 0; each < count; each++) {
      const block = at + each;
      const here = bytes.subarray(each * this.#blockBytes, (each + 1) * this.#blockBytes);
      const version = here.readUInt32LE(0) === MAGIC ? here.readUInt32LE(12) : ZERO;
      const possible = this.#possible[block];
      if (!possible.has(version) || !here.equals(this.content(block, 1, version)))
        return `block ${this.first + block} holds ${here.toString('hex', 0, MARK_BYTES)}..., and may hold version ${[...possible].join(' or ')}`;
      this.#possible[block] = new Set([version, ...this.#late[block]]);
    }
    return '';
  }

  #fill(into: Buffer, block: number, version: number): void {
    if (version === ZERO) return;
    const mark = Buffer.alloc(MARK_BYTES);
    mark.writeUInt32LE(MAGIC, 0);
    mark.writeUInt32LE(this.#owner, 4);
    mark.writeUInt32LE(this.first + block, 8);
    mark.writeUInt32LE(version, 12);
    into.fill(mark);
  }
}
