/** `ringwarden config`: checks a configuration, and prints the schema of one. */
import { Command } from 'commander';
import { outputOption } from './options.js';
import type { OutputOptions } from './options.js';
import { json, print } from './output.js';

/** Where packages put it. */
export const SYSTEM_CONFIGURATION = '/etc/ringwarden/ringwarden.jsonc';

async function check(file: string, options: OutputOptions): Promise<void> {
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
