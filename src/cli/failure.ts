/** How a command fails: one line that says what, one that says what to do, and an exit status. */

import { systemCode } from '../server/text.js';

/** 0: done. 1: it failed. 2: the command line or the configuration is wrong. */
export const Exit = { ok: 0, failed: 1, usage: 2 } as const;

export class CliError extends Error {
  override readonly name = 'CliError';
  readonly remedy: string;
  readonly exitCode: number;
  constructor(what: string, remedy: string, exitCode: number = Exit.failed) {
    super(what);
    this.remedy = remedy;
    this.exitCode = exitCode;
  }
}

interface Failure {
  readonly what: string;
  readonly remedy: string;
  readonly exitCode: number;
}

/** What to do about failed system calls. */
const SYSTEM_REMEDIES: Readonly<Record<string, string>> = {
  EADDRINUSE: 'stop the program that listens there, or choose another address or port',
  EADDRNOTAVAIL: 'choose an address of this machine',
  EACCES: 'run as a user who may, or change the rights of the file',
  EPERM: 'run as a user who may, or change the rights of the file',
  EEXIST: 'move away what is there, or choose another path',
  ENOTDIR: 'correct the path: a part of it is not a folder',
  ENOENT: 'correct the path, or make what is missing',
  ENOSPC: 'free space on the disk',
  EROFS: 'choose a place that can be written to',
  EMFILE: 'raise the limit of open files (ulimit -n)',
};

const DEFAULT_REMEDY = 'run the command with --help, or see docs/operations.md';

/** Errors of the SDK end in `; what to do`. */
function split(message: string): { what: string; remedy: string } {
  const at = message.lastIndexOf('; ');
  return at < 0 ? { what: message, remedy: DEFAULT_REMEDY } : { what: message.slice(0, at), remedy: message.slice(at + 2) };
}

const remedyOf = (error: Error): string | undefined => ('remedy' in error && typeof error.remedy === 'string' ? error.remedy : undefined);

/** What to tell about anything that was thrown. */
export function failureOf(error: unknown): Failure {
  if (error instanceof CliError) return { what: error.message, remedy: error.remedy, exitCode: error.exitCode };
  if (!(error instanceof Error)) return { what: String(error), remedy: DEFAULT_REMEDY, exitCode: Exit.failed };
  const exitCode = error.name === 'ConfigError' ? Exit.usage : Exit.failed;
  const remedy = remedyOf(error);
  if (remedy !== undefined) return { what: error.message, remedy, exitCode };
  const system = SYSTEM_REMEDIES[systemCode(error)];
  if (system !== undefined) return { what: error.message, remedy: system, exitCode };
  if (error.name === 'ConfigError') return { what: error.message, remedy: 'correct the configuration; nothing was changed', exitCode };
  return { ...split(error.message), exitCode };
}
