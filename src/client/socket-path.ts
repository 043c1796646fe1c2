/** Where the server's Unix socket is, for every program that does not say so itself. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** The socket that `ringwarden serve --sample` makes in its working directory. */
const LOCAL_SOCKET = join('ringwarden-data', 'ringwarden.sock');
const SYSTEM_SOCKET = '/run/ringwarden/ringwarden.sock';

/**
 * The sockets that are tried when nothing names one, in this order: `./ringwarden-data/ringwarden.sock`, that of the user's session
 * (`$XDG_RUNTIME_DIR/ringwarden/ringwarden.sock`), that of the system (`/run/ringwarden/ringwarden.sock`).
 */
export function socketCandidates(environment: NodeJS.ProcessEnv = process.env): string[] {
  const runtime = environment['XDG_RUNTIME_DIR'];
  const session = runtime === undefined || runtime === '' ? [] : [join(runtime, 'ringwarden', 'ringwarden.sock')];
  return [resolve(LOCAL_SOCKET), ...session, SYSTEM_SOCKET];
}

/**
 * The path of the server's socket: `explicit`, else `$RINGWARDEN_SOCKET`, else the first of {@link socketCandidates} that exists, else the
 * system's, which is then missing too.
 */
export function defaultSocketPath(explicit?: string, environment: NodeJS.ProcessEnv = process.env): string {
  if (explicit !== undefined && explicit !== '') return explicit;
  const named = environment['RINGWARDEN_SOCKET'];
  if (named !== undefined && named !== '') return named;
  return socketCandidates(environment).find((path) => existsSync(path)) ?? SYSTEM_SOCKET;
}
