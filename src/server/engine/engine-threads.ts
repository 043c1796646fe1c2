/**
 * The threads of engines. One takes longer to load its modules than a configuration takes to read, so the first one can be started ahead; it then waits for
 * its engine. Nothing else is imported here: this is called before the rest of the server is loaded.
 */
import { Worker } from 'node:worker_threads';
import { programFile } from '../../hw/program-file.js';

let spare: Worker | undefined;

function startThread(): Worker {
  return new Worker(programFile('engine-thread'), { name: 'engine' });
}

/** How long a thread that was told to end may take for it. */
const STOP_MS = 5_000;

/** Resolves when the thread has ended; one that does not end by itself in time is terminated. */
export async function exitOf(worker: Worker): Promise<void> {
  if (worker.threadId === -1) return;
  const late = setTimeout(() => void worker.terminate(), STOP_MS);
  await new Promise((resolve) => worker.once('exit', resolve));
  clearTimeout(late);
}

/** Starts the thread of the first engine. It does not keep the process alive. */
export function prepareThread(): void {
  if (spare !== undefined) return;
  const worker = startThread();
  spare = worker;
  worker.unref();
  // The next one that is started fails in the same way, and then somebody is there to be told.
  worker.once('error', () => {
    if (spare === worker) spare = undefined;
  });
}

/** A thread that waits for an `EngineStart`, together with the port that the engine is to use. */
export function takeThread(): Worker {
  const worker = spare ?? startThread();
  spare = undefined;
  worker.ref();
  return worker;
}
