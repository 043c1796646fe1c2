/** Programs that run as another user of the machine. */
import { spawnSync } from 'node:child_process';

/** Begin of a command line: the rest runs as this user and group, in no other group. */
export const asUser = (uid: number): string[] => ['setpriv', '--reuid', String(uid), '--regid', String(uid), '--clear-groups', '--'];

const [setpriv, ...ids] = asUser(4242);
export const canChangeUser = process.getuid?.() === 0 && spawnSync(setpriv, [...ids, process.execPath, '--version']).status === 0;

/** For the names of tests. */
export const whyNotUser = canChangeUser ? '' : ' (skipped: needs root, setpriv of util-linux, and a Node.js that every user may run)';
