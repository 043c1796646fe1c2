/** What becomes of an attack: not what it says of itself, but what was seen. In doubt it has escaped, and the demonstration has failed. */
import { messageOf } from '../../server/text.js';
import type { BackingKind, RawWorld } from './raw/world.js';
import type { MediatedWorld } from './mediated/world.js';
import type { Attack, AttackResult, Damage, DemoReport, MediatedOutcome, RawOutcome, Reply, ReplyCode } from './types.js';

/** What the judge asks of the world in which the attack was made. */
export type Witness = Pick<MediatedWorld, 'harm' | 'endAttack' | 'sessionsGoOn'>;

interface Verdict<Outcome> {
  readonly outcome: Outcome;
  readonly findings: readonly string[];
}

/** The damage that the raw half has to do on this backing. */
export const expectedDamage = ({ expected: { raw } }: Attack, backing: BackingKind): Damage => (typeof raw === 'string' ? raw : raw[backing]);

/** The raw half. Damage that was expected and not seen is a finding: then nothing was shown. */
export async function judgeRaw(attack: Attack, world: RawWorld, backing: BackingKind): Promise<Verdict<RawOutcome>> {
  const expected = expectedDamage(attack, backing);
  try {
    const outcome = await attack.raw(world);
    return { outcome, findings: outcome === expected ? [] : [`raw access: ${outcome}, where ${expected} was expected`] };
  } catch (error) {
    return { outcome: 'none', findings: [`raw access: the attempt failed: ${messageOf(error)}`] };
  }
}

/** The mediated half: what the attacker was told, and what all others noticed. */
export async function judgeMediated<World extends Witness>(
  attack: Pick<Attack, 'expected'> & { readonly mediated: (world: World) => Promise<Reply> },
  world: World,
): Promise<Verdict<MediatedOutcome> & { readonly code: ReplyCode | '' }> {
  let reply: Reply | undefined;
  const doubts: string[] = [];
  const surprises: string[] = [];
  try {
    reply = await attack.mediated(world);
    if (reply.outcome === 'refused' && !(await world.sessionsGoOn())) surprises.push('it was refused, and its session ended');
  } catch (error) {
    doubts.push(`through the server: no verdict: ${messageOf(error)}`);
  }
  try {
    await world.endAttack();
    doubts.push(...(await world.harm()));
  } catch (error) {
    doubts.push(`through the server: the others could not be looked at: ${messageOf(error)}`);
  }
  if (reply !== undefined && !isExpected(reply, attack.expected.mediated)) {
    const words = attack.expected.mediated.map(inWords).join(' or ');
    // What was accepted and should not have been got through, even if nothing was hit this time.
    (reply.outcome === 'harmless' ? doubts : surprises).push(`through the server: ${inWords(reply)}, where ${words} was expected`);
  }
  const outcome = reply === undefined || doubts.length > 0 ? 'ESCAPED' : reply.outcome;
  return { outcome, code: reply?.code ?? '', findings: [...doubts, ...surprises] };
}

const isExpected = (reply: Reply, expected: readonly Reply[]): boolean =>
  expected.some(({ outcome, code }) => outcome === reply.outcome && code === reply.code);

const inWords = ({ outcome, code }: Reply): string => (code === '' ? 'accepted' : `${outcome} with ${code}`);

/** Attacks that got through, and what the last look at everything found. */
export const escapes = ({ results, findings }: DemoReport): number =>
  results.filter(({ mediated }) => mediated === 'ESCAPED').length + (findings.length > 0 ? 1 : 0);

/** Whether everything was as it has to be: the workload matched, nothing escaped, all damage was seen, all answers were the expected ones. */
export const succeeded = (report: DemoReport): boolean =>
  report.workload.mismatches === 0 && escapes(report) === 0 && report.results.every(({ findings }: AttackResult) => findings.length === 0);
