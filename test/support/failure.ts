/** How a command of `ringwarden` has to fail. */
import { expect } from 'vitest';
import type { Result, Workspace } from './processes.js';
import { serve, type ServeOptions } from './server.js';

/** Runs `ringwarden serve` where it has to fail. */
export async function failed(space: Workspace, config: Parameters<typeof serve>[1], options?: ServeOptions): Promise<Result> {
  const child = serve(space, config, options);
  const ended = await child.ended;
  return { ...ended, stdout: child.stdout, stderr: child.stderr };
}

/** It failed as a program should: with its status, what is wrong, and what to do. */
export function expectFailure(result: Result, status: 1 | 2, what: RegExp, remedy: RegExp): void {
  expect(result, result.stderr).toMatchObject({ status, signal: null, stdout: '' });
  const [, error = '', advice = ''] = /^error: ([^]*?)\n +do: (.*)\n$/m.exec(result.stderr) ?? [];
  expect(error, result.stderr).toMatch(what);
  expect(`${error}\n${advice}`).toMatch(remedy);
  expect(advice, 'advice that fits').not.toMatch(/--help/);
  expect(result.stderr, 'no stack').not.toMatch(/^\s+at .*:\d+/m);
}
