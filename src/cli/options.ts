/** Options that several commands have, and what stands behind them. */
import { readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import type { Client } from '../client/index.js';
import { systemCode } from '../server/text.js';
import { CliError, Exit } from './failure.js';
import { OUTPUTS } from './output.js';
import type { Output } from './output.js';

export interface OutputOptions {
  readonly output: Output;
}

export interface ConnectionOptions {
  readonly socket?: string;
  readonly url?: string;
  readonly caFile?: string;
  readonly tenant?: string;
  readonly tokenFile?: string;
}

export interface AdminOptions {
  readonly adminSocket?: string;
}

export const outputOption = (): Option => new Option('-o, --output <format>', 'how to print').choices(OUTPUTS).default('table');

/** Adds what a command needs to reach the server as a tenant. */
export const withConnection = (command: Command): Command =>
  command
    .option('--socket <path>', "the server's socket (default: $RINGWARDEN_SOCKET, then the usual places)")
    .option('--url <url>', 'a server elsewhere, as wss://HOST:PORT; needs a token')
    .option('--ca-file <path>', "certificate authority of the server's certificate, PEM")
    .addOption(new Option('--tenant <name>', 'the tenant to be, where your user or token could be several').env('RINGWARDEN_TENANT'))
    .addOption(new Option('--token-file <path>', 'file with the token of the tenant').env('RINGWARDEN_TOKEN_FILE'));

/** Adds what a command needs to reach the admin socket. */
export const withAdmin = (command: Command): Command =>
  command.option('--admin-socket <path>', "the server's admin socket (default: $RINGWARDEN_ADMIN_SOCKET, then the usual places)");

function readOption(path: string, what: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new CliError(`the ${what} ${path} cannot be read (${systemCode(error)})`, 'name a file that is there, and that you may read', Exit.usage);
  }
}

/** The connection that the options ask for. */
async function connectWith({ socket, url, caFile, tenant, tokenFile }: ConnectionOptions): Promise<Client> {
  const { RefusedError, connect } = await import('../client/index.js');
  try {
    return await connect({
      tenant,
      token: tokenFile === undefined ? undefined : readOption(tokenFile, 'token file').split('\n', 1)[0].trim(),
      name: `ringwarden command, process ${process.pid}`,
      ...(socket !== undefined && { socket }),
      ...(url !== undefined && { url }),
      ...(caFile !== undefined && { ca: readOption(caFile, 'certificate') }),
    });
  } catch (error) {
    if (!(error instanceof RefusedError) || error.code !== 'authenticationFailed' || tenant !== undefined || tokenFile !== undefined) throw error;
    throw new CliError('the server cannot tell which tenant you are', 'name the tenant with --tenant, or give its token with --token-file');
  }
}

/** Connects as a tenant, does the work, and closes. */
export async function withClient<T>(options: ConnectionOptions, work: (client: Client) => Promise<T>): Promise<T> {
  const client = await connectWith(options);
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}
