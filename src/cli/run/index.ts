/** `ringwarden run`: opens a device for a program, then becomes that program. */
import { existsSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import type { LeaseMode, QueueKind } from '../../protocol/index.js';
import { systemCode } from '../../server/text.js';
import { adminGet } from '../admin-client.js';
import { CliError, failureOf } from '../failure.js';
import { type AdminOptions, type ConnectionOptions, readToken, refusedAs, withAdmin } from '../options.js';
import { becomeUser, type IdentityOptions, type TenantCredentials } from './identity.js';

interface RunOptions extends IdentityOptions, AdminOptions, Pick<ConnectionOptions, 'socket' | 'tenant' | 'tokenFile'> {
  readonly device: string;
  readonly mode: LeaseMode;
  readonly queues: QueueKind;
}

/** As env(1), timeout(1) and the like have it, so that they are hardly those of the program. */
const ExitStatus = { failed: 125, cannotStart: 126, notFound: 127 } as const;

const HELP = `
Opens the device and sets the domain, then starts PROGRAM in its own place, with the open session as descriptor 3:
  ringwarden run --tenant alice --device nvme0 -- node program.mjs
In the program, connect() of the SDK finds the session, and openDevice() the lease. Programs in other languages: see docs/protocol.md, "Inherited sessions".

Root starts programs as the user that the configuration names for the tenant, or as --user; everybody else for himself only. The program keeps process id,
standard files, folder and environment; for another user HOME, USER, LOGNAME and SHELL are set anew.

Exit status: that of the program, which is killed by its signals, as if it had been started directly; 125 the device could not be opened,
126 the program cannot be started, 127 there is no such program, 2 wrong command line.`;

/** The command. Its action throws what `failureOf` explains, or does not return. */
export const runCommand = (): Command =>
  withAdmin(new Command('run'))
    .description('starts a program with a device opened for it')
    .argument('<program>', 'the program, after --, with a path or to be found in $PATH')
    .argument('[args...]', 'its arguments')
    .addOption(new Option('--tenant <name>', 'the tenant to be, where the user or token could be several').env('RINGWARDEN_TENANT'))
    .requiredOption('--device <name>', 'the device to open')
    .addOption(new Option('--mode <mode>', 'alone on the device, or beside others').choices(['exclusive', 'shared']).default('shared'))
    .addOption(new Option('--queues <kind>', "hardware queues of the program's own, or the server's").choices(['own', 'shared']).default('shared'))
    .option('--socket <path>', "the server's socket (default: $RINGWARDEN_SOCKET, then the usual places)")
    .addOption(new Option('--token-file <path>', 'file with the token of the tenant, read before the user changes').env('RINGWARDEN_TOKEN_FILE'))
    .option('--user <user>', 'as root: who the program runs as, a name or a number')
    .option('--group <group>', 'as root: its group')
    .addHelpText('after', HELP)
    .action(run);

async function run(program: string, args: readonly string[], options: RunOptions): Promise<never> {
  try {
    return await start(program, args, options);
  } catch (error) {
    const { what, remedy, exitCode } = failureOf(error);
    throw new CliError(what, remedy, error instanceof CliError && exitCode > ExitStatus.failed ? exitCode : ExitStatus.failed);
  }
}

async function start(program: string, args: readonly string[], options: RunOptions): Promise<never> {
  const { device, mode, queues, tokenFile } = options;
  // Everything that is read from files, before the user changes: that one may not be allowed to.
  const { Variable, defaultSocketPath, launch, native } = await import('./parts.js');
  const shm = native();
  const token = tokenFile === undefined ? undefined : readToken(tokenFile);
  const socket = resolve(defaultSocketPath(options.socket));
  const changes = await becomeUser(options, () => credentialsOf(options));
  const name = `${basename(program)}, started by ringwarden run, process ${process.pid}`.slice(-256);
  const launched = await refusedAs(options, () => launch({ socket, tenant: options.tenant, token, device, mode, queues, name }));
  const environment = {
    ...process.env,
    ...changes,
    // Secrets, and ways to other servers, of whoever runs this.
    RINGWARDEN_TOKEN_FILE: undefined,
    RINGWARDEN_ADMIN_SOCKET: undefined,
    RINGWARDEN_URL: undefined,
    RINGWARDEN_CA_FILE: undefined,
    [Variable.socket]: socket,
    [Variable.tenant]: launched.tenant,
    [Variable.device]: device,
    [Variable.descriptor]: '3',
    [Variable.process]: String(process.pid),
  };
  const variables = Object.entries(environment).flatMap(([key, value]) => (value === undefined ? [] : [`${key}=${value}`]));
  try {
    return shm.execute(program, [program, ...args], variables, launched.descriptor);
  } catch (error) {
    throw cannotStart(program, isThere(program) ? systemCode(error) : 'ENOENT');
  }
}

async function credentialsOf({ tenant, ...options }: RunOptions): Promise<TenantCredentials> {
  if (tenant === undefined) throw new CliError('root could be any tenant', 'name it with --tenant, or the user of the program with --user');
  const tenants = await adminGet<{ name: string; credentials?: TenantCredentials }[]>(options, '/tenants');
  const found = tenants.find(({ name }) => name === tenant)?.credentials;
  if (found === undefined) throw new CliError(`there is no tenant "${tenant}"`, `the tenants are ${tenants.map(({ name }) => name).join(', ')}`);
  return found;
}

/** execvpe(3) says EACCES also when the only thing wrong is that a folder of $PATH may not be looked into. */
const isThere = (program: string): boolean =>
  program.includes('/') || (process.env['PATH'] ?? '').split(':').some((folder) => existsSync(join(folder, program)));

function cannotStart(program: string, code: string): CliError {
  if (code === 'ENOENT') return new CliError(`there is no program ${program}`, 'name one that is there, or its path', ExitStatus.notFound);
  return new CliError(`${program} cannot be started (${code})`, 'see whether it is a program that its user may run', ExitStatus.cannotStart);
}
