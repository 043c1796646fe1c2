/** Entry of an engine thread. From here on its event loop never runs again. */
import { workerData, type MessagePort } from 'node:worker_threads';
import { openBacking } from '../../hw/backings.js';
import { systemClock } from '../../hw/task.js';
import type { EngineStart } from './control.js';
import { Engine } from './engine.js';
import { failureOf } from './failure.js';
import { IdRing } from './id-ring.js';
import { Signals } from './signals.js';

const { start, port } = workerData as { start: EngineStart; port: MessagePort };

try {
  const backing = openBacking(start.backing);
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
