/** `ringwarden demo`: what raw access to a device does to others, and what becomes of the same attempts through the server. */
import { writeFileSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';
import { CliError, Exit } from '../failure.js';
import { json, print } from '../output.js';
import type { BackingKind } from './raw/world.js';

const DEFAULT_SECONDS = 5;
const MAX_SECONDS = 86_400;

interface DemoOptions {
  readonly backing: BackingKind;
  readonly seconds: number;
  readonly only?: string;
  readonly list?: boolean;
  /** True: to standard output; text: to that file. */
  readonly json?: boolean | string;
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (Number.isFinite(seconds) && seconds >= 0 && seconds <= MAX_SECONDS) return seconds;
  throw new InvalidArgumentError(`write a number of seconds from 0 to ${MAX_SECONDS}`);
}

async function demo(options: DemoOptions): Promise<void> {
  const { CATALOGUE } = await import('./catalogue.js');
  const { Table, listing, summary, toJson } = await import('./report.js');
  const attacks = options.only === undefined ? CATALOGUE : CATALOGUE.filter(({ id }) => id === options.only);
  if (attacks.length === 0) throw new CliError(`there is no attack "${options.only}"`, 'see them with "ringwarden demo --list"', Exit.usage);
  if (options.list === true) return print(listing(attacks));

  const { Progress } = await import('./progress.js');
  const { runDemo } = await import('./run.js');
  const { succeeded } = await import('./judge.js');
  const table = new Table(attacks);
  const isTable = options.json !== true;
  const progress = new Progress(attacks.length);
  if (isTable) print(table.heading);
  const report = await runDemo({
    backing: options.backing,
    attacks,
    seconds: options.seconds,
    onStart: (attack, index) => progress.show(index, attack.title),
    onResult: (result) => {
      progress.clear();
      if (isTable) print(table.row(result));
    },
    onWait: () => progress.show(attacks.length - 1, 'the tenants go on, and everything is looked at once more'),
  }).catch((error: unknown) => {
    throw withoutBacking(error);
  });
  progress.clear();
  if (isTable) print(summary(report));
  if (options.json === true) print(json(toJson(report)));
  if (typeof options.json === 'string') writeFileSync(options.json, `${json(toJson(report))}\n`);
  if (succeeded(report)) return undefined;
  if (!isTable) process.stderr.write(`${summary(report)}\n`);
  throw new CliError('the demonstration did not come out as it has to', 'see what was found, above');
}

/** A backing that is not installed is the caller's to install. */
function withoutBacking(error: unknown): unknown {
  const isAbsent = error instanceof Error && error.name === 'HardwareError' && 'code' in error && error.code === 'absent';
  return isAbsent ? new CliError(error.message, 'install the package, or run the demonstration with --backing emulated', Exit.usage) : error;
}

export const demoCommand = (): Command =>
  new Command('demo')
    .description('shows what raw access to a device does to others, and what becomes of the same attempts through the server')
    .addOption(new Option('--backing <kind>', 'whose device model it is').choices(['emulated', 'qemu']).default('emulated'))
    .option('--seconds <n>', 'how long two tenants work at least, while they are attacked', parseSeconds, DEFAULT_SECONDS)
    .option('--only <id>', 'one attack')
    .option('--list', 'the attacks, without running them')
    .option('--json [file]', 'a report for programs, to standard output or to a file')
    .addHelpText('after', '\nExit status: 0 if the workload matched and nothing got through, 1 if not, 2 if the device model is not installed.')
    .action(demo);
