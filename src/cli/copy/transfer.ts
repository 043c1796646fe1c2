/** The transfers of `copy`: many requests in flight, everything else in order. */
import { createHash } from 'node:crypto';
import type { BlockDevice } from '../../client/index.js';
import { CliError } from '../failure.js';
import type { Sink, Source } from './files.js';

export interface TransferOptions {
  /** Requests in flight. */
  readonly depth: number;
  readonly signal: AbortSignal;
  /** Told how many bytes are done, from the start on and without a gap. */
  readonly onProgress: (bytes: number) => void;
}

export interface Transferred {
  readonly bytes: number;
  /** Of the bytes, in hexadecimal. */
  readonly sha256: string;
}

/** Bytes of one request: what the SDK sends as one part of a pipelined transfer. */
const CHUNK_BYTES = 256 * 1_024;

/** A piece of memory, and the request that uses it. */
interface Lane {
  readonly buffer: Buffer;
  /** Of the data; the request moves whole blocks. */
  bytes: number;
  request: Promise<unknown>;
}

function lanesFor(share: BlockDevice, depth: number): Lane[] {
  const chunk = Math.max(1, Math.floor(CHUNK_BYTES / share.blockBytes)) * share.blockBytes;
  return Array.from({ length: depth }, () => ({ buffer: Buffer.allocUnsafeSlow(chunk), bytes: 0, request: Promise.resolve() }));
}

function start(lane: Lane, bytes: number, request: Promise<unknown>): void {
  lane.bytes = bytes;
  lane.request = request;
  // A failure is seen when its turn comes; it is not unhandled until then.
  request.catch(() => undefined);
}

/** Begins requests, as many at a time as there are lanes, until `begin` says that there is nothing left; ends each of them in its turn. */
async function inOrder(lanes: readonly Lane[], begin: (lane: Lane) => Promise<boolean>, end: (lane: Lane) => Promise<void>): Promise<void> {
  let begun = 0;
  let ended = 0;
  do {
    if (begun - ended === lanes.length) await end(lanes[ended++ % lanes.length]);
  } while (await begin(lanes[begun++ % lanes.length]));
  // The last lane that was tried has no request.
  begun--;
  while (ended < begun) await end(lanes[ended++ % lanes.length]);
}

/**
 * Writes what the source has, `most` bytes of it, to `offset` of the share, a multiple of its block size, and flushes. Where the data end
 * within a block, the rest of that block keeps what it holds: it is read first.
 */
export async function writeShare(source: Source, share: BlockDevice, offset: number, most: number, options: TransferOptions): Promise<Transferred> {
  const { depth, signal, onProgress } = options;
  const hash = createHash('sha256');
  let taken = 0;
  let done = 0;
  let ended = false;
  const begin = async (lane: Lane): Promise<boolean> => {
    signal.throwIfAborted();
    const wanted = Math.min(lane.buffer.length, most - taken);
    const bytes = ended || wanted === 0 ? 0 : await source.read(lane.buffer.subarray(0, wanted));
    ended = bytes < wanted;
    if (bytes === 0) return false;
    const at = offset + taken;
    if (!(bytes <= share.size - at)) {
      throw new CliError(`the data do not fit into the share, which has ${share.size} bytes`, 'copy less with --length, or to a larger share');
    }
    hash.update(lane.buffer.subarray(0, bytes));
    start(lane, bytes, writeChunk(share, at, lane.buffer, bytes, signal));
    taken += bytes;
    return true;
  };
  await inOrder(lanesFor(share, depth), begin, async (lane) => {
    await lane.request;
    done += lane.bytes;
    onProgress(done);
  });
  await share.flush({ signal });
  return { bytes: done, sha256: hash.digest('hex') };
}

async function writeChunk(share: BlockDevice, offset: number, buffer: Buffer, bytes: number, signal: AbortSignal): Promise<void> {
  const { blockBytes } = share;
  const tail = bytes % blockBytes;
  const whole = tail === 0 ? bytes : bytes - tail + blockBytes;
  if (tail > 0) {
    const block = await share.read(offset + whole - blockBytes, blockBytes, { signal });
    block.copy(buffer, bytes, tail);
  }
  await share.write(offset, buffer.subarray(0, whole), { signal });
}

/** Reads `length` bytes at `offset` of the share, a multiple of its block size, to the sink. */
export async function readShare(
  share: BlockDevice,
  offset: number,
  length: number,
  sink: Sink | undefined,
  options: TransferOptions,
): Promise<Transferred> {
  const { depth, signal, onProgress } = options;
  const hash = createHash('sha256');
  let asked = 0;
  let done = 0;
  const begin = (lane: Lane): Promise<boolean> => {
    signal.throwIfAborted();
    const bytes = Math.min(lane.buffer.length, length - asked);
    if (bytes === 0) return Promise.resolve(false);
    const whole = Math.ceil(bytes / share.blockBytes) * share.blockBytes;
    start(lane, bytes, share.read(offset + asked, whole, { into: lane.buffer.subarray(0, whole), signal }));
    asked += bytes;
    return Promise.resolve(true);
  };
  await inOrder(lanesFor(share, depth), begin, async (lane) => {
    await lane.request;
    const data = lane.buffer.subarray(0, lane.bytes);
    hash.update(data);
    await sink?.write(data);
    done += lane.bytes;
    onProgress(done);
  });
  return { bytes: done, sha256: hash.digest('hex') };
}

/** The checksum of what a source has. */
export async function checksum(source: Source, { signal, onProgress }: TransferOptions): Promise<Transferred> {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafeSlow(4 * CHUNK_BYTES);
  let done = 0;
  for (;;) {
    signal.throwIfAborted();
    const bytes = await source.read(buffer);
    hash.update(buffer.subarray(0, bytes));
    done += bytes;
    onProgress(done);
    if (bytes < buffer.length) return { bytes: done, sha256: hash.digest('hex') };
  }
}
