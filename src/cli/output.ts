/** What commands print: tables for people, JSON for programs; colours only where somebody sees them. */
import { styleText } from 'node:util';
import { printable } from '../server/text.js';
import { failureOf } from './failure.js';

export const OUTPUTS = ['table', 'json'] as const;
export type Output = (typeof OUTPUTS)[number];

interface Terminal {
  readonly isTTY?: boolean;
}

/** NO_COLOR (no-color.org) counts when it is there and not empty. */
export const hasColours = (stream: Terminal, environment: NodeJS.ProcessEnv = process.env): boolean =>
  stream.isTTY === true && (environment['NO_COLOR'] ?? '') === '' && environment['TERM'] !== 'dumb';

type Style = Parameters<typeof styleText>[0];
export const styled = (style: Style, text: string, stream: Terminal = process.stdout): string => (hasColours(stream) ? styleText(style, text) : text);

export type Cell = string | number;

/** Rows under headings, columns aligned, numbers to the right. Text of others is made harmless. */
export async function table(headings: readonly string[], rows: readonly (readonly Cell[])[]): Promise<string> {
  const { default: Table } = await import('cli-table3');
  const none = '';
  const view = new Table({
    head: headings.map((heading) => styled('bold', heading)),
    colAligns: headings.map((_, column) => (rows.length > 0 && rows.every((row) => typeof row[column] === 'number') ? 'right' : 'left')),
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
    chars: {
      top: none,
      'top-mid': none,
      'top-left': none,
      'top-right': none,
      bottom: none,
      'bottom-mid': none,
      'bottom-left': none,
      'bottom-right': none,
      left: none,
      'left-mid': none,
      mid: none,
      'mid-mid': none,
      right: none,
      'right-mid': none,
      middle: none,
    },
  });
  for (const row of rows) view.push(row.map((cell) => printable(String(cell))));
  return view
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}

/** `name : value` lines, as nvme id-ctrl has them. */
export function facts(pairs: readonly (readonly [string, Cell])[]): string {
  const width = Math.max(0, ...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${name.padEnd(width)} : ${printable(String(value))}`).join('\n');
}

export const json = (value: unknown): string => JSON.stringify(value, undefined, 2);

/** Prints to standard output. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Prints what went wrong and what to do, on standard error. Returns the exit status. */
export function printFailure(error: unknown): number {
  const { what, remedy, exitCode } = failureOf(error);
  const lines = what.split('\n').map(printable);
  process.stderr.write(`${styled('red', 'error:', process.stderr)} ${lines.join('\n       ')}\n`);
  process.stderr.write(`${styled('cyan', '   do:', process.stderr)} ${printable(remedy)}\n`);
  return exitCode;
}
