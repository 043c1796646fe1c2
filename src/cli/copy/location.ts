/** What the two arguments of `copy` name. */
import type { DeviceInfo } from '../../client/index.js';
import { CliError, Exit } from '../failure.js';

interface SharePlace {
  readonly device: string;
  readonly share: string;
  /** Bytes from the start of the share. */
  readonly offset: number;
}

export type Plan =
  | { readonly direction: 'toShare'; readonly file: string; readonly place: SharePlace }
  | { readonly direction: 'fromShare'; readonly file: string; readonly place: SharePlace };

/** Standard input or output. */
export const STANDARD = '-';

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  ...binary('k', 10),
  ...binary('m', 20),
  ...binary('g', 30),
  ...binary('t', 40),
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
};

/** `k`, `K`, `Ki`, `KiB` and so on are powers of 1024. */
function binary(letter: string, exponent: number): Record<string, number> {
  const upper = letter.toUpperCase();
  return Object.fromEntries([letter, upper, `${upper}i`, `${upper}iB`].map((unit) => [unit, 2 ** exponent]));
}

/** Bytes of `4096`, `4k`, `1MiB` or `1MB` (a million); undefined for anything else, and above 2^53. */
export function parseBytes(text: string): number | undefined {
  const match = /^(\d+) ?([A-Za-z]*)$/.exec(text);
  const unit = match === null ? undefined : UNITS[match[2] === 'B' ? 'b' : match[2]];
  if (match === null || unit === undefined) return undefined;
  const bytes = Number(match[1]) * unit;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

const SHARE_FORM = /^([^/@]+)\/([^/@]+)(?:@(.*))?$/;

/** The place that `text` has the form of. @throws CliError for an offset that is none */
function placeOf(text: string): SharePlace | undefined {
  const match = SHARE_FORM.exec(text);
  if (match === null || match[1] === '.' || match[1] === '..') return undefined;
  const offset = parseBytes(match[3] ?? '0');
  if (offset === undefined) {
    throw new CliError(`${match[3]} is no offset`, 'write bytes, or a unit behind the number: DEVICE/SHARE@4k, DEVICE/SHARE@1MiB', Exit.usage);
  }
  return { device: match[1], share: match[2], offset };
}

const isGranted = (place: SharePlace | undefined, devices: readonly DeviceInfo[]): place is SharePlace =>
  devices.some(({ name, shares }) => name === place?.device && shares.some((share) => share.name === place.share));

/**
 * Says which argument is the share: the one that names a share of this tenant. A file of the same name is written as a path: `./nvme0/data`.
 *
 * @throws CliError
 */
export function planOf(from: string, to: string, devices: readonly DeviceInfo[]): Plan {
  const source = formOf(from);
  const target = formOf(to);
  const fromShare = isGranted(source, devices);
  const toShare = isGranted(target, devices);
  if (fromShare && toShare) {
    throw new CliError('both arguments name shares', 'copy through a file or a pipe; write a file of such a name as ./DEVICE/SHARE', Exit.usage);
  }
  if (toShare) return { direction: 'toShare', file: from, place: target };
  if (fromShare) return { direction: 'fromShare', file: to, place: source };
  const granted = devices.flatMap(({ name, shares }) => shares.map((share) => `${name}/${share.name}`));
  throw new CliError(
    `neither ${from} nor ${to} is a share of this tenant`,
    granted.length === 0 ? 'ask the administrator for a share' : `name one of ${granted.join(', ')}`,
  );
}

const formOf = (text: string): SharePlace | undefined => (text === STANDARD ? undefined : placeOf(text));

/** Refuses what cannot be a copy to or from any share, before a server is asked. @throws CliError */
export function checkForms(from: string, to: string): void {
  if (formOf(from) === undefined && formOf(to) === undefined) {
    throw new CliError('neither argument is a share', 'write one of them as DEVICE/SHARE or DEVICE/SHARE@OFFSET', Exit.usage);
  }
}
