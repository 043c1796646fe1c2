/** Starts an engine: its backing, its thread, and what the two threads share. */
import { MessageChannel, type Worker } from 'node:worker_threads';
import { prepareBacking, type BackingOptions } from '../../hw/backings.js';
import { HardwareError } from '../../hw/task.js';
import { shm } from '../../native/shm.js';
import type { DeviceFacts, EngineHost } from './api.js';
import {
  LEASES_OF_A_DEVICE,
  MAX_CHANNELS,
  MAX_DEVICES,
  type ControlRequest,
  type EngineMessage,
  type EngineSettings,
  type EngineStart,
} from './control.js';
import { exitOf, takeThread } from './engine-threads.js';
import { errorOf } from './failure.js';
import { Host, type EngineThread } from './host.js';
import { IdRing } from './id-ring.js';
import { Signals } from './signals.js';

export interface EngineOptions extends Partial<Omit<EngineSettings, 'name' | 'leaseBase'>> {
  readonly name: string;
  readonly backing: BackingOptions;
}

/** Settings where the configuration says nothing. */
const DEFAULTS = { vectorsCeiling: 64, queuePairsCeiling: 128, commandTimeout: 10_000, spinMicroseconds: 50 } as const;
let enginesStarted = 0;

/** A device that does not answer its probe in so long is given up, whatever it does: the driver has given up before. A probe has two resets, of a minute each at most. */
const PROBE_MS = 180_000;

/** Resolves when the device was probed. A failure gives back what was taken before it. @throws HardwareError */
export async function startEngine(options: EngineOptions): Promise<EngineHost> {
  const { name, backing, ...given } = options;
  const settings: EngineSettings = { ...DEFAULTS, ...given, name, leaseBase: (enginesStarted++ % MAX_DEVICES) * LEASES_OF_A_DEVICE };
  let host: Host | undefined;
  const start = (lastLease: number): Promise<EngineThread> => startThread({ ...settings, lastLease }, backing, () => host?.takeReady());
  host = new Host(name, await start(0), start);
  return host;
}

async function startThread(settings: EngineSettings, backing: BackingOptions, takeReady: () => void): Promise<EngineThread> {
  const prepared = await prepareBacking(backing);
  const native = shm();
  const engineWake = native.eventfd();
  const mainWaker = native.createWaker(takeReady);
  const release = (): void => {
    native.closeWaker(mainWaker);
    native.close(engineWake);
  };
  const signals = new Signals({ words: new SharedArrayBuffer(256), engineWake, mainWaker });
  const activations = IdRing.create(MAX_CHANNELS);
  const ready = IdRing.create(MAX_CHANNELS);
  const { port1, port2 } = new MessageChannel();
  const start: EngineStart = { settings, backing: prepared.handle, signals: signals.handles, activations: activations.memory, ready: ready.memory };
  const worker = takeThread();
  worker.postMessage({ start, port: port2 }, [port2]);
  try {
    const facts = await started(worker, port1);
    return { facts, worker, port: port1, signals, activations, ready, prepared, release };
  } catch (error) {
    // It ends by itself, having given back what it took; one that waits for its device is told to.
    const close: ControlRequest = { id: 0, method: 'close', args: [0] };
    port1.postMessage(close);
    signals.announceControl();
    await exitOf(worker);
    port1.close();
    await prepared.dispose();
    release();
    throw error;
  }
}

function started(worker: Worker, port: import('node:worker_threads').MessagePort): Promise<DeviceFacts> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => settle(() => reject(new HardwareError('timeout', 'the device does not answer'))), PROBE_MS);
    const settle = (end: () => void): void => {
      clearTimeout(timer);
      port.off('message', onMessage);
      worker.off('error', onError);
      end();
    };
    const onError = (error: Error): void => settle(() => reject(error));
    const onMessage = (message: EngineMessage): void => {
      if (message.kind === 'started') settle(() => resolve(message.facts));
      else if (message.kind === 'failed') settle(() => reject(errorOf(message.failure)));
    };
    port.on('message', onMessage);
    worker.on('error', onError);
  });
}
