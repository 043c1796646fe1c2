/** `ringwarden config`: checks a configuration, and prints the schema of one. */
import { accessSync, constants } from 'node:fs';
import { Command } from 'commander';
import { systemCode } from '../server/text.js';
import { CliError, Exit } from './failure.js';
import { outputOption } from './options.js';
import type { OutputOptions } from './options.js';
import { json, print } from './output.js';

/** Where packages put it. */
export const SYSTEM_CONFIGURATION = '/etc/ringwarden/ringwarden.jsonc';

/** @throws CliError when there is no such file: then it is the command line that has to be corrected. */
export function mustBeReadable(file: string): void {
  try {
    accessSync(file, constants.R_OK);
  } catch (error) {
    throw new CliError(`${file} cannot be read (${systemCode(error)})`, 'name a file that is there, and that you may read', Exit.usage);
  }
}

async function check(file: string, options: OutputOptions): Promise<void> {
  if (options.output !== 'json') mustBeReadable(file);
  const { ConfigError, loadConfiguration } = await import('../server/config/index.js');
  try {
    const { devices, tenants } = loadConfiguration(file);
    const shares = tenants.reduce((count, tenant) => count + tenant.shares.length, 0);
    if (options.output === 'json') print(json({ file, ok: true, problems: [] }));
    else print(`${file} is good: ${devices.length} devices, ${tenants.length} tenants, ${shares} shares`);
  } catch (error) {
    if (error instanceof ConfigError && options.output === 'json') print(json({ file, ok: false, problems: error.problems }));
    throw error;
  }
}

export const configCommand = (): Command =>
  new Command('config')
    .description('checks a configuration, and prints the schema of one')
    .addCommand(
      new Command('check')
        .description('checks a configuration without using it; exit status 2 when it cannot be used')
        .argument('[file]', 'configuration file', SYSTEM_CONFIGURATION)
        .addOption(outputOption())
        .addHelpText('after', '\nExample:\n  ringwarden config check ringwarden.jsonc')
        .action(check),
    )
    .addCommand(
      new Command('schema').description('prints the JSON schema of the configuration, for editors').action(async () => {
        const { configJsonSchema } = await import('../server/config/index.js');
        print(json(configJsonSchema()));
      }),
    );
