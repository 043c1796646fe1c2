/** What an embedded controller can be like: options with defaults, checked, and resolved to plain data. */
import { resolve } from 'node:path';
import { BUS_PAGES } from './addresses.js';
import { type Fault, checkFault } from './faults.js';
import type { ControllerShape, NamespaceShape } from './model/shape.js';

export interface NamespaceOptions {
  /** Size; a multiple of `blockBytes`. */
  readonly bytes: number;
  /** Default 4096. */
  readonly blockBytes?: 512 | 4096 | undefined;
  /**
   * File that holds the blocks; made if it is not there, grown if it is too short, never cut. Without it they are in memory, and gone when the
   * backing is closed (`stepped`) or disposed of (`thread`).
   */
  readonly image?: string | undefined;
  /** Where in the image the namespace begins, a multiple of 4096. Default: behind the one before it in the same image. */
  readonly imageOffset?: number | undefined;
}

export interface EmulatedOptions {
  /** Where the model runs: inside `poll` of the engine thread (the default), or on a thread of its own. */
  readonly mode?: 'stepped' | 'thread' | undefined;
  /** Namespaces 1 and following. Default: one of 1 GiB in memory. */
  readonly namespaces?: readonly NamespaceOptions[] | undefined;
  /** Maximum data transfer size: 4096 << mdts bytes; 0: no limit. Default 7 (512 KiB). */
  readonly mdts?: number | undefined;
  /** I/O queue pairs, 1 to 1024. Default 64. */
  readonly queuePairs?: number | undefined;
  /** CAP.MQES: largest queue, zero-based. Default 1023. */
  readonly mqes?: number | undefined;
  /** CAP.DSTRD: doorbells are 4 << stride bytes apart. Default 0. */
  readonly doorbellStride?: number | undefined;
  /** MSI-X vectors, 0 (no MSI-X) to 2048. Default one more than there are queue pairs, as far as that goes. */
  readonly vectors?: number | undefined;
  /** CAP.TO in milliseconds, rounded up to 500. Default 5000. */
  readonly readyTimeoutMs?: number | undefined;
  /** Up to 20 printable ASCII characters. */
  readonly serial?: string | undefined;
  /** Expansion ROM: what it holds, or the file that has it; 1 byte to 16 MiB. Default: none. */
  readonly rom?: Uint8Array | string | undefined;
  /** Most memory attached at once. Default 64 GiB. */
  readonly busBytes?: number | undefined;
  /** Seed of the bus addresses that memory gets. Default 1. */
  readonly seed?: number | undefined;
  readonly faults?: readonly Fault[] | undefined;
  /** Records every DMA access; for tests and demonstrations only. Default off. */
  readonly audit?: boolean | undefined;
}

/** A file that holds namespaces, as the options name it. */
export interface ImageOptions {
  readonly path: string;
  /** Bytes that it must have at least. */
  readonly bytes: number;
}

/** Everything resolved; survives a structured clone. */
export interface EmulatedShape extends ControllerShape {
  readonly mode: 'stepped' | 'thread';
  readonly busPages: number;
  readonly seed: number;
  readonly faults: readonly Fault[];
  readonly audit: boolean;
}

/** Vectors of the largest MSI-X table. */
export const MAX_VECTORS = 2048;
const MAX_QUEUE_PAIRS = 1024;
const MAX_NAMESPACES = 256;
const GIB = 2 ** 30;
const PAGE = 4096;
/** Half of what the bus decodes: the other half keeps scattered pages scattered. */
const MAX_BUS_BYTES = (BUS_PAGES / 4) * PAGE;

/** Fills in defaults; `rom` is what the option of that name stands for. Throws RangeError with the name of the option that cannot be. */
export function resolveOptions(options: EmulatedOptions, rom?: Uint8Array): { shape: EmulatedShape; images: ImageOptions[] } {
  const queuePairs = whole('queuePairs', options.queuePairs ?? 64, 1, MAX_QUEUE_PAIRS);
  const { namespaces, images } = placeNamespaces(options.namespaces ?? [{ bytes: GIB }]);
  for (const fault of options.faults ?? []) checkFault(fault);
  const shape: EmulatedShape = {
    mode: options.mode ?? 'stepped',
    serial: checkSerial(options.serial ?? 'RINGWARDEN0001'),
    namespaces,
    mdts: whole('mdts', options.mdts ?? 7, 0, 16),
    queuePairs,
    mqes: whole('mqes', options.mqes ?? 1023, 1, 0xffff),
    doorbellStride: whole('doorbellStride', options.doorbellStride ?? 0, 0, 15),
    vectors: whole('vectors', options.vectors ?? Math.min(queuePairs + 1, MAX_VECTORS), 0, MAX_VECTORS),
    timeoutUnits: Math.ceil(whole('readyTimeoutMs', options.readyTimeoutMs ?? 5000, 1, 127_500) / 500),
    rom,
    busPages: Math.ceil(whole('busBytes', options.busBytes ?? 64 * GIB, PAGE, MAX_BUS_BYTES) / PAGE),
    seed: whole('seed', options.seed ?? 1, 0, 0xffff_ffff),
    faults: options.faults ?? [],
    audit: options.audit ?? false,
  };
  return { shape, images };
}

function placeNamespaces(options: readonly NamespaceOptions[]): { namespaces: NamespaceShape[]; images: ImageOptions[] } {
  whole('namespaces.length', options.length, 1, MAX_NAMESPACES);
  const paths: string[] = [];
  const ends: number[] = [];
  const namespaces: NamespaceShape[] = [];
  for (const [index, { bytes, blockBytes = 4096, image, imageOffset }] of options.entries()) {
    const name = `namespaces[${index}]`;
    if (blockBytes !== 512 && blockBytes !== 4096) throw new RangeError(`${name}.blockBytes must be 512 or 4096, not ${String(blockBytes)}`);
    whole(`${name}.bytes`, bytes, blockBytes, Number.MAX_SAFE_INTEGER);
    if (bytes % blockBytes !== 0) throw new RangeError(`${name}.bytes must be a multiple of ${blockBytes}, not ${bytes}`);
    let file = -1;
    let offset = 0;
    if (image !== undefined) {
      const path = resolve(image);
      file = paths.indexOf(path);
      if (file < 0) file = paths.push(path) - 1;
      offset = whole(`${name}.imageOffset`, imageOffset ?? Math.ceil((ends[file] ?? 0) / PAGE) * PAGE, 0, Number.MAX_SAFE_INTEGER - bytes);
      if (offset % PAGE !== 0) throw new RangeError(`${name}.imageOffset must be a multiple of ${PAGE}, not ${offset}`);
      ends[file] = Math.max(ends[file] ?? 0, offset + bytes);
    }
    namespaces.push({ blockBytes, blocks: bytes / blockBytes, image: file, imageOffset: offset });
  }
  return { namespaces, images: paths.map((path, index) => ({ path, bytes: ends[index] })) };
}

function whole(name: string, value: number, least: number, most: number): number {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return value;
  throw new RangeError(`${name} must be a whole number from ${least} to ${most}, not ${value}`);
}

function checkSerial(serial: string): string {
  if (/^[\x20-\x7e]{1,20}$/.test(serial)) return serial;
  throw new RangeError(`serial must be 1 to 20 printable ASCII characters, not ${JSON.stringify(serial)}`);
}
