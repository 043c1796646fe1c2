/** Secrets and canaries: bytes that nobody but their owner may see or change. */
import { randomBytes } from 'node:crypto';

const LINE_BYTES = 64;
const MARK_BYTES = 16;

/**
 * The secret of one owner: a mark of 128 random bits that is in every line of 64 bytes, followed by the number of the line. Finding the mark
 * anywhere proves a leak; it is in no other bytes of the world.
 */
export class Secret {
  readonly owner: string;
  readonly mark: Buffer;

  constructor(owner: string) {
    this.owner = owner;
    this.mark = randomBytes(MARK_BYTES);
  }

  /** `bytes` (a multiple of 64) of secret, no line twice; `salt` tells one place from another. */
  fill(bytes: number, salt: number): Buffer {
    const filled = Buffer.alloc(bytes, this.owner.slice(0, 8));
    for (let at = 0; at < bytes; at += LINE_BYTES) {
      this.mark.copy(filled, at);
      filled.writeUInt32LE(salt, at + MARK_BYTES);
      filled.writeUInt32LE(at / LINE_BYTES, at + MARK_BYTES + 4);
    }
    return filled;
  }

  isIn(bytes: Uint8Array): boolean {
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).includes(this.mark);
  }
}

/** A place that must not change. */
export interface Canary {
  readonly name: string;
  /** Replaced only by {@link takeChanges}. */
  expected: Buffer;
  /** What is there now. */
  read(): Buffer | Promise<Buffer>;
}

/** Offset of the first byte that differs, or -1. Every byte is compared; another length differs at its end. */
export function firstDifference(expected: Uint8Array, found: Uint8Array): number {
  if (Buffer.compare(expected, found) === 0) return -1;
  const common = Math.min(expected.length, found.length);
  for (let at = 0; at < common; at++) if (expected[at] !== found[at]) return at;
  return common;
}

/** What changed, in words; empty when nothing did. A canary that cannot be read counts as changed. */
export async function changes(canaries: readonly Canary[]): Promise<string[]> {
  const found = await Promise.all(canaries.map(async (canary) => (await look(canary)).change));
  return found.filter((change) => change !== '');
}

/** {@link changes}, and takes what is there now for what is expected from here on: the next attack is not blamed for what this one did. */
export async function takeChanges(canaries: readonly Canary[]): Promise<string[]> {
  const found: string[] = [];
  for (const canary of canaries) {
    const { change, bytes } = await look(canary);
    if (change !== '') found.push(change);
    if (bytes !== undefined) canary.expected = bytes;
  }
  return found;
}

async function look(canary: Canary): Promise<{ change: string; bytes?: Buffer }> {
  try {
    const bytes = await canary.read();
    const at = firstDifference(canary.expected, bytes);
    return at < 0 ? { change: '' } : { change: `${canary.name} changed at byte ${at}`, bytes: Buffer.from(bytes) };
  } catch (error) {
    return { change: `${canary.name} cannot be read: ${error instanceof Error ? error.message : String(error)}` };
  }
}
