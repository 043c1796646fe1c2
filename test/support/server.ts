/** A server in a process of its own, from the build, as an operator runs it. */
import { readFileSync, readdirSync } from 'node:fs';
import { request } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { MAIN, type Ended, type Process, type SpawnOptions, type Workspace } from './processes.js';

type Sdk = typeof import('../../src/client/index.js');
export type Client = Awaited<ReturnType<Sdk['connect']>>;
export type ConnectOptions = NonNullable<Parameters<Sdk['connect']>[0]>;

/** The SDK as it is published. */
export const sdk = (await import(new URL('../../dist/client/index.js', import.meta.url).href)) as Sdk;

export const MIB = 2 ** 20;
/** Blocks of the tenants' windows in {@link configuration}. */
export const WINDOW_BYTES = 32 * MIB;

type Json = Readonly<Record<string, unknown>>;

/** A device with one namespace, which has a window for each tenant. */
export const device = (backing: Json = {}, namespace: Json = {}): Json => ({
  name: 'nvme0',
  backing: { kind: 'emulated', namespaces: [{ size: 2 * WINDOW_BYTES, blockBytes: 4096, ...namespace }], ...backing },
});

export const tenant = (name: string, first: number, change: Json = {}, share: Json = {}): Json => ({
  name,
  uid: 'server',
  shares: [{ name: 'data', device: 'nvme0', first, size: WINDOW_BYTES, ...share }],
  ...change,
});

/** A configuration for two tenants, alice and bob, of the user that runs the test. */
export const configuration = (change: Json = {}): Json => ({
  state: 'state',
  isolation: 'none',
  listen: { unix: { path: 'server.sock', mode: '0600' } },
  admin: { path: 'admin.sock' },
  devices: [device()],
  tenants: [tenant('alice', 0), tenant('bob', WINDOW_BYTES)],
  ...change,
});

interface Ready {
  readonly pid: number;
  readonly socket: string | null;
  readonly tcp: string | null;
  readonly admin: string;
}

interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly [detail: string]: unknown;
}

export interface ServeOptions extends SpawnOptions {
  readonly args?: readonly string[];
  /** Program, and its arguments, that starts the server: `prlimit`, for example. */
  readonly under?: readonly string[];
}

/** Starts `ringwarden serve` with a configuration (a file name, or its content), ready or not. */
export function serve(space: Workspace, config: Json | string, { args = [], under = [], ...options }: ServeOptions = {}): Process {
  const file = typeof config === 'string' ? config : space.file('ringwarden.json', config);
  const [command, ...rest] = [...under, process.execPath, MAIN, 'serve', '--config', file, '--output', 'json', '--log-format', 'json', ...args];
  return space.spawn(command, rest, options);
}

export class Server {
  readonly process: Process;
  readonly ready: Ready;

  /** Starts a server and waits until it is ready. */
  static async start(space: Workspace, config: Json | string = configuration(), options?: ServeOptions): Promise<Server> {
    const child = serve(space, config, options);
    const [line] = await child.says(/^\{.*"ready":true.*\}$/m);
    return new Server(child, JSON.parse(line) as Ready);
  }

  constructor(child: Process, ready: Ready) {
    this.process = child;
    this.ready = ready;
  }

  get log(): LogLine[] {
    const lines = this.process.stderr.split('\n').filter((line) => line.startsWith('{') && line.endsWith('}'));
    return lines.map((line) => JSON.parse(line) as LogLine);
  }

  connect(tenant: string, options: ConnectOptions = {}): Promise<Client> {
    return sdk.connect({ tenant, socket: this.ready.socket ?? '', ...options });
  }

  /** Asks over the admin socket. */
  async admin<T>(path: string, method: 'GET' | 'POST' = 'GET'): Promise<T> {
    const { status, text } = await ask(this.ready.admin, path, method);
    if (status !== 200) throw new Error(`${path}: ${status} ${text}`);
    return JSON.parse(text) as T;
  }

  /** Stops it in an orderly way. */
  stop(): Promise<Ended> {
    this.process.kill('SIGTERM');
    return this.process.ended;
  }

  /** What the process holds, as the kernel tells it. */
  holdings(): Holdings {
    return holdings(this.ready.pid);
  }
}

function ask(socketPath: string, path: string, method: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, path, method, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => (text += part));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    outgoing.on('error', reject);
    outgoing.end();
  });
}

export interface Holdings {
  readonly descriptors: number;
  /** Mappings of memory files, and their bytes. */
  readonly mappings: number;
  readonly mappedBytes: number;
  readonly threads: number;
  readonly children: number;
}

function holdings(pid: number): Holdings {
  const maps = readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n');
  const files = maps.filter((line) => line.includes('/memfd:ringwarden'));
  const sizes = files.map((line) => {
    const [first, end] = line.split(' ', 1)[0].split('-');
    return parseInt(end, 16) - parseInt(first, 16);
  });
  const threads = readdirSync(`/proc/${pid}/task`);
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    mappings: files.length,
    mappedBytes: sizes.reduce((sum, bytes) => sum + bytes, 0),
    threads: threads.length,
    children: childrenOf(pid).length,
  };
}

/** Processes that this one has started. */
export function childrenOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );
}

/** A TCP port on loopback that nobody has at the moment. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}
