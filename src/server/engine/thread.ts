/** Entry of an engine thread. Once it is given its engine, its event loop never runs again. */
import { parentPort, type MessagePort } from 'node:worker_threads';
import { openBacking } from '../../hw/backings.js';
import { systemClock } from '../../hw/task.js';
import type { EngineStart } from './control.js';
import { Engine } from './engine.js';
import { failureOf } from './failure.js';
import { IdRing } from './id-ring.js';
import { Signals } from './signals.js';

async function serve({ start, port }: { start: EngineStart; port: MessagePort }): Promise<void> {
  try {
    const backing = await openBacking(start.backing);
    const engine = new Engine(
      backing,
      start.settings,
      port,
      new Signals(start.signals),
      new IdRing(start.activations),
      new IdRing(start.ready),
      systemClock,
    );
    engine.run();
  } catch (error) {
    port.postMessage({ kind: 'failed', failure: failureOf(error) });
  }
  port.close();
}

parentPort?.once('message', (message) => void serve(message));
