/** What an attack is, and what can become of it. */
import type { CodeName } from '../../protocol/index.js';
import type { MediatedWorld } from './mediated/world.js';
import type { BackingKind, RawWorld } from './raw/world.js';

/**
 * What raw access did, seen and not assumed. `corrupted`: memory or blocks of the victim changed. `leaked`: the victim's bytes reached the
 * attacker. `crashed`: the controller reports fatal status. `stalled`: the victim's commands no longer complete. `not-applicable`: raw access
 * has nothing of the kind. `none`: an attack that should have done damage did not; the demonstration has then failed.
 */
export type RawOutcome = 'corrupted' | 'leaked' | 'crashed' | 'stalled' | 'not-applicable' | 'none';

export type Damage = Exclude<RawOutcome, 'none'>;

/**
 * What became of the attempt through the server. `refused`: a code, and the session goes on. `faulted`: a code, and the session ended.
 * `harmless`: accepted, and it hit nothing of anybody else. `ESCAPED`: something of somebody else was hit, or it was not shown that nothing was.
 */
export type MediatedOutcome = 'refused' | 'faulted' | 'harmless' | 'ESCAPED';

/** What says no where no message is sent: the kernel to who holds a descriptor (errno), and the descriptor socket to a ticket (its answer 1). */
export const OTHER_REFUSALS = ['EACCES', 'EPERM', 'noSuchTicket'] as const;
type OtherRefusal = (typeof OTHER_REFUSALS)[number];
export type ReplyCode = CodeName | OtherRefusal;

export const isOtherRefusal = (code: string): code is OtherRefusal => (OTHER_REFUSALS as readonly string[]).includes(code);

/** What the attacker was told. */
export interface Reply {
  readonly outcome: Exclude<MediatedOutcome, 'ESCAPED'>;
  /** Empty when nothing was refused. */
  readonly code: ReplyCode | '';
}

/** What a program with raw access does, and what it sees of the damage. */
export interface RawHalf {
  (world: RawWorld): Promise<RawOutcome>;
  /** Why raw access has nothing of the kind, where it has not. */
  readonly why?: string;
}

export interface Attack {
  /** Short, unique; what `--only` takes. */
  readonly id: string;
  readonly title: string;
  /** The requirement that it puts to the test, R01 to R41. */
  readonly requirement: string;
  /** What each half must end in; anything else fails the demonstration. More than one reply where the attempt is a race. */
  readonly expected: { readonly raw: Damage | Readonly<Record<BackingKind, Damage>>; readonly mediated: readonly Reply[] };
  /** With a device of its own and nobody in between. */
  readonly raw: RawHalf;
  /** The same through the server, as an ordinary client. What the victims see of it is judged apart from what it returns. */
  readonly mediated: (world: MediatedWorld) => Promise<Reply>;
}

export interface AttackResult {
  readonly attack: Attack;
  readonly raw: RawOutcome;
  readonly mediated: MediatedOutcome;
  readonly code: ReplyCode | '';
  /** What was not as it should be, in words; empty when all was. */
  readonly findings: readonly string[];
}

/** Counts over both tenants. */
export interface WorkloadReport {
  readonly tenants: number;
  readonly requests: number;
  readonly bytes: number;
  /** Reads and compares that brought something else than what was written, and requests that failed although nothing is wrong with them. */
  readonly mismatches: number;
}

export interface DemoReport {
  readonly backing: string;
  readonly workload: WorkloadReport;
  readonly results: readonly AttackResult[];
  /** What the checks at the end found, beyond single attacks. */
  readonly findings: readonly string[];
}

export const refused = (code: ReplyCode): Reply => ({ outcome: 'refused', code });
export const faulted = (code: CodeName): Reply => ({ outcome: 'faulted', code });
export const harmless: Reply = { outcome: 'harmless', code: '' };

/** The raw half of an attack on something that only the server has. `why` is shown with the catalogue. */
export const notApplicable = (why: string): RawHalf => Object.assign(async () => 'not-applicable' as const, { why });
