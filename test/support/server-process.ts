/** A driver server as its users run it: a process of its own, from the build, in a folder of its own. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** The environment without what would lead commands to another server. */
const environment = (): NodeJS.ProcessEnv => {
  const { RINGWARDEN_SOCKET: _s, RINGWARDEN_ADMIN_SOCKET: _a, RINGWARDEN_TENANT: _t, XDG_RUNTIME_DIR: _x, ...rest } = process.env;
  return { ...rest, NO_COLOR: '1' };
};

export interface Finished {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs one command to its end. */
export function runCommand(folder: string, ...args: string[]): Finished {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    cwd: folder,
    env: environment(),
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status, out: stdout, err: stderr };
}

/** Runs a script with the build in reach as `dist`. */
export function runScript(source: string): Finished {
  const dist = fileURLToPath(new URL('../../dist', import.meta.url));
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', `const dist = ${JSON.stringify(dist)};\n${source}`], {
    env: environment(),
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status, out: stdout, err: stderr };
}

export class ServerProcess {
  readonly folder: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown[]>;
  #out = '';
  #err = '';

  /** Starts `ringwarden serve ...args -o json` in a folder, with JSON logs. */
  constructor(folder: string, ...args: string[]) {
    this.folder = folder;
    this.#child = spawn(process.execPath, [MAIN, 'serve', ...args, '-o', 'json', '--log-format', 'json'], {
      cwd: folder,
      env: environment(),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child.stdout?.on('data', (data: Buffer) => (this.#out += data.toString()));
    this.#child.stderr?.on('data', (data: Buffer) => (this.#err += data.toString()));
    this.#ended = once(this.#child, 'close');
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /** What it logged so far, one object a line. */
  get log(): { level: string; message: string; [key: string]: unknown }[] {
    const whole = this.#err.slice(0, this.#err.lastIndexOf('\n') + 1);
    return whole
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as { level: string; message: string });
  }

  get errors(): string {
    return this.#err;
  }

  /** What it printed when it was ready. Rejects when it ends before. */
  async ready(): Promise<{ socket: string; admin: string; pid: number; tenants: { name: string; shares: string[] }[] }> {
    const ended = this.#ended.then(() => 'ended' as const);
    for (;;) {
      const end = this.#out.indexOf('\n');
      if (end >= 0) return JSON.parse(this.#out.slice(0, end)) as Awaited<ReturnType<ServerProcess['ready']>>;
      const next = await Promise.race([ended, tick()]);
      if (next === 'ended') throw new Error(`the server ended before it was ready: ${this.#err}`);
    }
  }

  /** Resolves when it has logged this message (once more than `before` times). */
  async logged(message: string, before = 0): Promise<void> {
    while (this.log.filter((line) => line.message === message).length <= before) {
      if (this.#child.exitCode !== null) throw new Error(`the server ended before it logged "${message}": ${this.#err}`);
      await tick();
    }
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Resolves with the exit status once it has ended; null when a signal ended it. */
  async ended(): Promise<number | null> {
    await this.#ended;
    return this.#child.exitCode;
  }

  async stop(): Promise<number | null> {
    if (this.#child.exitCode === null) this.signal('SIGTERM');
    return this.ended();
  }

  /** Ends it at once, if it is still there. */
  async kill(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.signal('SIGKILL');
    await this.#ended;
  }
}

const tick = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));
