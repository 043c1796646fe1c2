/** Where to connect to, and the words for what goes wrong there. */
import { createConnection } from 'node:net';
import type { ClientOptions } from 'ws';
import { ConnectionError, invalidArgument } from './errors.js';
import { defaultSocketPath, socketCandidates } from './socket-path.js';

export interface EndpointOptions {
  /** Path of the server's Unix socket. Without `socket` and `url`: see `defaultSocketPath`. */
  socket?: string;
  /** `wss://host:port`; `ws://` is for loopback only, because the token would travel in clear. */
  url?: string;
  /** Certificate authority that signed the server's certificate, PEM. Without it: those that Node trusts. */
  ca?: string | Uint8Array;
}

export interface Endpoint {
  readonly url: string;
  readonly options: ClientOptions;
  /** A Unix socket: memory can be handed over. */
  readonly local: boolean;
  /** A launcher has said hello, set the domain and opened a device on it: the answers come by themselves. */
  readonly launched?: boolean;
  /** For messages: the socket's path, or the URL. */
  readonly description: string;
}

/** sun_path holds 108 bytes with its end (unix(7)); Node would cut a longer path short. */
const MAX_SOCKET_PATH = 107;

const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;

export function unixEndpoint(path: string): Endpoint {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH || path.includes('\0')) {
    throw invalidArgument('connect', 'socket', path, `a path of at most ${MAX_SOCKET_PATH} bytes`);
  }
  return { url: 'ws://localhost/', options: { createConnection: () => createConnection({ path }) }, local: true, description: path };
}

function urlEndpoint(text: string, ca: string | Uint8Array | undefined): Endpoint {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !(url.protocol === 'wss:' || (url.protocol === 'ws:' && LOOPBACK.test(url.hostname)))) {
    throw invalidArgument('connect', 'url', text, 'wss://host:port, or ws:// with a loopback address');
  }
  if (url.username !== '' || url.password !== '' || url.hash !== '') {
    throw invalidArgument('connect', 'url', url.host, 'a URL without user, password and fragment; use the options tenant and token');
  }
  const options = ca === undefined ? {} : { ca: typeof ca === 'string' ? ca : Buffer.from(ca) };
  return { url: url.href, options, local: false, description: `${url.protocol}//${url.host}` };
}

export function endpointOf(options: EndpointOptions): Endpoint {
  if (options.url === undefined) return unixEndpoint(defaultSocketPath(options.socket));
  if (options.socket !== undefined) throw invalidArgument('connect', 'url', options.url, 'socket or url, not both');
  return urlEndpoint(options.url, options.ca);
}

const TURNED_AWAY = 'the server ended the connection at once, because it has as many as it takes; try again later';

const REMEDIES: Readonly<Record<string, string>> = {
  ENOENT:
    'there is no such socket; start the server with "ringwarden serve", or name its socket with the option socket (--socket of the command) or $RINGWARDEN_SOCKET',
  ECONNREFUSED: 'nothing listens there; start the server with "ringwarden serve"',
  ECONNRESET: TURNED_AWAY,
  EPIPE: TURNED_AWAY,
  EACCES: 'this user may not open the socket; ask the administrator for access to it',
  ENOTFOUND: 'there is no such host',
  EHOSTUNREACH: 'the host cannot be reached',
  ETIMEDOUT: 'the host does not answer',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'the certificate is self-signed; give it as the option ca (--ca-file of the command)',
  SELF_SIGNED_CERT_IN_CHAIN: 'the certificate authority is not known; give it as the option ca (--ca-file of the command)',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'the certificate authority is not known; give it as the option ca (--ca-file of the command)',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'the certificate authority is not known; give it as the option ca (--ca-file of the command)',
  ERR_TLS_CERT_ALTNAME_INVALID: 'the certificate is for another host name',
  CERT_HAS_EXPIRED: 'the certificate has expired',
};

/** The error for a connection that could not be made. */
export function connectError(endpoint: Endpoint, cause: Error): ConnectionError {
  const code = (cause as NodeJS.ErrnoException).code ?? '';
  const reason = REMEDIES[code] ?? cause.message;
  const tried = code === 'ENOENT' ? ` (looked for: ${[...new Set([endpoint.description, ...socketCandidates()])].join(', ')})` : '';
  return new ConnectionError('connectFailed', `cannot connect to ${endpoint.description}: ${reason}${tried}`, { value: code, cause });
}
