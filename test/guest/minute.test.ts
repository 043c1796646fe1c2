/**
 * A minute of verified work by two tenants on a controller that has a hard time: a third client is killed, the controller is reset, and it is pulled out of its slot
 * and put back. Requests end with data that are right or with a code; nothing hangs, and nothing is left.
 */
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { eventually, workspace } from '../support/processes.js';
import { Server } from '../support/server.js';
import { guest } from './guest.js';
import { KEEP, bindAsTold, pciConfiguration } from './pci-server.js';
import { plug, pull, untilGone } from './slot.js';
import { Survivor } from './survivor.js';

const PHASE_MS = 12_000;
const VICTIM = fileURLToPath(new URL('../system/programs/victim.mjs', import.meta.url));
const { address } = guest.devices.slot;

test('two tenants work for a minute, through a SIGKILL, a reset, a removal and a re-plug (R21, R24)', { timeout: 240_000 }, async ({ annotate }) => {
  const space = workspace();
  await bindAsTold(space, address, 'vfio');
  const server = await Server.start(space, pciConfiguration(address, 'vfio'), KEEP);
  const [alice, bob] = [new Survivor(await server.connect('alice'), 1), new Survivor(await server.connect('bob', { transport: 'shm' }), 2)];
  await Promise.all([alice.begin(), bob.begin()]);
  const before = server.holdings();
  await sleep(PHASE_MS);

  const victim = space.spawn(process.execPath, [VICTIM, JSON.stringify({ socket: server.ready.socket, tenant: 'carol', queues: 'shared' })]);
  await victim.says(/^busy$/m);
  victim.kill('SIGKILL');
  expect(await victim.ended).toEqual({ status: null, signal: 'SIGKILL' });
  await sleep(PHASE_MS);

  await server.admin('/devices/nvme0/reset', 'POST');
  await Promise.all([alice.beginAgain(), bob.beginAgain()]);
  await sleep(PHASE_MS);

  pull();
  await Promise.all([
    alice.beginAgain(),
    bob.beginAgain(),
    (async () => {
      await untilGone();
      await plug();
      await bindAsTold(space, address, 'vfio');
    })(),
  ]);
  await sleep(PHASE_MS);

  await Promise.all([alice.end(), bob.end()]);
  expect(Math.min(alice.requests, bob.requests)).toBeGreaterThan(100);
  await eventually('the server holds what it held', () => (server.holdings().descriptors <= before.descriptors ? true : undefined));
  expect(server.holdings().threads).toBeLessThanOrEqual(before.threads);
  expect(await server.stop()).toEqual({ status: 0, signal: null });
  await annotate(`${alice.requests} + ${bob.requests} requests`);
});
