/** On QEMU's NVMe controller, beside the same driver alone in one process on the same QEMU. Each with its bar; see `results.mjs`. */
import { startChild } from './child.mjs';
import { compare, inTurns } from './measure.mjs';
import { isThere } from './peers.mjs';
import { withServer } from './server.mjs';

/** Four batches of eight reads of 4 KiB in flight. The medium is memory, as the server starts QEMU without an image. */
const [BATCHES, REQUESTS] = [4, 8];
const MEMORY_BYTES = 4 * 2 ** 20;

async function withChildren(files, work) {
  const children = files.map((file) => startChild(file));
  try {
    return await work(...children);
  } finally {
    await Promise.all(children.map((child) => child.end()));
  }
}

/** `admit-submit` is more than copying, judging and translating: it writes the command as well, and misses the caches of 64 tenants. So the share is an upper bound. */
async function qemu({ rounds, scale }) {
  const missing = ['qemu-system-x86_64', 'setpriv'].filter((program) => !isThere(program));
  if (missing.length > 0) return { skipped: `${missing.join(' and ')} is not there: install qemu-system-x86 and util-linux` };
  return withServer('qemu', ['alice', 'bob'], (server) =>
    withChildren(['sdk-client.mjs', 'shm-client.mjs', 'qemu-driver.mjs', 'admit.mjs'], async (socket, shared, driver, admit) => {
      await socket.call('open', server.socket, 'alice');
      await shared.call('open', server.socket, 'bob', { poll: 'adaptive' });
      await driver.call('open', MEMORY_BYTES);
      await admit.call('open');
      const milliseconds = 1000 * scale;
      const [bySocket, byRings, alone, judged] = await inTurns(
        rounds,
        () => socket.call('regionReads', milliseconds, BATCHES, REQUESTS),
        () => shared.call('rate', milliseconds, BATCHES, REQUESTS),
        () => driver.call('rate', milliseconds, BATCHES, REQUESTS),
        () => admit.call('cost', 200_000 * scale),
      );
      await driver.call('close');
      const submits = judged.map(({ submit }) => submit);
      const whole = byRings.map((rate) => 1e9 / rate);
      return [compare(bySocket, alone), compare(byRings, alone), compare(submits, whole)];
    }),
  );
}

export const GROUPS = [
  {
    measure: qemu,
    results: [
      { name: 'qemu-qd32', unit: 'requests/s', beside: 'driver alone', least: 0.5 },
      { name: 'qemu-mediation', unit: 'requests/s', beside: 'driver alone', least: 0.7 },
      { name: 'qemu-validation', unit: 'ns', beside: 'a whole request', most: 0.05 },
    ],
  },
];
