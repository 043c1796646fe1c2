/**
 * Clients that are killed in the middle of their work, while another one works on the same controller: nothing of theirs is left in the server, and
 * the other notices nothing. 20 of them, and fewer for other kinds of queues and controllers; 200 of the first kind with RINGWARDEN_FULL=1.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { eventually, workspace, type Workspace } from '../support/processes.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { Server, configuration, device, type Holdings } from '../support/server.js';
import { Workload } from '../support/workload.js';

const FULL = process.env['RINGWARDEN_FULL'] === '1';
const TIMEOUT_MS = FULL ? 1_800_000 : 180_000;
/** Victims at a time. */
const TOGETHER = 4;
/** After "busy", a victim lives up to so long. */
const MOST_LIFE_MS = 40;
const VICTIM = fileURLToPath(new URL('programs/victim.mjs', import.meta.url));

interface Inspection {
  readonly sessions: { readonly sessions: readonly SessionView[]; readonly domains: number; readonly quarantineBytes: number };
  readonly tenants: readonly { readonly name: string; readonly sessions: number; readonly pinnedBytes: number }[];
  readonly engines: Readonly<Record<string, unknown>>;
}

interface SessionView {
  readonly tenant: string;
  readonly leases: readonly { readonly inFlight: number }[];
}

/** Everything that the server could leak, by its own account and by the kernel's. */
interface State {
  readonly inspection: Pick<Inspection, 'sessions' | 'engines'>;
  readonly pinned: readonly number[];
  readonly holdings: Holdings;
}

async function stateOf(server: Server): Promise<State> {
  const { sessions, engines, tenants } = await server.admin<Inspection>('/inspect');
  return { inspection: { sessions, engines }, pinned: tenants.map(({ pinnedBytes }) => pinnedBytes), holdings: server.holdings() };
}

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

async function killMany(space: Workspace, server: Server, queues: string, kills: number): Promise<void> {
  // Once through everything, so that what is made at first use is there.
  await kill(space, server, 1, queues, 0);
  const free = async (): Promise<State> => {
    await eventually('no session is left', async () => ((await server.admin<unknown[]>('/sessions')).length === 0 ? true : undefined));
    return stateOf(server);
  };
  const before = await free();
  expect(before.pinned).toEqual([0, 0]);

  const client = await server.connect('bob');
  const lease = await client.openDevice('nvme0', { queues: queues === 'own' ? 'own' : 'shared' });
  const { generation } = lease;
  const events = lease.events();
  const workload = new Workload(lease.share('data'), { seed: kills, lanes: 2 });
  let inFlight = 0;
  for (let killed = 0; killed < kills; killed += TOGETHER) {
    const earlier = workload.requests;
    inFlight += await kill(space, server, Math.min(TOGETHER, kills - killed), queues, killed);
    await eventually('only bob is left', async () => {
      const sessions = await server.admin<SessionView[]>('/sessions');
      return sessions.every(({ tenant }) => tenant === 'bob') ? true : undefined;
    });
    expect(workload.requests, 'the other went on meanwhile').toBeGreaterThan(earlier);
  }
  expect(inFlight, 'victims had requests in flight').toBeGreaterThan(kills);

  await workload.stop();
  expect(workload.mismatches).toEqual([]);
  expect(lease.generation).toBe(generation);
  await lease.close();
  const seen = [];
  for await (const event of events) seen.push(event);
  expect(seen, 'the other was told of nothing').toEqual([]);
  await client.close();

  const after = await eventually('the server holds what it held', async () => {
    const now = await free();
    return JSON.stringify(now.holdings) === JSON.stringify(before.holdings) ? now : undefined;
  }).catch(free);
  expect(after).toEqual(before);
  expect(server.log.filter(({ level }) => level === 'error' || level === 'warn')).toEqual([]);
  expect(await server.stop()).toEqual({ status: 0, signal: null });
}

const kinds = [
  { name: 'the embedded controller', queues: 'shared', backing: {}, kills: FULL ? 200 : 20 },
  { name: 'the embedded controller', queues: 'own', backing: {}, kills: FULL ? 40 : 8 },
  { name: 'the embedded controller on a thread of its own', queues: 'own', backing: { mode: 'thread' }, kills: FULL ? 40 : 8 },
] as const;

describe('clients killed in mid-I/O', { timeout: TIMEOUT_MS }, () => {
  it.each(kinds)('leave nothing behind on $name, $queues queues, $kills times', async ({ queues, backing, kills }) => {
    const space = workspace();
    const server = await Server.start(space, configuration({ devices: [device(backing)] }));
    await killMany(space, server, queues, kills);
  });

  it.skipIf(!hasQemu)(`leave nothing behind on the controller of ${qemuName}`, async () => {
    const space = workspace();
    const server = await Server.start(space, configuration({ devices: [device({ kind: 'qemu' }, { image: 'nvme0.img' })] }));
    await killMany(space, server, 'own', FULL ? 20 : 4);
  });
});
