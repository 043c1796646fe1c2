/** The main thread's part: image files, shared memory, the durability service, the device thread. It loads nothing of the model. */
import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { shm } from '../../native/shm.js';
import type { PreparedBacking } from '../backing.js';
import { programFile } from '../program-file.js';
import { loadRom } from '../rom-file.js';
import { HardwareError } from '../task.js';
import { SyncService } from './durability.js';
import type { EmulatedHandle } from './handle.js';
import { Images } from './images.js';
import { type EmulatedOptions, resolveOptions } from './options.js';
import { Shared, Word } from './shared.js';
import { namespaceUuid } from './uuid.js';

/** How long the device thread may take to end by itself. */
const STOP_MS = 2_000;

/**
 * Opens the images and starts what there is to start.
 * @throws RangeError for options that cannot be; HardwareError `busy`, `absent`, `exhausted` for images that cannot be had
 */
export async function prepareEmulated(options: EmulatedOptions = {}): Promise<PreparedBacking<EmulatedHandle>> {
  const { shape, images: wanted } = resolveOptions(options, loadRom(options.rom));
  const shared = new Shared();
  const images = new Images(wanted, shape.namespaces);
  const event = shm().eventfd();
  const tell = (): void => (shape.mode === 'thread' ? shared.wakeDevice() : shared.signalEngine(event));
  const service = new SyncService(shared, images.descriptors, tell);
  const waker = wanted.length === 0 ? -1 : shm().createWaker(() => service.wake());
  const uuids = shape.namespaces.map((_, index) => namespaceUuid(shape.serial, index + 1));
  const handle: EmulatedHandle = { shape, uuids, shared: shared.buffer, images: images.descriptors, event, waker };
  const giveBack = async (): Promise<void> => {
    if (waker >= 0) shm().closeWaker(waker);
    await service.close();
    images.close();
    shm().close(event);
  };
  try {
    const thread = shape.mode === 'thread' ? await startThread(handle, shared) : undefined;
    let disposed: Promise<void> | undefined;
    const dispose = async (): Promise<void> => {
      await thread?.stop();
      await giveBack();
    };
    return {
      handle,
      ended: thread?.ended ?? new Promise(() => undefined),
      dispose: () => (disposed ??= dispose()),
    };
  } catch (error) {
    await giveBack();
    throw error;
  }
}

interface RunningThread {
  /** Resolves when the thread ends by itself. */
  readonly ended: Promise<string>;
  stop(): Promise<void>;
}

async function startThread(handle: EmulatedHandle, shared: Shared): Promise<RunningThread> {
  const worker = new Worker(threadFile(), { workerData: handle, name: 'emulated device' });
  let reason = 'the thread of the device model ended';
  let stopping = false;
  worker.on('error', (error) => {
    reason = `the device model failed: ${error.message}`;
  });
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  const ended = new Promise<string>((resolve) => {
    void exited.then(() => {
      Atomics.store(shared.words, Word.dead, 1);
      if (stopping) return;
      shared.signalEngine(handle.event);
      resolve(reason);
    });
  });
  const ready = new Promise<true>((resolve) => worker.once('message', () => resolve(true)));
  if ((await Promise.race([ready, ended])) !== true) throw new HardwareError('absent', reason);
  const stop = async (): Promise<void> => {
    stopping = true;
    Atomics.store(shared.words, Word.stop, 1);
    shared.wakeDevice();
    const late = setTimeout(() => void worker.terminate(), STOP_MS);
    await exited;
    clearTimeout(late);
  };
  return { ended, stop };
}

function threadFile(): URL {
  const file = programFile('device-thread');
  if (!existsSync(file)) throw new HardwareError('absent', 'the device thread is not built: run "npm run build"');
  return file;
}
