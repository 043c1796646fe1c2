/** Clients that are killed while another one works on the same controller: what the server holds before and after, and that the other notices nothing. */
import { expect } from 'vitest';
import { eventually } from './processes.js';
import type { Holdings, Server } from './server.js';
import { Workload } from './workload.js';

interface Inspection {
  readonly sessions: { readonly sessions: readonly SessionView[]; readonly domains: number; readonly quarantineBytes: number };
  readonly tenants: readonly { readonly name: string; readonly sessions: number; readonly pinnedBytes: number }[];
  readonly engines: Readonly<Record<string, unknown>>;
}

export interface SessionView {
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

export interface KillOptions {
  /** How many, and how many at a time. */
  readonly kills: number;
  readonly together: number;
  /** The queues of the one who is not killed. */
  readonly queues: 'own' | 'shared';
  /** Runs so many clients of alice and kills them; `killed` is how many were before. */
  readonly kill: (count: number, killed: number) => Promise<void>;
}

/** Kills clients of alice, while bob works; expects that nothing of them is left, and stops the server. */
export async function killMany(server: Server, { kills, together, queues, kill }: KillOptions): Promise<void> {
  // Once through everything, so that what is made at first use is there.
  await kill(1, 0);
  const free = async (): Promise<State> => {
    await eventually('no session is left', async () => ((await server.admin<unknown[]>('/sessions')).length === 0 ? true : undefined));
    return stateOf(server);
  };
  const before = await free();
  expect(before.pinned).toEqual([0, 0]);

  const client = await server.connect('bob');
  const lease = await client.openDevice('nvme0', { queues });
  const { generation } = lease;
  const events = lease.events();
  const workload = new Workload(lease.share('data'), { seed: kills, lanes: 2 });
  for (let killed = 0; killed < kills; killed += together) {
    const earlier = workload.requests;
    await kill(Math.min(together, kills - killed), killed);
    await eventually('only bob is left', async () => {
      const sessions = await server.admin<SessionView[]>('/sessions');
      return sessions.every(({ tenant }) => tenant === 'bob') ? true : undefined;
    });
    expect(workload.requests, 'the other went on meanwhile').toBeGreaterThan(earlier);
  }

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
