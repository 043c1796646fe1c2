/**
 * Clients that are killed in the middle of their work, while another one works on the same controller: nothing of theirs is left in the server, and
 * the other notices nothing. 8 of them, and fewer for other kinds of queues and controllers; 200 of the first kind with RINGWARDEN_FULL=1.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type SessionView, killMany } from '../support/killing.js';
import { workspace, type Workspace } from '../support/processes.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { Server, configuration, device } from '../support/server.js';

const FULL = process.env['RINGWARDEN_FULL'] === '1';
const TIMEOUT_MS = FULL ? 1_800_000 : 180_000;
/** Victims at a time. */
const TOGETHER = 4;
/** After "busy", a victim lives up to so long. */
const MOST_LIFE_MS = 40;
const VICTIM = fileURLToPath(new URL('programs/victim.mjs', import.meta.url));

/** Runs victims and kills them. Returns how many requests of theirs the server had in flight when it was asked just before. */
async function kill(space: Workspace, server: Server, count: number, queues: string, round: number): Promise<number> {
  const args = JSON.stringify({ socket: server.ready.socket, tenant: 'alice', queues });
  const victims = Array.from({ length: count }, () => space.spawn(process.execPath, [VICTIM, args]));
  const inFlight = await Promise.all(
    victims.map(async (victim, index) => {
      await victim.says(/^busy$/m);
      const sessions = await server.admin<SessionView[]>('/sessions');
      await sleep((round * 7 + index * 13) % MOST_LIFE_MS);
      victim.kill('SIGKILL');
      expect(await victim.ended, victim.words).toEqual({ status: null, signal: 'SIGKILL' });
      expect(victim.stdout, 'a victim saw no event but its own').toBe('busy\n');
      return sessions.filter((session) => session.tenant === 'alice').flatMap(({ leases }) => leases.map((lease) => lease.inFlight));
    }),
  );
  return inFlight.flat().reduce((sum, each) => sum + each, 0);
}

async function killVictims(space: Workspace, server: Server, queues: 'own' | 'shared', kills: number): Promise<void> {
  let inFlight = 0;
  await killMany(server, {
    kills,
    together: TOGETHER,
    queues,
    kill: async (count, killed) => {
      inFlight += await kill(space, server, count, queues, killed);
    },
  });
  expect(inFlight, 'victims had requests in flight').toBeGreaterThan(kills);
}

const kinds = [
  { name: 'the embedded controller', queues: 'shared', backing: {}, kills: FULL ? 200 : 8 },
  { name: 'the embedded controller', queues: 'own', backing: {}, kills: FULL ? 40 : 4 },
  { name: 'the embedded controller on a thread of its own', queues: 'own', backing: { mode: 'thread' }, kills: FULL ? 40 : 4 },
] as const;

describe('clients killed in mid-I/O', { timeout: TIMEOUT_MS }, () => {
  it.each(kinds)('leave nothing behind on $name, $queues queues, $kills times', async ({ queues, backing, kills }) => {
    const space = workspace();
    const server = await Server.start(space, configuration({ devices: [device(backing)] }));
    await killVictims(space, server, queues, kills);
  });

  it.skipIf(!hasQemu)(`leave nothing behind on the controller of ${qemuName}`, async () => {
    const space = workspace();
    const server = await Server.start(space, configuration({ devices: [device({ kind: 'qemu' }, { image: 'nvme0.img' })] }));
    await killVictims(space, server, 'own', FULL ? 20 : 4);
  });
});
