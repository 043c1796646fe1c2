/** Processes and folders of one test: real ones, taken down when the test ends, however it ends. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { onTestFinished } from 'vitest';

/** The package, as it was built. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** The command; in the guest, whose processor is emulated, the bundle of it, which loads faster. */
export const MAIN = join(ROOT, 'dist', process.env['RINGWARDEN_GUEST'] === undefined ? 'cli/main.js' : 'program/ringwarden.js');

/** Far longer than anything takes, on a loaded machine too; a test that gets here has failed. */
const DEADLINE_MS = 60_000;
const LOOK_MS = 20;

/** Looks until something is found. */
export async function eventually<T>(what: string, look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const deadline = performance.now() + DEADLINE_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await sleep(LOOK_MS);
  }
}

export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class Process {
  readonly pid: number;
  readonly ended: Promise<Ended>;
  stdout = '';
  stderr = '';
  readonly #child: ChildProcess;
  #isRunning = true;

  constructor(child: ChildProcess) {
    if (child.pid === undefined) throw new Error('the process did not start');
    this.pid = child.pid;
    this.#child = child;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.ended = new Promise((resolve) => {
      child.once('close', (status, signal) => {
        this.#isRunning = false;
        resolve({ status, signal });
      });
    });
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** Everything that it said. */
  get words(): string {
    return `${this.stdout}${this.stderr}`;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  write(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Waits until its standard output matches. Throws what it said if it ends before. */
  says(pattern: RegExp): Promise<RegExpExecArray> {
    return eventually(`${String(pattern)} in: ${this.words}`, () => {
      const found = pattern.exec(this.stdout);
      if (found !== null) return found;
      if (!this.#isRunning) throw new Error(`the process ended without ${String(pattern)}: ${this.words}`);
      return undefined;
    });
  }
}

export interface SpawnOptions {
  /** The test's own folder by default. */
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

export interface Result extends Ended {
  readonly stdout: string;
  readonly stderr: string;
}

/** What a user's shell has: nothing of the test runner, and nothing that says where a server is. */
function environment(change: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/^(RINGWARDEN_|VITEST|NODE_OPTIONS$|NODE_V8_COVERAGE$|XDG_RUNTIME_DIR$)/.test(name));
  return { ...Object.fromEntries(kept), NO_COLOR: '1', ...change };
}

/** A folder, and the processes that work there. */
export class Workspace {
  readonly folder = mkdtempSync(join(tmpdir(), 'ringwarden-'));
  readonly #processes: Process[] = [];
  readonly #last: (() => void)[] = [];

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Writes a file, plain values as JSON. Returns its path. */
  file(name: string, content: string | object): string {
    writeFileSync(this.path(name), typeof content === 'string' ? content : JSON.stringify(content, undefined, 2));
    return this.path(name);
  }

  spawn(command: string, args: readonly string[], { cwd = this.folder, env }: SpawnOptions = {}): Process {
    const child = new Process(spawn(command, args, { cwd, env: environment(env), stdio: ['pipe', 'pipe', 'pipe'] }));
    this.#processes.push(child);
    return child;
  }

  /** Runs a command to its end. */
  async run(command: string, args: readonly string[], options?: SpawnOptions): Promise<Result> {
    const child = this.spawn(command, args, options);
    const ended = await child.ended;
    return { ...ended, stdout: child.stdout, stderr: child.stderr };
  }

  /** Runs the `ringwarden` command to its end. */
  ringwarden(args: readonly string[], options?: SpawnOptions): Promise<Result> {
    return this.run(process.execPath, [MAIN, ...args], options);
  }

  /** Something to undo at the end, after the processes have ended and before the folder goes. */
  atEnd(undo: () => void): void {
    this.#last.push(undo);
  }

  async close(): Promise<void> {
    for (const child of this.#processes) if (child.isRunning) child.kill('SIGKILL');
    await Promise.all(this.#processes.map(({ ended }) => ended));
    for (const undo of this.#last.splice(0).toReversed()) undo();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A workspace for the test that is running. */
export function workspace(): Workspace {
  const space = new Workspace();
  onTestFinished(() => space.close());
  return space;
}
