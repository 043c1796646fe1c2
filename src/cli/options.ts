/** Options that several commands have, and what stands behind them. */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import type { Client } from '../client/index.js';
import { systemCode } from '../server/text.js';
import { CliError, Exit, failureOf } from './failure.js';
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
    .addOption(new Option('--socket <path>', "the server's socket (default: $RINGWARDEN_SOCKET, then the usual places)").conflicts('url'))
    .option('--url <url>', 'a server elsewhere, as wss://HOST:PORT; needs --token-file (default: $RINGWARDEN_URL)')
    .option('--ca-file <path>', "with --url: PEM of the authority that signed the server's certificate (default: $RINGWARDEN_CA_FILE, then Node's)")
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

/** A variable of the environment that is set and not empty. */
const variable = (name: string): string | undefined => process.env[name] || undefined;

/** The server that the options name. An option wins over the environment, and a socket that is named over a URL of the environment. */
function endpointWith({ socket, url: named, caFile: authority, tokenFile }: ConnectionOptions): { socket?: string; url?: string; ca?: string } {
  const url = named ?? (socket === undefined ? variable('RINGWARDEN_URL') : undefined);
  if (url === undefined) {
    if (authority !== undefined) throw new CliError('--ca-file is for a server with TLS', 'name the server with --url as well', Exit.usage);
    return socket === undefined ? {} : { socket };
  }
  if (tokenFile === undefined) throw new CliError(`${url} knows tenants by their tokens`, 'give the token with --token-file', Exit.usage);
  const caFile = authority ?? variable('RINGWARDEN_CA_FILE');
  return caFile === undefined ? { url } : { url, ca: readCertificate(caFile) };
}

function readCertificate(path: string): string {
  const pem = readOption(path, 'certificate');
  if (isCertificate(pem)) return pem;
  throw new CliError(`${path} holds no certificate in PEM`, "name the file of the authority that signed the server's certificate", Exit.usage);
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}

export const readToken = (tokenFile: string): string => readOption(tokenFile, 'token file').split('\n', 1)[0].trim();

/** The connection that the options ask for. */
async function connectWith(options: ConnectionOptions): Promise<Client> {
  const { tenant, tokenFile } = options;
  const endpoint = endpointWith(options);
  const { connect } = await import('../client/index.js');
  const token = tokenFile === undefined ? undefined : readToken(tokenFile);
  return refusedAs(options, () => connect({ ...endpoint, tenant, token, name: `ringwarden command, process ${process.pid}` }));
}

/** Says what of the command line to change where the server lets nobody in. */
export async function refusedAs<T>({ tenant, tokenFile }: ConnectionOptions, connecting: () => Promise<T>): Promise<T> {
  try {
    return await connecting();
  } catch (error) {
    // By name: its class comes with the SDK, which is loaded late, and by then perhaps as a user who may not read it.
    if (!(error instanceof Error && error.name === 'RefusedError' && 'code' in error)) throw error;
    if (error.code === 'invalidArgument') throw new CliError(failureOf(error).what, failureOf(error).remedy, Exit.usage);
    if (error.code !== 'authenticationFailed' || tenant !== undefined || tokenFile !== undefined) throw error;
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
