/** Sizes, durations and windows as people write them. */

const SIZE_UNITS: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};
const TIME_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, min: 60_000, h: 3_600_000 };

/** Patterns of the two, in the published schema too. */
export const SIZE_PATTERN = /^\d+ ?(?:B|[kMGT]B|[KMGT]iB)$/;
export const DURATION_PATTERN = /^\d+ ?(?:ms|s|min|h)$/;
export const BLOCKS_PATTERN = /^\d+ ?blocks?$/;

/** Number and unit of a text that matched its pattern; NaN for what is not a safe whole number. */
function scaled(text: string, units: Readonly<Record<string, number>>): number {
  const digits = /^\d+/.exec(text)?.[0] ?? '';
  const value = Number(digits) * (units[text.slice(digits.length).trim()] ?? Number.NaN);
  return Number.isSafeInteger(value) ? value : Number.NaN;
}

/** Bytes of `4096` or `"512 MiB"`; NaN if it is neither. */
export const parseSize = (value: number | string): number =>
  typeof value === 'number' ? value : SIZE_PATTERN.test(value) ? scaled(value, SIZE_UNITS) : Number.NaN;

/** Milliseconds of `250` or `"5 s"`; NaN if it is neither. */
export const parseDuration = (value: number | string): number =>
  typeof value === 'number' ? value : DURATION_PATTERN.test(value) ? scaled(value, TIME_UNITS) : Number.NaN;

/** A place or a length on a namespace: in bytes, or in its logical blocks. */
export type Extent = { readonly bytes: number } | { readonly blocks: number };

/** An {@link Extent} of bytes (`0`, `"512 MiB"`) or of blocks (`"131072 blocks"`); undefined if it is neither. */
export function parseExtent(value: number | string): Extent | undefined {
  if (typeof value === 'string' && BLOCKS_PATTERN.test(value)) {
    const blocks = Number.parseInt(value, 10);
    return Number.isSafeInteger(blocks) ? { blocks } : undefined;
  }
  const bytes = parseSize(value);
  return Number.isSafeInteger(bytes) ? { bytes } : undefined;
}
