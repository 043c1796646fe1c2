/** Shares as windows of blocks: where each one lies, and whether any two lie on each other. */
import { resolve } from 'node:path';
import { formatSize } from '../text.js';
import { find } from './find.js';
import { formatPath } from './problems.js';
import type { ConfigProblem, KeyPath } from './problems.js';
import type { ParsedNamespace, ParsedShare } from './schema.js';
import type { Source } from './source.js';
import type { Extent } from './units.js';
import type { WellFormed } from './validate.js';

export interface Window {
  readonly tenant: string;
  readonly share: ParsedShare;
  readonly path: KeyPath;
  readonly firstBlock: number;
  readonly blocks: number;
  readonly blockBytes: number;
}

/** Windows of a device whose blocks are not known yet are counted in these: no device has smaller ones. */
const LEAST_BLOCK_BYTES = 512;

/** Bytes of a namespace: as configured, else as long as its image is now; undefined when neither says. */
export function namespaceBytes(folder: string, namespace: ParsedNamespace): number | undefined {
  if (namespace.size !== undefined || !('image' in namespace) || namespace.image === undefined) return namespace.size;
  const found = find(resolve(folder, namespace.image));
  return found?.isFile() === true ? found.size : undefined;
}

/** Blocks of an extent; undefined when it is not a whole number of blocks. */
function toBlocks(extent: Extent, blockBytes: number): number | undefined {
  const blocks = 'blocks' in extent ? extent.blocks : extent.bytes / blockBytes;
  return Number.isSafeInteger(blocks) ? blocks : undefined;
}

/** Every share whose place is sound, and what is wrong with the others. */
export function resolveWindows(source: Source, folder: string, parts: WellFormed): { windows: Window[]; problems: ConfigProblem[] } {
  const windows: Window[] = [];
  const problems: ConfigProblem[] = [];
  // Where a name is there twice, which is told elsewhere, the first one counts.
  const devices = new Map(parts.devices.toReversed().map(({ value }) => [value.name, value]));
  const deviceNames = [...devices.keys(), ...parts.brokenDevices];

  const resolveOne = (tenant: string, share: ParsedShare, path: KeyPath): ConfigProblem[] => {
    const device = devices.get(share.device);
    if (device === undefined) {
      if (parts.brokenDevices.has(share.device)) return [];
      return [source.problem([...path, 'device'], `there is no device "${share.device}"`, `name one of: ${deviceNames.join(', ')}`)];
    }
    const namespace = device.backing.namespaces[share.namespace - 1];
    if (namespace === undefined) {
      const count = device.backing.namespaces.length;
      const remedy = `name one from 1 to ${count}, or add it to the device`;
      return [source.problem([...path, 'namespace'], `device "${share.device}" has no namespace ${share.namespace}`, remedy)];
    }
    const { blockBytes = LEAST_BLOCK_BYTES } = namespace;
    if (namespace.blockBytes === undefined && ('blocks' in share.first || 'blocks' in share.size)) {
      const remedy = 'write bytes ("512 MiB"), or "blockBytes" for the namespace of the device';
      return [source.problem(path, `how long a block of device "${share.device}" is, is not known before it is there`, remedy)];
    }
    const firstBlock = toBlocks(share.first, blockBytes);
    const blocks = toBlocks(share.size, blockBytes);
    const misaligned = (key: string) =>
      source.problem([...path, key], `not a whole number of blocks of ${blockBytes} bytes`, `write a multiple of ${blockBytes} bytes`);
    const found: ConfigProblem[] = [];
    if (firstBlock === undefined) found.push(misaligned('first'));
    if (blocks === undefined) found.push(misaligned('size'));
    if (blocks === 0) found.push(source.problem([...path, 'size'], 'a window of no blocks', 'leave the share out, or give it a size'));
    if (firstBlock === undefined || blocks === undefined || found.length > 0) return found;
    windows.push({ tenant, share, path, firstBlock, blocks, blockBytes });
    const bytes = namespaceBytes(folder, namespace);
    return bytes === undefined ? [] : beyond(source, path, { firstBlock, blocks }, Math.floor(bytes / blockBytes), blockBytes);
  };

  for (const { path, value: tenant } of parts.tenants) {
    tenant.shares.forEach((share, index) => problems.push(...resolveOne(tenant.name, share, [...path, 'shares', index])));
  }
  return { windows, problems };
}

/** The problem of a window that does not lie inside a namespace of `total` blocks, if it does not. */
export function beyond(
  source: Pick<Source, 'problem'>,
  path: KeyPath,
  window: { readonly firstBlock: number; readonly blocks: number },
  total: number,
  blockBytes: number,
): ConfigProblem[] {
  const { firstBlock, blocks } = window;
  if (blocks <= total && firstBlock <= total - blocks) return [];
  const what = `blocks ${firstBlock} to ${firstBlock + blocks - 1} do not lie inside the namespace`;
  return [source.problem([...path, 'size'], what, `it has ${total} blocks of ${blockBytes} bytes (${formatSize(total * blockBytes)})`)];
}

/** Windows of different tenants that lie on each other although not both say `shared`. */
export function overlaps(source: Source, windows: readonly Window[]): ConfigProblem[] {
  const byPlace = new Map<string, Window[]>();
  for (const window of windows) {
    const place = `${window.share.device}/${window.share.namespace}`;
    byPlace.set(place, [...(byPlace.get(place) ?? []), window]);
  }
  const problems: ConfigProblem[] = [];
  for (const group of byPlace.values()) {
    const sorted = group.sort((a, b) => a.firstBlock - b.firstBlock);
    sorted.forEach((window, index) => {
      for (const other of sorted.slice(index + 1)) {
        if (other.firstBlock >= window.firstBlock + window.blocks) break;
        if (other.tenant === window.tenant || (other.share.shared && window.share.shared)) continue;
        problems.push(overlap(source, window, other));
      }
    });
  }
  return problems;
}

/** Told at whichever of the two comes later in the file. */
function overlap(source: Source, a: Window, b: Window): ConfigProblem {
  const [first, second] = source.line(a.path) <= source.line(b.path) ? [a, b] : [b, a];
  const from = Math.max(a.firstBlock, b.firstBlock);
  const to = Math.min(a.firstBlock + a.blocks, b.firstBlock + b.blocks) - 1;
  const owner = `"${first.share.name}" of tenant "${first.tenant}" (${formatPath(first.path)}, line ${source.line(first.path)})`;
  return source.problem(second.path, `blocks ${from} to ${to} belong to share ${owner} too`, 'move one of them, or say "shared": true in both');
}
