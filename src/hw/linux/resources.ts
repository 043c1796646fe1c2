/** The `resource` file of a PCI function: start, end and flags of each region, a line each (Documentation/PCI/sysfs-pci.rst). */
import { PAGE_BYTES } from '../../protocol/index.js';
import type { BarInfo } from '../backing.js';
import { BAR_COUNT } from '../pci/index.js';

/** Flags of a resource (include/linux/ioport.h). */
const Flag = { io: 0x100, memory: 0x200, prefetchable: 0x2000, is64: 0x10_0000 } as const;

const LINE = /^0x([0-9a-f]{1,16}) 0x([0-9a-f]{1,16}) 0x([0-9a-f]{1,16})$/;

function barOf(line: string, index: number): BarInfo[] {
  const [start, end, flags] = (LINE.exec(line.trim()) ?? []).slice(1).map((digits) => BigInt(`0x${digits}`));
  if (flags === undefined || end <= start) return [];
  const bits = Number(flags & 0xffff_ffffn);
  const kind = (bits & Flag.io) !== 0 ? 'io' : 'memory';
  if (kind === 'memory' && (bits & Flag.memory) === 0) return [];
  return [{ index, kind, bytes: Number(end - start + 1n), is64: (bits & Flag.is64) !== 0, prefetchable: (bits & Flag.prefetchable) !== 0 }];
}

/** BARs that the function has. Where they are on the bus is nobody's business here. */
export const parseResources = (text: string): BarInfo[] => text.split('\n').slice(0, BAR_COUNT).flatMap(barOf);

/**
 * Where the BAR begins in its first page, bytes: a memory BAR that is smaller than a page may lie anywhere in one, and whoever maps its file of sysfs gets the whole
 * page (drivers/pci/mmap.c).
 */
export function offsetInPage(text: string, index: number): number {
  const [, start = '0'] = LINE.exec(text.split('\n')[index]?.trim() ?? '') ?? [];
  return Number(BigInt(`0x${start}`) % BigInt(PAGE_BYTES));
}
