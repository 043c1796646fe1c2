/** `ringwarden token`: a new random token, and its hash for the configuration. */
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { Command } from 'commander';
import { systemCode } from '../server/text.js';
import { CliError } from './failure.js';
import { outputOption } from './options.js';
import type { OutputOptions } from './options.js';
import { facts, json, print } from './output.js';

const TOKEN_BYTES = 32;
/** So that people and scanners know one when they see it. */
const PREFIX = 'rwt_';

export function createToken(): { token: string; sha256: string } {
  const token = `${PREFIX}${randomBytes(TOKEN_BYTES).toString('base64url')}`;
  return { token, sha256: createHash('sha256').update(token).digest('hex') };
}

/** Writes the token to a new file that nobody else can read. */
function save(path: string, token: string): void {
  try {
    const fd = openSync(path, 'wx', 0o600);
    writeSync(fd, `${token}\n`);
    closeSync(fd);
  } catch (error) {
    throw new CliError(`the token cannot be written to ${path} (${systemCode(error)})`, 'name a new file in a folder that is there');
  }
}

export const tokenCommand = (): Command =>
  new Command('token')
    .description('makes a token for a tenant, of 256 random bits')
    .option('--file <path>', 'write the token to a new file instead of the terminal')
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nThe tenant gets the token; the configuration gets its hash:  "token": {"sha256": "..."}\n\nExample:\n  ringwarden token --file alice.token',
    )
    .action((options: OutputOptions & { readonly file?: string }) => {
      const { token, sha256 } = createToken();
      if (options.file !== undefined) save(options.file, token);
      const shown = options.file === undefined ? { token, sha256 } : { file: options.file, sha256 };
      print(options.output === 'json' ? json(shown) : facts(Object.entries(shown)));
    });
