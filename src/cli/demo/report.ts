/** The report: a table for people, JSON for programs. */
import { formatSize } from '../../server/text.js';
import { styled } from '../output.js';
import { escapes, succeeded } from './judge.js';
import type { Attack, AttackResult, DemoReport } from './types.js';

const HEADINGS = ['attack', 'what is tried', 'req', 'raw access', 'Ringwarden', 'code'] as const;

type Style = Parameters<typeof styled>[0];
const RAW_STYLES: Readonly<Record<AttackResult['raw'], Style>> = {
  corrupted: 'red',
  leaked: 'red',
  crashed: 'red',
  stalled: 'red',
  'not-applicable': 'dim',
  none: 'yellow',
};
const MEDIATED_STYLES: Readonly<Record<AttackResult['mediated'], Style>> = {
  refused: 'green',
  faulted: 'green',
  harmless: 'green',
  ESCAPED: ['bold', 'red'],
};
const RAW_WORDS: Partial<Record<AttackResult['raw'], string>> = { 'not-applicable': '-', none: 'NO DAMAGE' };

/** A table that is printed row by row, while the attacks run: the widths come from the catalogue. */
export class Table {
  readonly #widths: readonly number[];

  constructor(attacks: readonly Attack[]) {
    const widest = (texts: readonly string[], least: string): number => Math.max(least.length, ...texts.map((text) => text.length));
    this.#widths = [
      widest(
        attacks.map(({ id }) => id),
        HEADINGS[0],
      ),
      widest(
        attacks.map(({ title }) => title),
        HEADINGS[1],
      ),
      HEADINGS[2].length,
      HEADINGS[3].length,
      HEADINGS[4].length,
      0,
    ];
  }

  get heading(): string {
    return styled('bold', this.#row(HEADINGS.map((heading) => [heading])));
  }

  row({ attack, raw, mediated, code }: AttackResult): string {
    return this.#row([
      [attack.id],
      [attack.title],
      [attack.requirement],
      [RAW_WORDS[raw] ?? raw, RAW_STYLES[raw]],
      [mediated, MEDIATED_STYLES[mediated]],
      [code, 'dim'],
    ]);
  }

  #row(cells: readonly (readonly [text: string, style?: Style])[]): string {
    return cells
      .map(([text, style], column) => {
        const padded = text.padEnd(this.#widths[column]);
        return style === undefined ? padded : styled(style, padded);
      })
      .join('  ')
      .trimEnd();
  }
}

/** The last lines: what came of it all, and what the demonstration does not show. */
export function summary(report: DemoReport): string {
  const { workload, results } = report;
  const count = escapes(report);
  const damaging = results.filter(({ raw }) => raw !== 'not-applicable' && raw !== 'none').length;
  const verdict = succeeded(report) ? styled(['bold', 'green'], 'Nothing got through.') : styled(['bold', 'red'], 'The demonstration failed.');
  const findings = [...results.flatMap(({ attack, findings: found }) => found.map((text) => `${attack.id}: ${text}`)), ...report.findings];
  const requests = workload.requests.toLocaleString('en');
  return [
    '',
    `${verdict} ${results.length} ${results.length === 1 ? 'attack' : 'attacks'}: ${damaging} did damage with raw access, ${count} through the server.`,
    `Meanwhile ${workload.tenants} tenants had ${requests} requests with ${formatSize(workload.bytes)} answered and checked: ${workload.mismatches} mismatches.`,
    ...findings.map((text) => styled('red', `  ${text}`)),
    '',
    styled(
      'dim',
      'All tenants of this demonstration run as one user, so its server says "isolation: none" and tells them apart by token: a program of that',
    ),
    styled('dim', "user could reach the server's memory by other ways, as root can. Tenants with user ids of their own cannot."),
  ].join('\n');
}

/** Exactly the documented shape. */
export const toJson = (report: DemoReport): object => ({
  backing: report.backing,
  workload: {
    tenants: report.workload.tenants,
    requests: report.workload.requests,
    bytes: report.workload.bytes,
    mismatches: report.workload.mismatches,
  },
  attacks: report.results.map(({ attack, raw, mediated, code }) => ({ id: attack.id, requirement: attack.requirement, raw, mediated, code })),
  escapes: escapes(report),
});

/** The catalogue without running it. */
export function listing(attacks: readonly Attack[]): string {
  const width = Math.max(...attacks.map(({ id }) => id.length));
  const reason = (why: string | undefined): string => (why === undefined ? '' : styled('dim', ` (raw access: ${why})`));
  return attacks.map(({ id, title, requirement, raw }) => `${id.padEnd(width)}  ${requirement}  ${title}${reason(raw.why)}`).join('\n');
}
