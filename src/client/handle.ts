/** The session that `ringwarden run` opened for this program: an inherited descriptor, which the environment names (docs/protocol.md, "Inherited sessions"). */
import { createHash } from 'node:crypto';
import { fstatSync } from 'node:fs';
import { Socket } from 'node:net';
import { isMainThread } from 'node:worker_threads';
import { SUBPROTOCOL } from '../protocol/index.js';
import type { Endpoint } from './endpoint.js';
import { ConnectionError } from './errors.js';

/** The variables of the environment. Descriptor and process go with the handle; the others stay, and say nothing that is secret. */
export const Variable = {
  descriptor: 'RINGWARDEN_FD',
  /** The process that the handle is for: a child that inherits the variables does not take it. */
  process: 'RINGWARDEN_PID',
  tenant: 'RINGWARDEN_TENANT',
  device: 'RINGWARDEN_DEVICE',
  socket: 'RINGWARDEN_SOCKET',
} as const;

/** The requests that the launcher made, by their ids from 1 on. Their answers wait in the socket. */
export const LAUNCHED = ['hello', 'setDomain', 'openDevice'] as const;

/** RFC 6455 1.3. */
const WEBSOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

export const acceptOf = (key: string): string => createHash('sha1').update(`${key}${WEBSOCKET_GUID}`).digest('base64');

/** What a program asks of the connection; with any of the first four it wants another one than the launcher's. */
interface Wanted {
  readonly socket?: string | undefined;
  readonly url?: string | undefined;
  readonly token?: string | undefined;
  readonly domain?: number | undefined;
  readonly tenant?: string | undefined;
}

/**
 * Takes the handle, once, where there is one that fits; undefined otherwise. From then on it is this program's alone: its children inherit neither the
 * variables nor the descriptor (Node makes what it inherits close-on-exec). Throws a ConnectionError for a handle that is none.
 */
export function takeHandle(wanted: Wanted, environment: NodeJS.ProcessEnv = process.env): Endpoint | undefined {
  const text = environment[Variable.descriptor];
  // The environment of a worker is a copy, from which two of them could take the same handle.
  if (text === undefined || !isMainThread || environment[Variable.process] !== String(process.pid)) return undefined;
  const { socket, url, token, domain, tenant } = wanted;
  if (socket !== undefined || url !== undefined || token !== undefined || domain !== undefined) return undefined;
  if (tenant !== undefined && tenant !== environment[Variable.tenant]) return undefined;
  delete environment[Variable.descriptor];
  delete environment[Variable.process];
  return handleEndpoint(descriptorFrom(text));
}

function descriptorFrom(text: string): number {
  const descriptor = /^[1-9]\d{0,8}$/.test(text) ? Number(text) : 0;
  try {
    if (descriptor > 2 && fstatSync(descriptor).isSocket()) return descriptor;
  } catch {
    // Not open.
  }
  throw new ConnectionError(
    'connectFailed',
    `the inherited descriptor ${text} is not a session with the server; start the program with "ringwarden run", or without ${Variable.descriptor}`,
    { field: Variable.descriptor, value: text },
  );
}

/** The handshake was made by the launcher: the one of `ws` is answered here, and never sent. */
function handleEndpoint(fd: number): Endpoint {
  return {
    url: 'ws://localhost/',
    options: {
      createConnection: () => new Socket({ fd, readable: true, writable: true }),
      finishRequest: (request) => {
        const accept = acceptOf(String(request.getHeader('sec-websocket-key')));
        const answer = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade'];
        answer.push(`Sec-WebSocket-Accept: ${accept}`, `Sec-WebSocket-Protocol: ${SUBPROTOCOL}`, '', '');
        request.once('socket', (socket) => socket.unshift(Buffer.from(answer.join('\r\n'))));
      },
    },
    local: true,
    launched: true,
    description: 'the session that ringwarden run opened',
  };
}
