/** The server as a process: how it ends, and what becomes of tenants and their data when its configuration changes. */
import { readFileSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { eventually, workspace } from '../support/processes.js';
import { MIB, Server, WINDOW_BYTES, configuration, device, sdk, tenant, type Client } from '../support/server.js';
import { Workload } from '../support/workload.js';

const ORDERLY = { status: 0, signal: null };

type Device = Awaited<ReturnType<Client['openDevice']>>;
type Share = ReturnType<Device['share']>;

const dataOf = async (client: Client): Promise<Share> => (await client.openDevice('nvme0')).share('data');

/** Resolves when the server has requests of a tenant in flight. */
async function inFlight(server: Server, name: string): Promise<void> {
  await eventually(`requests of ${name} are in flight`, async () => {
    const sessions = await server.admin<{ tenant: string; leases: { inFlight: number }[] }[]>('/sessions');
    return sessions.some((each) => each.tenant === name && each.leases.some((lease) => lease.inFlight > 0)) ? true : undefined;
  });
}

const logged = (server: Server, message: string): Promise<true> =>
  eventually(`"${message}" in the log`, () => (server.log.some((line) => line.message === message) ? true : undefined));

async function eventsOf(lease: Device): Promise<string[]> {
  const seen: string[] = [];
  try {
    for await (const event of lease.events()) seen.push(event.type);
  } catch (error) {
    seen.push(error instanceof Error ? error.name : String(error));
  }
  return seen;
}

describe('SIGTERM', () => {
  /** Alice is held up by her rates: there is always something in flight for her. */
  const slow = (rates: object, change: object = {}) =>
    configuration({ tenants: [tenant('alice', 0, { rates }), tenant('bob', WINDOW_BYTES)], ...change });
  const endless = { bytes: 1 };

  it('lets requests in flight end, takes no new ones, and ends with status 0', async () => {
    const space = workspace();
    const server = await Server.start(space, slow({ operations: 2 }, { drain: '1 h' }));
    const client = await server.connect('alice');
    const lease = await client.openDevice('nvme0');
    const events = eventsOf(lease);
    // One message: what came before the signal is finished, and nothing comes after it.
    const batch = lease.share('data').batch();
    for (let lba = 0; lba < 5; lba++) batch.writeBlocks(lba, Buffer.alloc(4096, 'drained '));
    const writing = batch.submit();
    writing.catch(() => undefined);
    await inFlight(server, 'alice');
    server.process.kill('SIGTERM');
    await eventually('it takes nobody in any more', async () => {
      const outcome = await server.connect('bob').catch((error: unknown) => error);
      return outcome instanceof sdk.RingwardenError ? outcome : (outcome as Client).close().then(() => undefined);
    });
    await expect(client.allocate(4096)).rejects.toMatchObject({ code: 'draining' });
    await writing;
    expect(await server.process.ended).toEqual(ORDERLY);
    expect(await events).toEqual(['draining', 'ConnectionError']);
    expect(server.log.filter(({ level }) => level === 'error')).toEqual([]);
    expect(readdirSync(space.folder).toSorted()).toEqual(['ringwarden.json', 'state']);
  });

  it('waits for them no longer than "drain" says', async () => {
    const server = await Server.start(workspace(), slow(endless, { drain: '200 ms' }));
    const share = await dataOf(await server.connect('alice'));
    const outcome = Promise.allSettled([share.read(0, MIB), share.write(0, Buffer.alloc(MIB))]);
    await inFlight(server, 'alice');
    expect(await server.stop()).toEqual(ORDERLY);
    for (const each of await outcome) expect(each).toMatchObject({ status: 'rejected', reason: { name: /Error$/ } });
  });

  it('for a second time ends it at once, and the next server goes on from there', async () => {
    const space = workspace();
    const devices = [device({}, { image: 'nvme0.img' })];
    const server = await Server.start(space, slow(endless, { drain: '1 h', devices }));
    const client = await server.connect('alice');
    const share = await dataOf(client);
    const reading = share.read(0, MIB).catch((error: unknown) => error);
    await inFlight(server, 'alice');
    server.process.kill('SIGTERM');
    await logged(server, 'stopping');
    expect(server.process.isRunning).toBe(true);
    server.process.kill('SIGTERM');
    expect(await reading).toMatchObject({ name: 'ConnectionError' });
    expect((await server.process.ended).signal).toBeNull();
    const next = await Server.start(space, configuration({ devices }));
    const again = await next.connect('alice');
    await (await dataOf(again)).read(0, MIB);
    await again.close();
    expect(await next.stop()).toEqual(ORDERLY);
  });
});

describe('SIGHUP', () => {
  it('takes a tenant away: its lease is revoked, its session ends, and the others go on', async () => {
    const space = workspace();
    const server = await Server.start(space);
    const alice = await server.connect('alice');
    const lease = await alice.openDevice('nvme0');
    const events = eventsOf(lease);
    const bob = await server.connect('bob');
    const workload = new Workload(await dataOf(bob));
    space.file('ringwarden.json', configuration({ tenants: [tenant('bob', WINDOW_BYTES)] }));
    server.process.kill('SIGHUP');
    expect(await events).toEqual(['revoked']);
    await expect(lease.share('data').read(0, 4096)).rejects.toMatchObject({ code: /^(revoked|connectionClosed)$/ });
    await eventually('the session is over', () => (alice.connected ? undefined : true));
    await expect(server.connect('alice')).rejects.toMatchObject({ code: 'authenticationFailed' });
    await workload.stop();
    expect(workload.mismatches).toEqual([]);
    await bob.close();
    expect(await server.stop()).toEqual(ORDERLY);
  });

  it('narrows a right: requests that need it are refused from then on, in the same lease', async () => {
    const space = workspace();
    const server = await Server.start(space);
    const client = await server.connect('alice');
    const share = await dataOf(client);
    const data = Buffer.alloc(4096, 'while I may ');
    await share.write(0, data);
    space.file('ringwarden.json', configuration({ tenants: [tenant('alice', 0, {}, { access: ['read'] }), tenant('bob', WINDOW_BYTES)] }));
    expect(await server.admin('/reload', 'POST')).toEqual({ applied: true, messages: [] });
    await expect(share.write(0, Buffer.alloc(4096))).rejects.toMatchObject({ name: 'RefusedError', code: 'noWriteRight' });
    expect((await share.read(0, 4096)).equals(data)).toBe(true);
    await client.close();
    expect(await server.stop()).toEqual(ORDERLY);
  });

  it('with a configuration that cannot be used keeps the old one, and says why', async () => {
    const space = workspace();
    const server = await Server.start(space);
    const client = await server.connect('alice');
    const share = await dataOf(client);
    const file = space.file('ringwarden.json', configuration({ tenants: [tenant('bob', 0), tenant('eve', 0)] }));
    server.process.kill('SIGHUP');
    await logged(server, 'the new configuration is not used');
    const problems = server.log.filter(({ message }) => message === 'the new configuration is not used');
    expect(String(problems[0]['problem'])).toMatch(new RegExp(`^${file}:\\d+:\\d+: tenants\\[1\\]\\.shares\\[0\\]: `));
    await share.read(0, 4096);
    await (await server.connect('alice')).close();
    await expect(server.connect('eve')).rejects.toMatchObject({ code: 'authenticationFailed' });

    space.file('ringwarden.json', configuration({ drain: '7 s' }));
    const { applied, messages } = await server.admin<{ applied: boolean; messages: string[] }>('/reload', 'POST');
    expect([applied, messages]).toEqual([true, [expect.stringMatching(/^drain changed: .*started again/)]]);
    await share.read(0, 4096);
    await client.close();
    expect(await server.stop()).toEqual(ORDERLY);
  });
});

describe('a window that another tenant is given', () => {
  const disk = { devices: [device({}, { image: 'nvme0.img' })] };
  const secret = Buffer.alloc(MIB, 'a secret of alice ');

  async function given(share: Readonly<Record<string, unknown>>, how: 'restart' | 'reload'): Promise<Buffer> {
    const space = workspace();
    let server = await Server.start(space, configuration(disk));
    const alice = await server.connect('alice');
    const hers = await dataOf(alice);
    await hers.write(0, secret);
    await hers.flush();
    await alice.close();
    const tenants = [tenant('carol', 0, {}, share), tenant('bob', WINDOW_BYTES)];
    if (how === 'restart') {
      expect(await server.stop()).toEqual(ORDERLY);
      server = await Server.start(space, configuration({ ...disk, tenants }));
    } else {
      space.file('ringwarden.json', configuration({ ...disk, tenants }));
      expect(await server.admin('/reload', 'POST')).toMatchObject({ applied: true });
    }
    const carol = await server.connect('carol');
    // The share is withheld until it is wiped.
    const hersNow = await eventually('carol has her share', () => dataOf(carol).catch(() => undefined));
    const found = await hersNow.read(0, MIB);
    await carol.close();
    expect(await server.stop()).toEqual(ORDERLY);
    const image = readFileSync(space.path('nvme0.img'));
    expect(image.includes('a secret of alice'), 'what the image holds is what carol reads').toBe(found.includes('a secret of alice'));
    return found;
  }

  it.each(['restart', 'reload'] as const)('is wiped, at a %s', async (how) => {
    expect((await given({}, how)).equals(Buffer.alloc(MIB))).toBe(true);
  });

  it.each(['restart', 'reload'] as const)('keeps its data where the configuration says so, at a %s', async (how) => {
    expect((await given({ keepData: true }, how)).equals(secret)).toBe(true);
  });
});
