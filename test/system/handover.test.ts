/** Shared memory in the hands of another user, of the server's own, and of root: each way to write, resize or reopen what is only to be read. */
import { describe, expect, it } from 'vitest';
import { Client } from '../unit/session/world.js';
import { MIGHTY, READ_ONLY, REOPENED, SEALED, attackAs, attempts, open, serveAsOwner } from '../support/attack.js';
import { workspace } from '../support/processes.js';
import { Server, WINDOW_BYTES, configuration, tenant } from '../support/server.js';
import { canChangeUser, whyNotUser } from '../support/users.js';

const ORDERLY = { status: 0, signal: null };
const ALICE = 4242;
const BOB = 4243;

interface Report {
  /** Of each attempt: `name result`. */
  readonly attempts: string[];
  /** Of the flush afterwards. */
  readonly code: number;
  /** The completion tail after the queue was closed: 0 when the memory was taken away. */
  readonly left: number;
}

const REQUESTS = ['requests truncate EPERM', 'requests grow EPERM', 'requests seal EPERM'];
const OLD_MAPPING = ['region old mapping remove EPERM', 'region old mapping write ok'];

describe.skipIf(!canChangeUser)(`another user${whyNotUser}`, () => {
  const tenants = [tenant('alice', 0, { uid: ALICE }), tenant('bob', WINDOW_BYTES, { uid: BOB })];
  const listen = { unix: { path: 'server.sock' } };

  it('can do nothing to its memory but what it is for', async () => {
    const space = workspace();
    open(space);
    const server = await Server.start(space, configuration({ isolation: 'required', listen, tenants }));
    const before = server.holdings().descriptors;
    const report = await attackAs<Report>(space, 'attacker.mjs', ALICE, 'alice');
    expect(report.attempts).toEqual([
      ...attempts('completions', { ...READ_ONLY, seal: 'EPERM', 'seal-shrink': 'EPERM', chmod: 'EPERM' }),
      'completions reopened EACCES',
      ...REQUESTS,
      ...attempts('region', { ...SEALED, seal: 'EPERM', 'seal-shrink': 'EPERM', chmod: 'EPERM' }),
      'region reopened ok',
      ...attempts('region reopened', REOPENED),
      ...OLD_MAPPING,
    ]);
    expect([report.code, report.left]).toEqual([0, 0]);
    expect(await server.stop()).toEqual(ORDERLY);
    expect(before).toBeGreaterThan(0);
  });

  it('can do nothing with the ticket of another tenant', async () => {
    const space = workspace();
    open(space);
    const server = await Server.start(space, configuration({ listen, tenants: [...tenants, tenant('carol', 0, { uid: 0, shares: [] })] }));
    const carol = new Client(space.path('server.sock'));
    await carol.opened;
    await carol.call('hello', { version: 1, tenant: 'carol' });
    await carol.call('setDomain');
    const { region } = await carol.call('mapMemory', { bytes: 4_096 });
    const { ticket } = await carol.call('shareRegion', { region });
    const stolen = [Buffer.from(ticket as Uint8Array).toString('hex')];
    expect(await attackAs(space, 'attacker.mjs', ALICE, 'alice', stolen)).toEqual({ status: 1, descriptors: 0 });
    // It is burnt for its owner, too: it was seen by somebody else.
    expect(await attackAs(space, 'attacker.mjs', 0, 'carol', stolen)).toEqual({ status: 1, descriptors: 0 });
    carol.socket.terminate();
    expect(await server.stop()).toEqual(ORDERLY);
  });

  it.each(MIGHTY)('that is %s is stopped by seals, and keeps its memory', async (_who, uid) => {
    const space = workspace();
    const server = await serveAsOwner(space, uid);
    const report = await attackAs<Report>(space, 'attacker.mjs', uid, 'alice');
    expect(report.attempts).toEqual([
      ...attempts('completions', { ...READ_ONLY, seal: 'EPERM', 'seal-shrink': 'EPERM', chmod: 'ok' }),
      'completions reopened ok',
      ...attempts('completions reopened', REOPENED),
      ...REQUESTS,
      ...attempts('region', { ...SEALED, seal: 'EPERM', 'seal-shrink': 'EPERM', chmod: 'ok' }),
      'region reopened ok',
      ...attempts('region reopened', REOPENED),
      ...OLD_MAPPING,
    ]);
    expect([report.code, report.left]).toEqual([0, 1]);
    expect(await server.stop()).toEqual(ORDERLY);
  });
});
