/** `ringwarden serve`: runs the driver server until it is told to stop. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { parseAddress } from '../hw/linux/address.js';
import type { Configuration, LogFormat, LogLevel, RunningServer } from '../server/index.js';
import { WORLDS, type World } from '../server/worlds.js';
import { SYSTEM_CONFIGURATION, mustBeReadable } from './config.js';
import { CliError, Exit } from './failure.js';
import { outputOption } from './options.js';
import type { OutputOptions } from './options.js';
import { hasColours, print, styled } from './output.js';
import { SAMPLE_COMMANDS, prepareSample } from './sample.js';

interface ServeOptions extends OutputOptions {
  readonly config?: string;
  readonly sample?: boolean;
  readonly backing?: World;
  readonly device?: string;
  readonly unknownData?: 'keep' | 'wipe';
  readonly socket?: string;
  readonly logLevel?: LogLevel;
  readonly logFormat?: LogFormat;
}

/** How long a process that has given everything back may take to end by itself. */
const LINGER_MILLISECONDS = 1_000;

function configurationFile({ config, sample, device }: ServeOptions): string {
  if (config !== undefined && sample === true) throw new CliError('--config and --sample exclude each other', 'leave one out', Exit.usage);
  if (sample === true) return prepareSample();
  if (config !== undefined) {
    mustBeReadable(config);
    return config;
  }
  if (existsSync(SYSTEM_CONFIGURATION)) return SYSTEM_CONFIGURATION;
  if (device !== undefined) return prepareSample();
  throw new CliError(`there is no ${SYSTEM_CONFIGURATION}`, 'name a configuration with --config, or try the server with --sample', Exit.usage);
}

/** SIGTERM and SIGINT drain, a second one ends at once; SIGHUP reloads. In force from the first moment of the start. */
class Signals {
  /** Resolves at the first signal to stop. */
  readonly stop: Promise<void>;
  reload: () => unknown = () => undefined;

  constructor() {
    this.stop = new Promise((resolve) => {
      let stopping = false;
      const onStop = (): void => {
        if (stopping) process.exit(Exit.failed);
        stopping = true;
        resolve();
      };
      process.on('SIGTERM', onStop);
      process.on('SIGINT', onStop);
    });
    process.on('SIGHUP', () => void this.reload());
  }
}

function announce({ configuration: { unix, tcp, admin, devices, tenants } }: RunningServer, options: ServeOptions, version: string): void {
  if (options.output === 'json') {
    const shares = (name: string): string[] =>
      tenants.find((tenant) => tenant.name === name)?.shares.map((share) => `${share.device}/${share.name}`) ?? [];
    const ready = {
      ready: true,
      version,
      pid: process.pid,
      socket: unix?.path ?? null,
      tcp: tcp === undefined ? null : `${tcp.host}:${tcp.port}`,
      admin: admin.path,
    };
    const lists = { devices: devices.map(({ name }) => name), tenants: tenants.map(({ name }) => ({ name, shares: shares(name) })) };
    return print(JSON.stringify({ ...ready, ...lists }));
  }
  if (options.sample !== true) return undefined;
  return print(sampleText(version, devices, tenants));
}

const CONTROLLERS = { qemu: "QEMU's NVMe controller", emulated: 'the embedded NVMe controller' } as const;

function sampleText(version: string, devices: Configuration['devices'], tenants: Configuration['tenants']): string {
  const bold = (text: string): string => styled('bold', text);
  const deviceLines = devices.map(
    ({ name, backing }) => `  ${name}: ${backing.kind === 'pci' ? `PCI function ${backing.address}` : CONTROLLERS[backing.kind]}`,
  );
  const images = devices.flatMap(({ backing }) => (backing.kind === 'pci' ? [] : backing.namespaces.flatMap(({ image }) => image ?? [])));
  const tenantLines = tenants.flatMap(({ name, shares }) =>
    shares.map((share) => `  tenant ${name}: ${share.device}/${share.name}, ${(share.blocks * share.blockBytes) / 2 ** 20} MiB`),
  );
  return [
    bold(`Ringwarden ${version} is ready.`),
    ...deviceLines,
    ...images.map((image) => `  its blocks are in ${image}`),
    ...tenantLines,
    '',
    'Try, from this folder in another terminal:',
    ...SAMPLE_COMMANDS.map((command) => `  ${bold(command)}`),
    '',
    'Ctrl-C stops the server. What was written stays.',
  ].join('\n');
}

async function serve(options: ServeOptions): Promise<void> {
  const signals = new Signals();
  const address = options.device === undefined ? undefined : parseAddress(options.device);
  const file = configurationFile(options);
  const { begin } = await import('../server/begin.js');
  begin();
  const { ServiceManager, createLog, loadConfiguration, overrideConfiguration, packageVersion, startServer } = await import('../server/index.js');
  const { backing: world, unknownData } = options;
  const overrides = { socket: options.socket === undefined ? undefined : resolve(options.socket), world, address, unknownData };
  const load = (): Configuration => overrideConfiguration(loadConfiguration(file), overrides);
  const configuration = load();
  const log = createLog({
    level: options.logLevel ?? configuration.log.level,
    format: options.logFormat ?? configuration.log.format,
    colour: hasColours(process.stderr),
  });
  const manager = new ServiceManager(log);
  const server = await startServer({ configuration, load, log });
  const ready = (): void => manager.ready(`${configuration.devices.length} devices, ${configuration.tenants.length} tenants at the start`);
  signals.reload = () => {
    manager.reloading();
    return server.reload().finally(ready);
  };
  announce(server, options, packageVersion());
  ready();
  await signals.stop;
  manager.stopping();
  log.info('stopping', { milliseconds: configuration.drainMilliseconds });
  await server.stop();
  log.info('stopped');
  setTimeout(() => process.exit(Exit.ok), LINGER_MILLISECONDS).unref();
}

export const serveCommand = (): Command =>
  new Command('serve')
    .description('runs the driver server until SIGTERM or Ctrl-C; SIGHUP reloads tenants and shares')
    .option('-c, --config <file>', `configuration file (default: ${SYSTEM_CONFIGURATION})`)
    .option('--sample', 'a ready sample in ./ringwarden-data: one NVMe controller, two tenants')
    .option(
      '--device <address>',
      'the first device is this PCI function, whatever the configuration says; without a configuration, of a ready sample',
    )
    .addOption(new Option('--backing <world>', 'put every device into this world, or drive PCI functions in this way').choices(WORLDS))
    .addOption(new Option('--unknown-data <what>', 'of blocks of which nobody knows whose data they hold').choices(['keep', 'wipe']))
    .option('--socket <path>', 'listen at this Unix socket instead of the configured one')
    .addOption(new Option('--log-level <level>', 'least level that is logged').choices(['debug', 'info', 'warn', 'error', 'silent']))
    .addOption(new Option('--log-format <format>', 'JSON lines, or text for people').choices(['json', 'pretty']))
    .addOption(outputOption().default('table', 'table; json prints one line when the server is ready'))
    .addHelpText(
      'after',
      '\nExamples:\n  ringwarden serve --sample\n  ringwarden serve --device 0000:01:00.0\n  ringwarden serve --config /etc/ringwarden/ringwarden.jsonc --log-format json',
    )
    .action(serve);
