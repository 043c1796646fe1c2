/** Programs that run to their end, or to the end of their time. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';

function killGroup(pid) {
  try {
    process.kill(0 - pid, 'SIGKILL');
  } catch {
    // Nothing is left of it, as it should be.
  }
}

/**
 * Resolves to why the program failed, or undefined. Whatever it started ends with it, unless that left its process group.
 * @param log descriptor for all of its output
 */
export async function finish([program, ...args], env, log, seconds) {
  const child = spawn(program, args, { stdio: ['ignore', log, log], env: { ...process.env, ...env }, detached: true });
  try {
    await once(child, 'spawn');
  } catch (error) {
    return error.message;
  }
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    killGroup(child.pid);
  }, seconds * 1000);
  const [status, signal] = await once(child, 'exit');
  clearTimeout(timer);
  killGroup(child.pid);
  if (isLate) return `not done after ${seconds} s`;
  return status === 0 ? undefined : (signal ?? `status ${status}`);
}
