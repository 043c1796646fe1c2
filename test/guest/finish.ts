/** Programs that run to their end, or to the end of their time. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nothing is left of it, as it should be.
  }
}

/**
 * Resolves to why the program of Node failed, or undefined. Whatever it started ends with it, unless that left its process group.
 * @param log descriptor for all of its output
 */
export async function finish(args: readonly string[], log: number, seconds: number): Promise<string | undefined> {
  const child = spawn(process.execPath, args, { stdio: ['ignore', log, log], env: { ...process.env, NO_COLOR: '1' }, detached: true });
  const { pid } = child;
  if (pid === undefined) return String((await once(child, 'error'))[0]);
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    killGroup(pid);
  }, seconds * 1000);
  const [status, signal] = (await once(child, 'exit')) as [number | null, string | null];
  clearTimeout(timer);
  killGroup(pid);
  if (isLate) return `not done after ${seconds} s`;
  return status === 0 ? undefined : (signal ?? `status ${status}`);
}
