/** The server of the demonstration: a process of its own, with a configuration, sockets and images in a temporary folder. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { programFile } from '../../../hw/program-file.js';
import { CliError } from '../../failure.js';
import type { BackingKind } from '../raw/world.js';
import { BLOCK_BYTES, type Disk, Windows } from './disk.js';

const START_MS = 20_000;
const STOP_MS = 10_000;
const LAST_WORDS = 2_000;

export const DEVICE = 'nvme0';
export const TENANTS = ['alice', 'bob', 'mallory'] as const;
export type TenantName = (typeof TENANTS)[number];
export type Tokens = Readonly<Record<TenantName, string>>;

/** Connections that the attacker may have at a time. */
export const MALLORYS_SESSIONS = 32;
/** Limits of the attacker that attacks reach, small enough to be reached fast. */
const MALLORYS_LIMITS = { pinned: '32 MiB', regions: 256, sessions: MALLORYS_SESSIONS, queuesPerLease: 4, leases: 8 };

const share = (name: keyof typeof Windows, as: string, more: object = {}): object => ({
  name: as,
  device: DEVICE,
  first: Windows[name].first,
  size: Windows[name].bytes,
  keepData: true,
  ...more,
});

/** Data that do not travel with their requests are messages of their own, as fast as the machine is. */
const WORKING = { messagesPerSecond: 100_000 };

function configuration(backing: BackingKind, disk: Disk, tokens: Tokens): object {
  const token = (name: TenantName): object => ({ sha256: createHash('sha256').update(tokens[name]).digest('hex') });
  const namespaces = disk.images.map(({ path, bytes }) => ({ image: path, size: bytes, blockBytes: BLOCK_BYTES }));
  return {
    state: 'state',
    isolation: 'none',
    listen: { unix: { path: 'socket', mode: '0600' } },
    admin: { path: 'admin.socket' },
    drain: '1 s',
    devices: [{ name: DEVICE, backing: { kind: backing, namespaces, queuePairs: 16, vectors: 17 } }],
    tenants: [
      { name: 'alice', token: token('alice'), limits: WORKING, shares: [share('alice', 'data')] },
      { name: 'bob', token: token('bob'), limits: WORKING, shares: [share('bob', 'data')] },
      {
        name: 'mallory',
        token: token('mallory'),
        limits: MALLORYS_LIMITS,
        shares: [
          share('data', 'data'),
          share('manual', 'manual', { access: ['read'] }),
          share('dropbox', 'dropbox', { access: ['write'] }),
          share('scratch', 'scratch', { operations: ['read', 'write'] }),
        ],
      },
    ],
  };
}

const isInstalled = (name: string): boolean => (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, name)));

export class DemoServer {
  readonly socket: string;
  readonly tokens: Tokens;
  readonly #child: ChildProcess;
  readonly #log: string;
  #ended: Promise<void>;
  #hasEnded = false;

  private constructor(folder: string, tokens: Tokens, child: ChildProcess, log: string) {
    this.socket = join(folder, 'socket');
    this.tokens = tokens;
    this.#child = child;
    this.#log = log;
    this.#ended = new Promise((resolve) => {
      const end = (): void => {
        this.#hasEnded = true;
        resolve();
      };
      child.once('exit', end);
      child.once('error', end);
    });
  }

  /** Starts it, and waits until it says that it is ready. @throws CliError with its last words */
  static async start(backing: BackingKind, folder: string, disk: Disk): Promise<DemoServer> {
    const tokens = Object.fromEntries(TENANTS.map((name) => [name, randomBytes(24).toString('base64url')])) as Tokens;
    const file = join(folder, 'demo.jsonc');
    writeFileSync(file, JSON.stringify(configuration(backing, disk, tokens), undefined, 2), { mode: 0o600 });
    const log = join(folder, 'server.log');
    const stderr = openSync(log, 'w', 0o600);
    const main = fileURLToPath(programFile('ringwarden'));
    const args = [main, 'serve', '--config', file, '--output', 'json', '--log-level', 'info'];
    // It ends with this process, whatever happens to it; where setpriv(1) is not there, only in order.
    const guard = isInstalled('setpriv') ? ['setpriv', '--pdeathsig', 'TERM', '--'] : [];
    const [program, ...rest] = [...guard, process.execPath, ...args];
    const child = spawn(program, rest, { stdio: ['ignore', 'pipe', stderr], cwd: folder });
    closeSync(stderr);
    const server = new DemoServer(folder, tokens, child, log);
    if (await server.#ready()) return server;
    await server.stop();
    throw new CliError(`the server of the demonstration did not start: ${server.lastWords()}`, 'see the message above');
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  lastWords(): string {
    return readFileSync(this.#log, 'utf8').slice(-LAST_WORDS).trim();
  }

  /** Resident memory in bytes, as the kernel counts it (proc(5)). */
  residentBytes(): number {
    return this.#status(/^VmRSS:\s+(\d+) kB$/m) * 1_024;
  }

  /** How many descriptors its table has room for, which never shrinks: what anybody may read of a process that lets nobody look into it. */
  descriptorTable(): number {
    return this.#status(/^FDSize:\s+(\d+)$/m);
  }

  /** Ends it in order; if it does not, by force. Safe to repeat. */
  async stop(): Promise<void> {
    if (this.#hasEnded) return;
    this.#child.kill('SIGTERM');
    await Promise.race([this.#ended, delay(STOP_MS, undefined, { ref: false })]);
    if (!this.#hasEnded) this.kill();
    await this.#ended;
  }

  /** At once, for the end of this process. */
  kill(): void {
    if (!this.#hasEnded) this.#child.kill('SIGKILL');
  }

  #status(line: RegExp): number {
    return Number(line.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))?.[1] ?? Number.NaN);
  }

  async #ready(): Promise<boolean> {
    const { stdout } = this.#child;
    if (stdout === null) return false;
    const line = new Promise<boolean>((resolve) => {
      createInterface(stdout).once('line', (text) => resolve(text.startsWith('{') && text.includes('"ready":true')));
    });
    return Promise.race([line, this.#ended.then(() => false), delay(START_MS, false, { ref: false })]);
  }
}
