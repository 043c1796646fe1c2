/** `ringwarden serve`: runs the driver server until it is told to stop. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import type { BackingKind, Configuration, LogFormat, LogLevel, RunningServer } from '../server/index.js';
import { SYSTEM_CONFIGURATION, mustBeReadable } from './config.js';
import { CliError, Exit } from './failure.js';
import { outputOption } from './options.js';
import type { OutputOptions } from './options.js';
import { hasColours, print, styled } from './output.js';
import { SAMPLE_COMMANDS, prepareSample } from './sample.js';

interface ServeOptions extends OutputOptions {
  readonly config?: string;
  readonly sample?: boolean;
  readonly backing?: BackingKind;
  readonly socket?: string;
  readonly logLevel?: LogLevel;
  readonly logFormat?: LogFormat;
}

/** How long a process that has given everything back may take to end by itself. */
const LINGER_MILLISECONDS = 1_000;

function configurationFile({ config, sample }: ServeOptions): string {
  if (config !== undefined && sample === true) throw new CliError('--config and --sample exclude each other', 'leave one out', Exit.usage);
  if (sample === true) return prepareSample();
  if (config !== undefined) {
    mustBeReadable(config);
    return config;
  }
  if (existsSync(SYSTEM_CONFIGURATION)) return SYSTEM_CONFIGURATION;
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

function sampleText(version: string, devices: Configuration['devices'], tenants: Configuration['tenants']): string {
  const bold = (text: string): string => styled('bold', text);
  const deviceLines = devices.map(
    ({ name, backing }) => `  ${name}: ${backing.kind === 'qemu' ? "QEMU's NVMe controller" : 'the embedded NVMe controller'}`,
  );
  const images = devices.flatMap(({ backing }) => backing.namespaces.flatMap(({ image }) => image ?? []));
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
  const file = configurationFile(options);
  const { begin } = await import('../server/begin.js');
  begin();
  const { createLog, loadConfiguration, overrideConfiguration, packageVersion, startServer } = await import('../server/index.js');
  const overrides = { socket: options.socket === undefined ? undefined : resolve(options.socket), backing: options.backing };
  const load = (): Configuration => overrideConfiguration(loadConfiguration(file), overrides);
  const configuration = load();
  const log = createLog({
    level: options.logLevel ?? configuration.log.level,
    format: options.logFormat ?? configuration.log.format,
    colour: hasColours(process.stderr),
  });
  const server = await startServer({ configuration, load, log });
  signals.reload = () => server.reload();
  announce(server, options, packageVersion());
  await signals.stop;
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
    .addOption(new Option('--backing <kind>', 'put every device into this world, whatever the configuration says').choices(['emulated', 'qemu']))
    .option('--socket <path>', 'listen at this Unix socket instead of the configured one')
    .addOption(new Option('--log-level <level>', 'least level that is logged').choices(['debug', 'info', 'warn', 'error', 'silent']))
    .addOption(new Option('--log-format <format>', 'JSON lines, or text for people').choices(['json', 'pretty']))
    .addOption(outputOption().default('table', 'table; json prints one line when the server is ready'))
    .addHelpText('after', '\nExamples:\n  ringwarden serve --sample\n  ringwarden serve --config /etc/ringwarden/ringwarden.jsonc --log-format json')
    .action(serve);
