/** The regions of a function as tenants are told of them: what they are, and which parts may be read (R14, R32). No addresses. */
import type { BarInfo } from '../backing.js';
import type { BarRange } from './msix.js';
import type { FunctionSnapshot } from './snapshot.js';

/** Registers that a driver lets tenants read. Reading one changes nothing, and tells of nobody else. */
export interface ReadableArea {
  /** As the specification of the device calls it. */
  readonly name: string;
  /** From the start of the region. */
  readonly offset: number;
  readonly bytes: number;
  /** Width of an access: other widths are refused. Divides offset and bytes. */
  readonly width: 1 | 2 | 4;
}

/** What a driver says of the BARs of its device. */
export interface DriverRegions {
  readonly readable: readonly (ReadableArea & { readonly bar: number })[];
  /** What is never read by a tenant, whatever else is said. `bytes` may reach beyond the BAR. */
  readonly never: readonly BarRange[];
}

export interface PciRegion {
  /** Number of the base address register, 0 to 5; 6 for the expansion ROM. */
  readonly index: number;
  /** `BAR0` to `BAR5`, or `ROM`. */
  readonly name: string;
  readonly kind: 'memory' | 'io' | 'rom';
  readonly bytes: number;
  readonly is64: boolean;
  readonly prefetchable: boolean;
  /** In the order of their offsets. Empty: nothing of it may be read. */
  readonly readable: readonly ReadableArea[];
}

/** The index of the expansion ROM among the regions. */
export const ROM_REGION = 6;

/** MSI-X table and pending bits are never readable, nor is what reaches out of its BAR: such an area is left out (R31). */
export function describeRegions({ bars, msix, rom }: FunctionSnapshot, driver: DriverRegions): PciRegion[] {
  const never = msix === undefined ? driver.never : [...driver.never, msix.table, msix.pendingBits];
  const regions = bars.map((bar): PciRegion => ({ ...bar, name: `BAR${bar.index}`, readable: areasOf(bar, driver, never) }));
  if (rom === undefined) return regions;
  const facts = { index: ROM_REGION, name: 'ROM', kind: 'rom', is64: false, prefetchable: false } as const;
  return [...regions, { ...facts, bytes: rom.image.length, readable: [] }];
}

function areasOf({ index, bytes }: BarInfo, driver: DriverRegions, never: readonly BarRange[]): ReadableArea[] {
  return driver.readable
    .filter((area) => area.bar === index && area.offset + area.bytes <= bytes)
    .filter(
      (area) => !never.some((range) => range.bar === index && area.offset < range.offset + range.bytes && range.offset < area.offset + area.bytes),
    )
    .map(({ name, offset, bytes: size, width }) => ({ name, offset, bytes: size, width }))
    .toSorted((a, b) => a.offset - b.offset);
}

/** The area that an access lies in as a whole; undefined for one that is not aligned, of another width, or anywhere else. Total. */
export function areaOf({ readable }: PciRegion, offset: number, width: number): ReadableArea | undefined {
  if (!Number.isInteger(offset) || offset % width !== 0) return undefined;
  return readable.find((area) => width === area.width && offset >= area.offset && offset - area.offset <= area.bytes - width);
}
