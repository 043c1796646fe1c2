import { statSync } from 'node:fs';
import type { Stats } from 'node:fs';

/** What is at a path; undefined when nothing is, or when this user may not know. */
export function find(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}
