/** The command line as a whole. */
import { Command, CommanderError } from 'commander';
import { packageVersion } from '../server/version.js';
import { inspectCommand, refusalsCommand, reloadCommand, resetCommand, statsCommand, statusCommand, traceCommand } from './admin.js';
import { bindCommand, unbindCommand } from './bind.js';
import { configCommand } from './config.js';
import { copyCommand } from './copy.js';
import { demoCommand } from './demo/index.js';
import { Exit } from './failure.js';
import { listCommand, showCommand } from './list.js';
import { mappingsCommand } from './mappings.js';
import { printFailure } from './output.js';
import { runCommand } from './run/index.js';
import { serveCommand } from './serve.js';
import { tokenCommand } from './token.js';

const EXIT_STATUS = '\nExit status: 0 done, 1 failed, 2 wrong command line or configuration.';

function createProgram(): Command {
  const root = new Command('ringwarden')
    .description('shares PCI devices among programs that do not trust each other, on machines without an IOMMU')
    .version(packageVersion(), '-V, --version', 'the version')
    .helpOption('-h, --help', 'what a command does and takes')
    .showSuggestionAfterError()
    .addHelpText('after', `${EXIT_STATUS}\n\nBegin with:\n  ringwarden serve --sample\nand see what each command takes:\n  ringwarden copy --help`);
  const commands = [
    serveCommand(),
    listCommand(),
    showCommand(),
    copyCommand(),
    runCommand(),
    statusCommand(),
    statsCommand(),
    traceCommand(),
    refusalsCommand(),
    inspectCommand(),
    mappingsCommand(),
    resetCommand(),
    reloadCommand(),
    bindCommand(),
    unbindCommand(),
    configCommand(),
    tokenCommand(),
    demoCommand(),
  ];
  for (const command of commands) root.addCommand(command);
  for (const command of [root, ...root.commands.flatMap((each) => [each, ...each.commands])]) {
    command.exitOverride().showHelpAfterError(`   do: see "${nameOf(command)} --help"`);
  }
  return root;
}

/** As it is typed: `ringwarden config check`. */
const nameOf = (command: Command): string => (command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`);

/** Runs one command line, without the program's name. Resolves with the exit status; what went wrong has been printed. */
export async function run(args: readonly string[]): Promise<number> {
  try {
    await createProgram().parseAsync(args, { from: 'user' });
    return Exit.ok;
  } catch (error) {
    // Commander has printed what is wrong with the command line.
    if (error instanceof CommanderError) return error.exitCode === 0 ? Exit.ok : Exit.usage;
    return printFailure(error);
  }
}
