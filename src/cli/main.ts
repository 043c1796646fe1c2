#!/usr/bin/env node
/** The `ringwarden` command. */
import { Command, CommanderError } from 'commander';
import { packageVersion } from '../server/version.js';
import { inspectCommand, refusalsCommand, reloadCommand, resetCommand, statsCommand, statusCommand, traceCommand } from './admin.js';
import { configCommand } from './config.js';
import { copyCommand } from './copy.js';
import { Exit } from './failure.js';
import { listCommand, showCommand } from './list.js';
import { printFailure } from './output.js';
import { serveCommand } from './serve.js';
import { tokenCommand } from './token.js';

const EXIT_STATUS = '\nExit status: 0 done, 1 failed, 2 wrong command line or configuration.';

function program(): Command {
  const root = new Command('ringwarden')
    .description('shares PCI devices among programs that do not trust each other, on machines without an IOMMU')
    .version(packageVersion(), '-V, --version', 'the version')
    .helpOption('-h, --help', 'what a command does and takes')
    .showSuggestionAfterError()
    .configureHelp({ sortSubcommands: false })
    .addHelpText('after', `${EXIT_STATUS}\n\nBegin with:\n  ringwarden serve --sample`);
  const commands = [
    serveCommand(),
    listCommand(),
    showCommand(),
    copyCommand(),
    statusCommand(),
    statsCommand(),
    traceCommand(),
    refusalsCommand(),
    inspectCommand(),
    resetCommand(),
    reloadCommand(),
    configCommand(),
    tokenCommand(),
  ];
  for (const command of commands) root.addCommand(command);
  for (const command of [root, ...root.commands.flatMap((each) => [each, ...each.commands])]) command.exitOverride();
  return root;
}

async function main(): Promise<void> {
  // Whoever reads our output may stop reading (head, a pager): that is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? Exit.ok : Exit.failed));
  try {
    await program().parseAsync();
  } catch (error) {
    // Commander has printed what is wrong with the command line.
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? Exit.ok : Exit.usage;
    else process.exitCode = printFailure(error);
  }
}

await main();
