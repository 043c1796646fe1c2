/** Finding the programs that are run, before they are run: for a message that says what to install. */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';
import { HardwareError } from '../task.js';

/**
 * Absolute path of a program: `name` itself if it is a path, else from the PATH.
 * @throws HardwareError `absent` that names the Debian package.
 */
export function findProgram(name: string, debianPackage: string): string {
  const candidates = isAbsolute(name) ? [name] : (process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder || '.', name));
  const path = candidates.find(isProgram);
  if (path === undefined) throw new HardwareError('absent', `${name} is not installed (Debian: package "${debianPackage}")`);
  return path;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
