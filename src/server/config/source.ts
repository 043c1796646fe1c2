/** A text in JSON with comments, and where each of its keys and values stands. */
import { findNodeAtLocation, getNodeValue, parseTree, printParseErrorCode } from 'jsonc-parser';
import type { Node, ParseError } from 'jsonc-parser';
import { ConfigProblem, formatPath } from './problems.js';
import type { KeyPath } from './problems.js';

const SYNTAX: Readonly<Record<string, string>> = {
  InvalidSymbol: 'this is not JSON: put texts in double quotes',
  InvalidNumberFormat: 'this is not a number',
  PropertyNameExpected: 'a key in double quotes belongs here',
  ValueExpected: 'a value belongs here',
  ColonExpected: 'a ":" belongs between key and value',
  CommaExpected: 'a "," belongs before this',
  CloseBraceExpected: 'a "}" is missing',
  CloseBracketExpected: 'a "]" is missing',
  EndOfFileExpected: 'nothing may follow the configuration',
  UnexpectedEndOfComment: 'the comment is not closed: "*/" is missing',
  UnexpectedEndOfString: 'the text is not closed: a double quote is missing',
  InvalidEscapeCharacter: 'there is no such escape: write a backslash as "\\\\"',
};

export class Source {
  readonly file: string;
  /** The whole value; undefined when the syntax is wrong. */
  readonly value: unknown;
  /** Errors of syntax, and keys that are there twice. */
  readonly problems: readonly ConfigProblem[];
  readonly #root: Node | undefined;
  readonly #lineStarts: readonly number[];

  constructor(file: string, text: string) {
    this.file = file;
    this.#lineStarts = [0, ...[...text.matchAll(/\n/g)].map((match) => match.index + 1)];
    const errors: ParseError[] = [];
    this.#root = parseTree(text, errors, { allowTrailingComma: true, disallowComments: false });
    const syntax = errors.map(({ error, offset }) => {
      const name = printParseErrorCode(error);
      return new ConfigProblem(file, this.#place(offset), '', SYNTAX[name] ?? `syntax error (${name})`, 'correct the syntax');
    });
    this.problems = syntax.length > 0 || this.#root === undefined ? syntax : this.#duplicates(this.#root, []);
    this.value = syntax.length > 0 || this.#root === undefined ? undefined : getNodeValue(this.#root);
  }

  /** A problem at the value of `path`, or at the innermost part of `path` that exists. */
  problem(path: KeyPath, what: string, remedy: string): ConfigProblem {
    return new ConfigProblem(this.file, this.#place(this.#nodeAt(path)?.offset ?? 0), formatPath(path), what, remedy);
  }

  /** A problem at the key of `path`. */
  keyProblem(path: KeyPath, what: string, remedy: string): ConfigProblem {
    const node = this.#nodeAt(path);
    const offset = node?.parent?.type === 'property' ? node.parent.offset : node?.offset;
    return new ConfigProblem(this.file, this.#place(offset ?? 0), formatPath(path), what, remedy);
  }

  /** Line of the value at `path`, from 1. */
  line(path: KeyPath): number {
    return this.#place(this.#nodeAt(path)?.offset ?? 0).line;
  }

  /** The value at `path`; undefined if there is none. */
  at(path: KeyPath): unknown {
    const node = this.#root && findNodeAtLocation(this.#root, [...path]);
    return node && getNodeValue(node);
  }

  #nodeAt(path: KeyPath): Node | undefined {
    for (let length = path.length; length > 0 && this.#root !== undefined; length--) {
      const node = findNodeAtLocation(this.#root, path.slice(0, length));
      if (node !== undefined) return node;
    }
    return this.#root;
  }

  #place(offset: number): { line: number; column: number } {
    let low = 0;
    for (let high = this.#lineStarts.length - 1; low < high;) {
      const middle = (low + high + 1) >> 1;
      if (this.#lineStarts[middle] <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: offset - this.#lineStarts[low] + 1 };
  }

  #duplicates(node: Node, path: KeyPath): ConfigProblem[] {
    const seen = new Map<string, number>();
    return (node.children ?? []).flatMap((child, index) => {
      if (node.type !== 'object') return this.#duplicates(child, [...path, index]);
      const [key, value] = child.children ?? [];
      const name = String(key?.value);
      const here = [...path, name];
      const inner = value === undefined ? [] : this.#duplicates(value, here);
      const first = seen.get(name);
      if (first === undefined) {
        seen.set(name, this.#place(child.offset).line);
        return inner;
      }
      const what = `the key is there already, on line ${first}`;
      return [new ConfigProblem(this.file, this.#place(child.offset), formatPath(here), what, 'remove one of the two'), ...inner];
    });
  }
}
