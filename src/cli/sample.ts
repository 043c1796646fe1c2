/** The sample that `serve --sample` runs: a folder with a configuration, an image and sockets, made where the command is run. */
import { constants, copyFileSync, existsSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemCode } from '../server/text.js';
import { CliError } from './failure.js';

export const SAMPLE_FOLDER = 'ringwarden-data';

/** Makes what is not there yet, and changes nothing that is. Returns the path of the configuration. */
export function prepareSample(folder: string = resolve(SAMPLE_FOLDER)): string {
  const file = join(folder, 'ringwarden.jsonc');
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (!existsSync(file)) copyFileSync(fileURLToPath(new URL('../../config/sample.jsonc', import.meta.url)), file, constants.COPYFILE_EXCL);
  } catch (error) {
    throw new CliError(`the sample cannot be made in ${folder} (${systemCode(error)})`, 'run the command in a folder that you may write to');
  }
  return file;
}

/** What to try next, ready to copy. */
export const SAMPLE_COMMANDS = [
  'npx ringwarden list --tenant alice',
  'npx ringwarden copy "$(command -v node)" nvme0/data --tenant alice',
  'npx ringwarden status',
] as const;
