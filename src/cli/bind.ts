/** `ringwarden bind` and `ringwarden unbind`: taking a PCI function from its driver for a server, and giving it back. */
import { Command, Option } from 'commander';
import { FORMER_FILE, Formers, bind, unbind, type BindOptions } from '../hw/linux/binding/index.js';
import { PATHS } from '../hw/linux/drivers.js';
import { Machine } from '../hw/linux/machine.js';
import { outputOption } from './options.js';
import type { OutputOptions } from './options.js';
import { json, print } from './output.js';

interface Options extends BindOptions, OutputOptions {
  readonly state: string;
}

const withCommon = (command: Command): Command =>
  command
    .argument('<address>', 'address of the PCI function, such as 0000:01:00.0; "ringwarden status --devices" lists them')
    .option('--dry-run', 'check everything, say what would be written, and change nothing')
    .option('--state <file>', 'where the former drivers are remembered', FORMER_FILE)
    .addOption(outputOption());

const nameOf = (driver: string | undefined): string => (driver === undefined ? 'no driver' : `driver ${driver}`);

export const bindCommand = (machine = new Machine()): Command =>
  withCommon(new Command('bind'))
    .description('takes a PCI function from its driver, so that a server can drive it')
    .addOption(new Option('--to <path>', 'way in which it is to be driven (default: the best that this machine has)').choices(PATHS))
    .option('--force', 'also a network interface that is in use, or a class without a driver here; never a disk in use')
    .addHelpText(
      'after',
      '\nA disk that is mounted, swap or part of another device, an interface that is up or has a route, a bridge and a function that a program has\n' +
        'open are refused. When a step fails, all is put back.\n\nExamples:\n  ringwarden bind 0000:01:00.0 --dry-run\n  ringwarden bind 01:00.0 --to vfio',
    )
    .action((address: string, options: Options) => {
      const bound = bind(machine, new Formers(options.state), address, options);
      const dryRun = options.dryRun === true;
      if (options.output === 'json') return print(json({ ...bound, from: bound.from ?? null, driver: bound.driver ?? null, dryRun }));
      const said = `${bound.address} ${dryRun ? 'would be' : 'is'} bound to ${bound.path}: ${nameOf(bound.from)} -> ${nameOf(bound.driver)}`;
      return print([said, ...(dryRun ? bound.steps.map((step) => `  ${step}`) : []), ...bound.notes.map((note) => `note: ${note}`)].join('\n'));
    });

export const unbindCommand = (machine = new Machine()): Command =>
  withCommon(new Command('unbind'))
    .description('gives a PCI function back to the driver that had it')
    .addHelpText('after', '\nExample:\n  ringwarden unbind 0000:01:00.0')
    .action((address: string, options: Options) => {
      const moved = unbind(machine, new Formers(options.state), address, options);
      const dryRun = options.dryRun === true;
      if (options.output === 'json') return print(json({ ...moved, from: moved.from ?? null, driver: moved.driver ?? null, dryRun }));
      const said = `${moved.address} ${dryRun ? 'would be' : 'is'} given back: ${nameOf(moved.from)} -> ${dryRun && moved.driver === undefined ? 'the one that the kernel chooses' : nameOf(moved.driver)}`;
      return print([said, ...(dryRun ? moved.steps.map((step) => `  ${step}`) : [])].join('\n'));
    });
