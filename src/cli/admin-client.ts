/** Asks the server over its admin socket. */
import { existsSync } from 'node:fs';
import { request } from 'node:http';
import { join, resolve } from 'node:path';
import { systemCode } from '../server/text.js';
import { CliError } from './failure.js';

const SYSTEM_SOCKET = '/run/ringwarden/admin.sock';
/** A controller reset may take as long as the controller says, which is up to 128 s. */
const ANSWER_MILLISECONDS = 140_000;

/** The socket that the command line or the environment names. */
function namedSocket(explicit: string | undefined, environment: NodeJS.ProcessEnv): string | undefined {
  return (explicit ?? environment['RINGWARDEN_ADMIN_SOCKET']) || undefined;
}

/** Whether somebody asks about one server, and not about the machine. */
export const isAdminSocketNamed = (explicit?: string): boolean => namedSocket(explicit, process.env) !== undefined;

/** `explicit`, else `$RINGWARDEN_ADMIN_SOCKET`, else the first that is there of: the sample's, the user's session's, the system's. */
export function adminSocketPath(explicit?: string, environment: NodeJS.ProcessEnv = process.env): string {
  const named = namedSocket(explicit, environment);
  if (named !== undefined) return named;
  const runtime = environment['XDG_RUNTIME_DIR'] ?? '';
  const session = runtime === '' ? [] : [join(runtime, 'ringwarden', 'admin.sock')];
  return [resolve('ringwarden-data', 'admin.sock'), ...session].find((path) => existsSync(path)) ?? SYSTEM_SOCKET;
}

/** Nobody listens at the admin socket. */
export class NoServerError extends CliError {}

function connectionError(path: string, error: Error): CliError {
  const code = systemCode(error);
  if (code === 'ENOENT' || code === 'ECONNREFUSED') {
    return new NoServerError(
      `no server listens at ${path}`,
      'start one with "ringwarden serve", go to the folder of its sample, or name its socket with --admin-socket',
    );
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new CliError(`you may not open ${path}`, 'ask as root, as the user of the server, or as a member of its admin group');
  }
  return new CliError(`the server at ${path} did not answer: ${error.message}`, 'see the log of the server');
}

interface ErrorBody {
  readonly error?: { readonly what?: string; readonly remedy?: string };
}

/** The text of an answer. @throws CliError */
export function adminText(socketPath: string, method: 'GET' | 'POST', path: string): Promise<string> {
  return new Promise((fulfil, reject) => {
    const outgoing = request({ socketPath, method, path, timeout: ANSWER_MILLISECONDS }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', (error) => reject(connectionError(socketPath, error)));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        if (response.statusCode === 200) return fulfil(text);
        const { error } = JSON.parse(text) as ErrorBody;
        return reject(new CliError(error?.what ?? `the server answered ${response.statusCode}`, error?.remedy ?? 'see the log of the server'));
      });
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer in time')));
    outgoing.on('error', (error) => reject(connectionError(socketPath, error)));
    outgoing.end();
  });
}

/** The value of an answer. @throws CliError */
export async function adminGet<T>(options: { readonly adminSocket?: string }, path: string): Promise<T> {
  return JSON.parse(await adminText(adminSocketPath(options.adminSocket), 'GET', path)) as T;
}

export async function adminPost<T>(options: { readonly adminSocket?: string }, path: string): Promise<T> {
  return JSON.parse(await adminText(adminSocketPath(options.adminSocket), 'POST', path)) as T;
}
