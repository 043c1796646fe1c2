/** From the guest to the machine: what the rows do, an object a line in a file that both see. */
import { appendFileSync, readFileSync } from 'node:fs';
import { SHARE } from './guest.js';

const FILE = `${SHARE}/events`;

interface Begun {
  readonly index: number;
  readonly state: 'begun';
}

interface Ended {
  readonly index: number;
  readonly state: 'ended';
  readonly seconds: number;
  /** A few words for the table. */
  readonly result?: string;
  /** Why it failed, in a few words; and line by line. */
  readonly failure?: string | undefined;
  readonly details?: readonly string[];
  /** The tests that passed. */
  readonly titles?: readonly string[];
}

/** Of the row with this index. */
type RowEvent = Begun | Ended;

export const tell = (event: RowEvent): void => appendFileSync(FILE, `${JSON.stringify(event)}\n`);

/** The rows that have ended. */
export const ended = (): Ended[] =>
  readFileSync(FILE, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as RowEvent)
    .filter((event) => event.state === 'ended');
