/** Whose data lies where on one namespace, in bytes; and what a new set of claims makes of it. Pure. */

export interface Segment {
  readonly first: number;
  readonly bytes: number;
  /** Tenants whose data may lie here; none: the blocks are clean. */
  readonly owners: readonly string[];
  /** A wipe began and did not end: what lies here belongs to nobody that may see it. */
  readonly wiping: boolean;
}

/** A share's claim on a window. */
export interface Claim {
  readonly first: number;
  readonly bytes: number;
  readonly tenant: string;
  /** Undefined: the configuration does not say. */
  readonly keepData: boolean | undefined;
}

/**
 * `keep`: the claimants may have it as it is. `wipe`: only after a wipe. `undecided`: nobody knows whose data it holds, and the configuration does
 * not say what should become of it.
 */
export type Verdict = 'keep' | 'wipe' | 'undecided';

export interface Judged {
  readonly first: number;
  readonly bytes: number;
  readonly owners: readonly string[];
  readonly verdict: Verdict;
}

interface Range {
  readonly first: number;
  readonly bytes: number;
}
const covers = (range: Range, at: number): boolean => range.first <= at && at < range.first + range.bytes;
const meets = (a: Range, b: Range): boolean => a.first < b.first + b.bytes && b.first < a.first + a.bytes;
const sameOwners = (a: readonly string[], b: readonly string[]): boolean => a.length === b.length && a.every((name) => b.includes(name));

/**
 * What lies here comes to `claims`. It needs a wipe when somebody new would see it while somebody who may have written it no longer has it: tenants who
 * share a window agreed to see each other's data, and a tenant that stays alone has seen all of it.
 */
function judge(segment: Segment | undefined, claims: readonly Claim[]): Verdict {
  if (segment?.wiping === true) return 'wipe';
  const newcomers = claims.filter(({ tenant }) => segment === undefined || !segment.owners.includes(tenant));
  if (newcomers.length === 0) return 'keep';
  if (segment !== undefined && segment.owners.every((owner) => claims.some(({ tenant }) => tenant === owner))) return 'keep';
  if (newcomers.every(({ keepData }) => keepData === true)) return 'keep';
  return segment === undefined && newcomers.some(({ keepData }) => keepData === undefined) ? 'undecided' : 'wipe';
}

const SEVERITY: Readonly<Record<Verdict, number>> = { keep: 0, wipe: 1, undecided: 2 };

/** The verdict on a piece of which each part has its own: the worst of them. */
function judgeAll(segments: readonly Segment[], piece: Range, claims: readonly Claim[]): Verdict {
  const here = segments.filter((segment) => meets(segment, piece));
  const end = piece.first + piece.bytes;
  const known = here.reduce((bytes, { first, bytes: length }) => bytes + Math.min(first + length, end) - Math.max(first, piece.first), 0);
  const parts: (Segment | undefined)[] = known < piece.bytes ? [...here, undefined] : here;
  return parts.map((part) => judge(part, claims)).reduce((worst, verdict) => (SEVERITY[verdict] > SEVERITY[worst] ? verdict : worst), 'keep');
}

/**
 * Cuts the claimed windows where ownership or claims change, and judges each piece. Neighbours that fare alike are one piece. Claims lie on
 * multiples of `granule` (the bytes of a block), and so do the pieces, even where the blocks had another size when the segments were noted.
 */
export function judgeClaims(segments: readonly Segment[], claims: readonly Claim[], granule: number): Judged[] {
  const aligned = segments.flatMap(({ first, bytes }) =>
    [first, first + bytes].flatMap((edge) => [Math.floor(edge / granule) * granule, Math.ceil(edge / granule) * granule]),
  );
  const cuts = [...new Set([...aligned, ...claims.flatMap(({ first, bytes }) => [first, first + bytes])])].sort((a, b) => a - b);
  const judged: Judged[] = [];
  cuts.slice(0, -1).forEach((first, index) => {
    const here = claims.filter((claim) => covers(claim, first));
    if (here.length === 0) return;
    const owners = [...new Set(here.map(({ tenant }) => tenant))].sort();
    const bytes = cuts[index + 1] - first;
    const piece = { first, bytes, owners, verdict: judgeAll(segments, { first, bytes }, here) };
    const last = judged.at(-1);
    const joins = last !== undefined && last.first + last.bytes === first && last.verdict === piece.verdict && sameOwners(last.owners, owners);
    if (joins) judged[judged.length - 1] = { ...last, bytes: last.bytes + bytes };
    else judged.push(piece);
  });
  return judged;
}

/** The segments with `next` in place of whatever was there, in order, equal neighbours joined. */
export function replaceSegment(segments: readonly Segment[], next: Segment): Segment[] {
  const end = next.first + next.bytes;
  const rest = segments.flatMap((segment): Segment[] => {
    const segmentEnd = segment.first + segment.bytes;
    if (segmentEnd <= next.first || segment.first >= end) return [segment];
    const before = segment.first < next.first ? [{ ...segment, bytes: next.first - segment.first }] : [];
    const after = segmentEnd > end ? [{ ...segment, first: end, bytes: segmentEnd - end }] : [];
    return [...before, ...after];
  });
  const sorted = [...rest, next].sort((a, b) => a.first - b.first);
  return sorted.reduce<Segment[]>((joined, segment) => {
    const last = joined.at(-1);
    const joins =
      last !== undefined && last.first + last.bytes === segment.first && last.wiping === segment.wiping && sameOwners(last.owners, segment.owners);
    if (joins) joined[joined.length - 1] = { ...last, bytes: last.bytes + segment.bytes };
    else joined.push(segment);
    return joined;
  }, []);
}
