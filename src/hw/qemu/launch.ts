/**
 * Starting QEMU, on the main thread.
 *
 * QEMU gets everything by inherited descriptors and leaves nothing behind: sockets and firmware have no names in the file system, images are
 * opened here. It dies with this process, whatever happens to it (prctl(2), PR_SET_PDEATHSIG).
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import type { PreparedBacking } from '../backing.js';
import { HardwareError, systemClock, type Task } from '../task.js';
import { qemuArguments } from './arguments.js';
import type { QemuHandle } from './handle.js';
import { Inheritance } from './inheritance.js';
import { DEFAULT_ACCESS_MS, checkOptions, modelOf, type QemuOptions } from './options.js';
import { QemuProcess, mappingsOf } from './process.js';
import { findProgram } from './programs.js';
import { Qmp } from './qmp.js';

/** How long QEMU may take to start; it takes some 30 ms. */
const START_MS = 20_000;
/** What is kept of QEMU's error output: its last words. */
const MAX_WORDS = 4_096;

/**
 * Starts QEMU and waits until its device is there.
 *
 * The handle goes to one engine thread. `ended` resolves when QEMU has ended: then, and not before, nothing of it writes into memory any more.
 * `dispose` kills QEMU and resolves after that; safe to call twice.
 *
 * @throws RangeError for options out of range; HardwareError `absent` (a program, an image), `busy` or `exhausted` (an image), `unsupported`
 * (QEMU refuses, with its own words).
 */
export async function prepare(options: QemuOptions): Promise<PreparedBacking<QemuHandle>> {
  checkOptions(options);
  const setpriv = findProgram('setpriv', 'util-linux');
  const qemu = findProgram(options.binary ?? 'qemu-system-x86_64', 'qemu-system-x86');
  const inheritance = new Inheritance(options);
  try {
    const args = ['--pdeathsig', 'KILL', '--', qemu, ...qemuArguments(options)];
    const child = spawn(setpriv, args, { stdio: ['ignore', 'ignore', 'pipe', ...inheritance.given], cwd: '/', env: {} });
    inheritance.closeGiven();
    const ended = endOf(child);
    const kill = async (): Promise<void> => {
      child.kill('SIGKILL');
      await ended;
    };
    try {
      const { pid } = child;
      if (pid === undefined) throw new HardwareError('absent', await ended);
      const { qtest, qmp, vectors } = inheritance;
      const version = await start(new QemuProcess(pid, qmp), qmp, ended);
      const accessMilliseconds = options.accessMilliseconds ?? DEFAULT_ACCESS_MS;
      const handle: QemuHandle = { pid, version, model: modelOf(options), qtest, qmp, vectors, accessMilliseconds };
      return { handle, ended, dispose: () => kill().then(() => inheritance.close()) };
    } catch (error) {
      await kill();
      throw error;
    }
  } catch (error) {
    inheritance.giveUp();
    throw error;
  }
}

/** Resolves with the reason when the process has ended: the signal or its status, and its last words. */
function endOf(child: ChildProcess): Promise<string> {
  let words = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    words = (words + text).slice(-MAX_WORDS);
  });
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(`QEMU cannot be run: ${error.message}`));
    // Comes after the last of the error output.
    child.once('close', (status, signal) => resolve(`QEMU ended (${signal ?? `status ${status}`})${words === '' ? '' : `: ${words.trim()}`}`));
  });
}

/** Waits until QEMU answers, which it does when the whole machine is there. Returns its version. */
async function start(process: QemuProcess, socket: number, ended: Promise<string>): Promise<string> {
  const qmp = new Qmp(socket, process, systemClock, START_MS);
  try {
    const version = await run(negotiate(qmp));
    if (mappingsOf(process.pid) === '') throw new HardwareError('unsupported', 'the mappings of QEMU in /proc cannot be read');
    return version;
  } catch (error) {
    if (process.lost === undefined) throw error;
    // It was killed, or ended by itself: then its own words say why.
    throw new HardwareError('unsupported', `QEMU does not start: ${process.lost}; ${await ended}`);
  }
}

/** Leaves the socket between two lines, so that the engine thread can go on with it. */
function* negotiate(qmp: Qmp): Task<string> {
  const version = yield* qmp.negotiate();
  while (!qmp.empty) {
    yield 1;
    qmp.drain();
  }
  return version;
}

/** Runs a task on the event loop. */
async function run<T>(task: Task<T>): Promise<T> {
  for (let step = task.next(); ; step = task.next()) {
    if (step.done === true) return step.value;
    await delay(step.value);
  }
}
