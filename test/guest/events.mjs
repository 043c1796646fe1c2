/** From the guest to the machine: what the rows do, an object a line in a file that both see. */
import { appendFileSync, readFileSync } from 'node:fs';

/** The folder that guest and machine share. */
export const SHARE = '/run/guest';
const FILE = `${SHARE}/events`;

/** `index` of the row; `state`: 'begun', or 'ended' with `seconds`, `result` (a few words), and where it failed `failure` and `details`. */
export const tell = (event) => appendFileSync(FILE, `${JSON.stringify(event)}\n`);

/** What was told so far. */
export const told = () =>
  readFileSync(FILE, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
