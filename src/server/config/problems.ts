/** What is wrong with a configuration: where, what, and what to do. */

export type KeyPath = readonly (string | number)[];

/** `tenants[0].shares[1].size` */
export const formatPath = (path: KeyPath): string =>
  path.reduce<string>((text, part) => (typeof part === 'number' ? `${text}[${part}]` : text === '' ? part : `${text}.${part}`), '');

export class ConfigProblem {
  readonly file: string;
  /** Line and column, from 1. */
  readonly line: number;
  readonly column: number;
  /** The key's path; empty for the file as a whole. */
  readonly path: string;
  readonly what: string;
  readonly remedy: string;

  constructor(file: string, place: { readonly line: number; readonly column: number }, path: string, what: string, remedy: string) {
    this.file = file;
    this.line = place.line;
    this.column = place.column;
    this.path = path;
    this.what = what;
    this.remedy = remedy;
  }

  /** `file:line:column: path: what; remedy` */
  toString(): string {
    return `${this.file}:${this.line}:${this.column}: ${this.path === '' ? '' : `${this.path}: `}${this.what}; ${this.remedy}`;
  }
}

/** A configuration that cannot be used, with everything that is wrong with it, in the order of the file. */
export class ConfigError extends Error {
  readonly problems: readonly ConfigProblem[];
  constructor(problems: readonly ConfigProblem[]) {
    const sorted = [...problems].sort((a, b) => a.line - b.line || a.column - b.column);
    super(sorted.map(String).join('\n'));
    this.name = 'ConfigError';
    this.problems = sorted;
  }
}
