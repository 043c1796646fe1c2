/** Which driver had a function before it was bound here: one file, which is forgotten at a reboot, as the bindings are. */
import { closeSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { shm } from '../../../native/shm.js';
import { FunctionError } from '../error.js';

/** Not in the server's own folder: root acts on what it says. */
export const FORMER_FILE = '/run/ringwarden-bindings.json';

export interface Former {
  readonly driver: string | undefined;
  readonly driverOverride: string | undefined;
}

interface Content {
  readonly version: 1;
  readonly functions: Readonly<Record<string, { readonly driver: string | null; readonly driverOverride: string | null }>>;
}

/** A name that can be a part of a path. */
const isName = (value: unknown): value is string => typeof value === 'string' && /^[^./\s][^/\n]{0,127}$/.test(value);

function isContent(value: unknown): value is Content {
  if (typeof value !== 'object' || value === null) return false;
  const { version, functions } = value as Partial<Content>;
  if (version !== 1 || typeof functions !== 'object' || functions === null) return false;
  return Object.values(functions).every(
    (each: unknown) =>
      typeof each === 'object' &&
      each !== null &&
      ['driver', 'driverOverride'].every((key) => {
        const name = (each as Record<string, unknown>)[key];
        return name === null || isName(name);
      }),
  );
}

export class Formers {
  readonly path: string;

  constructor(path: string = FORMER_FILE) {
    this.path = path;
  }

  /** What is remembered of a function. @throws FunctionError when the file is damaged. */
  of(address: string): Former | undefined {
    const found = this.#read().functions[address];
    return found === undefined ? undefined : { driver: found.driver ?? undefined, driverOverride: found.driverOverride ?? undefined };
  }

  remember(address: string, { driver, driverOverride }: Former): void {
    const { functions } = this.#read();
    this.#write({ version: 1, functions: { ...functions, [address]: { driver: driver ?? null, driverOverride: driverOverride ?? null } } });
  }

  forget(address: string): void {
    const { [address]: forgotten, ...functions } = this.#read().functions;
    if (forgotten !== undefined) this.#write({ version: 1, functions });
  }

  /** Runs `work` while no other process moves functions. @throws FunctionError `busy` */
  alone<T>(work: () => T): T {
    const lock = `${this.path}.lock`;
    let fd: number;
    try {
      fd = openSync(lock, 'a', 0o600);
    } catch (error) {
      throw new FunctionError(
        'absent',
        `${lock} cannot be made: ${codeOf(error)}`,
        'run this as root, or name a file that you may write with --state',
      );
    }
    try {
      if (!shm().lock(fd)) throw new FunctionError('busy', 'another command is moving functions between drivers', 'wait until it has ended');
      return work();
    } finally {
      closeSync(fd);
    }
  }

  #read(): Content {
    let text: string;
    try {
      text = readFileSync(this.path, 'utf8');
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return { version: 1, functions: {} };
      throw new FunctionError('absent', `${this.path} cannot be read: ${codeOf(error)}`, 'run this as root, or name another file with --state');
    }
    try {
      const content: unknown = JSON.parse(text);
      if (isContent(content)) return content;
    } catch {
      // Told below.
    }
    throw new FunctionError(
      'protocol',
      `${this.path} is damaged`,
      `remove it: rm ${this.path}; unbind then leaves the choice of a driver to the kernel`,
    );
  }

  #write(content: Content): void {
    const next = `${this.path}.new`;
    try {
      rmSync(next, { force: true });
      writeFileSync(next, `${JSON.stringify(content, undefined, 2)}\n`, { flag: 'wx', mode: 0o644, flush: true });
      renameSync(next, this.path);
    } catch (error) {
      throw new FunctionError('absent', `${this.path} cannot be written: ${codeOf(error)}`, 'run this as root, or name another file with --state');
    }
  }
}

const codeOf = (error: unknown): string => (error instanceof Error && 'code' in error ? String(error.code) : String(error));
