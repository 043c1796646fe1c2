import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConfigError } from '../../../src/server/config/index.js';
import type { Configuration } from '../../../src/server/config/index.js';
import type { Space } from '../../../src/server/devices.js';
import { Ledger } from '../../../src/server/ledger/index.js';
import { LiveConfiguration } from '../../../src/server/live-configuration.js';
import { silentLog } from '../../../src/server/log.js';
import { Ownership } from '../../../src/server/ownership.js';
import { environment, parse, text } from '../config/support.js';
import { EngineDouble } from './support.js';

const IDENTITY = 'image:1:1';
const BYTES = 2 ** 20;
const SPACE: Space = { device: 'nvme0', identity: IDENTITY, namespace: { id: 1, bytes: BYTES, blockBytes: 512, image: '/images/x' } };

let folder: string;
let engine: EngineDouble;
let engines: Map<string, EngineDouble>;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringwarden-own-'));
  engine = new EngineDouble();
  engines = new Map([['nvme0', engine]]);
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A tenant with windows given as `first+blocks`, in blocks. */
const tenant = (name: string, uid: number, windows: string, extra = ''): string => {
  const shares = windows
    .split(' ')
    .filter((window) => window !== '')
    .map((window, index) => {
      const [first, blocks] = window.split('+');
      return `{ "name": "s${index}", "device": "nvme0", "first": "${first} blocks", "size": "${blocks} blocks" ${extra} }`;
    });
  return `{ "name": "${name}", "uid": ${uid}, "shares": [${shares.join(',')}] }`;
};
const configuration = (...tenants: string[]): Configuration => parse(text({ tenants: tenants.join(',\n') }));
const cleanLedger = (): Ledger => {
  const ledger = new Ledger(folder);
  ledger.noteClean(IDENTITY, 0, BYTES);
  return ledger;
};
const ownership = (ledger: Ledger): Ownership => new Ownership(ledger, [SPACE], engines, silentLog);
const live = (first: Configuration, load: () => Configuration, ledger = cleanLedger()): LiveConfiguration =>
  new LiveConfiguration({ configuration: first, load, environment, engines, ownership: ownership(ledger), log: silentLog });
const sharesOf = ({ directory }: LiveConfiguration, name: string): string[] =>
  directory
    .byName(name)
    ?.grants.get('nvme0')
    ?.shares.map((share) => share.name) ?? [];

describe('blocks that change tenant', () => {
  it('are wiped before the new one may lease them, and only those', async () => {
    const before = configuration(tenant('alice', 1, '0+100'));
    const after = configuration(tenant('alice', 1, '0+50'), tenant('bob', 2, '50+50 200+10'));
    const server = live(before, () => after);
    await server.begin();
    await server.startWipes();
    expect(engine.wipes).toEqual([]);
    expect(sharesOf(server, 'alice')).toEqual(['s0']);

    const seen: string[] = [];
    server.onPolicy = () => {
      seen.push(`${engine.wipes.length} wiped: ${sharesOf(server, 'bob').join(',')}`);
    };
    engine.onWipe = async () => {
      // What sessions were told before the wipe began: the old tenant is out, the new one is not in.
      expect(seen).toEqual(['0 wiped: s1']);
      expect(sharesOf(server, 'alice')).toEqual(['s0']);
    };
    expect(await server.reload()).toEqual({ applied: true, messages: [] });
    await until(() => seen.length === 2);
    expect(engine.wipes).toEqual(['1:50+50']);
    expect(seen[1]).toBe('1 wiped: s0,s1');
    expect(new Ledger(folder).judge(IDENTITY, [{ first: 50 * 512, bytes: 50 * 512, tenant: 'bob', keepData: undefined }], 512)).toMatchObject([
      { verdict: 'keep' },
    ]);
  });

  it('are kept where the new one says so', async () => {
    const server = live(configuration(tenant('alice', 1, '0+100')), () => configuration(tenant('bob', 2, '0+100', ', "keepData": true')));
    await server.begin();
    await server.reload();
    expect(engine.wipes).toEqual([]);
    expect(sharesOf(server, 'bob')).toEqual(['s0']);
  });

  it('are wiped after all when the server died in the middle', async () => {
    const ledger = cleanLedger();
    await ownership(ledger).begin(configuration(tenant('alice', 1, '0+100')));
    const dying = ownership(ledger);
    await dying.begin(configuration(tenant('bob', 2, '0+100')));
    // The server ends here; the next one finds the note, even when the configuration says alice again.
    const after = ownership(new Ledger(folder));
    const back = configuration(tenant('alice', 1, '0+100'));
    await after.begin(back);
    expect(after.withheld(back.tenants[0].shares[0])).toBe(true);
    await after.run(() => undefined);
    expect(engine.wipes).toEqual(['1:0+100']);
    expect(after.withheld(back.tenants[0].shares[0])).toBe(false);
  });

  it('stay withheld when the wipe fails, until a reload wipes them', async () => {
    const next = configuration(tenant('bob', 2, '0+100'));
    const server = live(configuration(tenant('alice', 1, '0+100')), () => next);
    await server.begin();
    engine.onWipe = () => Promise.reject(new Error('media error'));
    await server.reload();
    await until(() => engine.wipes.length === 1);
    await settled();
    expect(sharesOf(server, 'bob')).toEqual([]);
    engine.onWipe = async () => undefined;
    await server.reload();
    await until(() => sharesOf(server, 'bob').length === 1);
    expect(engine.wipes).toEqual(['1:0+100', '1:0+100']);
  });

  it('are told of while they are wiped', async () => {
    const ledger = cleanLedger();
    const first = ownership(ledger);
    await first.begin(configuration(tenant('alice', 1, '0+100')));
    await first.begin(configuration(tenant('bob', 2, '10+20')));
    const report = { device: 'nvme0', namespace: 1, firstBlock: 10, blocks: 20, tenants: ['bob'], reason: '' };
    expect(first.reports()).toEqual([{ ...report, done: 0, state: 'waiting' }]);
    engine.onWipe = async () => expect(first.reports()).toEqual([{ ...report, done: 0, state: 'wiping' }]);
    await first.run(() => undefined);
    expect(first.reports()).toEqual([]);
  });

  it('can be stopped between two steps, and go on later', async () => {
    const big: Space = { ...SPACE, namespace: { ...SPACE.namespace, bytes: 2 ** 30 } };
    const ledger = new Ledger(folder);
    ledger.noteClean(IDENTITY, 0, 2 ** 30);
    const blocks = 2 ** 30 / 512;
    const wide = (name: string, uid: number): Configuration =>
      parse(
        text({
          devices: '{ "name": "nvme0", "backing": { "kind": "emulated", "namespaces": [{ "size": "1 GiB" }] } }',
          tenants: tenant(name, uid, `0+${blocks}`),
        }),
      );
    const owner = new Ownership(ledger, [big], engines, silentLog);
    await owner.begin(wide('alice', 1));
    await owner.begin(wide('bob', 2));
    engine.onWipe = async () => {
      if (engine.wipes.length === 2) void owner.stop();
    };
    await owner.run(() => undefined);
    expect(engine.wipes).toHaveLength(2);
    const later = new Ownership(new Ledger(folder), [big], engines, silentLog);
    await later.begin(wide('bob', 2));
    await later.run(() => undefined);
    expect(engine.wipes).toHaveLength(6);
    expect(later.reports()).toEqual([]);
  });
});

describe('blocks of which nobody knows whose data they hold', () => {
  it('are not given away before the configuration says what becomes of them', () => {
    const ledger = new Ledger(folder);
    const problem = (extra: string): unknown => {
      try {
        ownership(ledger).check(configuration(tenant('alice', 1, '0+100', extra)));
        return 'none';
      } catch (error) {
        return error instanceof ConfigError ? error.problems.map(({ path, what, remedy }) => [path, what, remedy]) : error;
      }
    };
    expect(problem('')).toEqual([
      ['tenants[0].shares[0]', 'nobody knows whose data /images/x holds here', 'say "keepData": true to give it to "alice", or false to wipe it'],
    ]);
    expect(problem(', "keepData": true')).toBe('none');
    expect(problem(', "keepData": false')).toBe('none');
    expect(ledger.segments(IDENTITY)).toEqual([]);
  });

  it('make a reload fail as a whole', async () => {
    const ledger = new Ledger(folder);
    ledger.noteClean(IDENTITY, 0, 512 * 100);
    const server = live(configuration(tenant('alice', 1, '0+100')), () => configuration(tenant('bob', 2, '0+50 100+1')), ledger);
    await server.begin();
    const { applied, messages } = await server.reload();
    expect([applied, messages]).toEqual([false, [expect.stringMatching(/tenants\[0\]\.shares\[1\]: nobody knows whose data/)]]);
    expect(sharesOf(server, 'alice')).toEqual(['s0']);
    expect(engine.wipes).toEqual([]);
  });
});

describe('a reload', () => {
  it('leaves everything as it is when the new configuration is bad', async () => {
    const first = configuration(tenant('alice', 1, '0+100'));
    const server = live(first, () => parse(text({ tenants: '{ "name": "alice" }' })));
    await server.begin();
    const { directory } = server;
    const { applied, messages } = await server.reload();
    expect(applied).toBe(false);
    expect(messages).toEqual([expect.stringMatching(/conf\.jsonc:10:5: tenants\[0\]: tenant "alice" cannot be told from anybody else/)]);
    expect([server.configuration, server.directory]).toEqual([first, directory]);
  });

  it('says what needs a restart, and applies the rest', async () => {
    const next = parse(text({ top: '"drain": "1 s",', admin: '{ "path": "other.sock" }', tenants: tenant('bob', 2, '100+1') }));
    const server = live(configuration(tenant('alice', 1, '0+100')), () => next);
    await server.begin();
    expect(await server.reload()).toEqual({
      applied: true,
      messages: ['admin', 'drain'].map((what) => `${what} changed: that takes effect when the server is started again`),
    });
    expect(sharesOf(server, 'bob')).toEqual(['s0']);
    expect(server.directory.byName('alice')).toBeUndefined();
  });

  it('withholds shares on a device that does not run yet', async () => {
    const devices = ['nvme0', 'nvme1'].map((name) => `{ "name": "${name}", "backing": { "kind": "emulated", "namespaces": [{ "size": "1 MiB" }] } }`);
    const next = parse(
      text({ devices: devices.join(','), tenants: '{ "name": "bob", "uid": 2, "shares": [{ "name": "d", "device": "nvme1", "size": 512 }] }' }),
    );
    const server = live(configuration(tenant('alice', 1, '0+100')), () => next);
    await server.begin();
    expect(await server.reload()).toMatchObject({ applied: true, messages: [expect.stringMatching(/^devices changed/)] });
    expect(server.directory.byName('bob')?.grants.size).toBe(0);
  });

  it('refuses windows that the device which runs does not have', async () => {
    const bigger = '{ "name": "nvme0", "backing": { "kind": "emulated", "namespaces": [{ "size": "2 MiB" }] } }';
    const next = parse(text({ devices: bigger, tenants: tenant('bob', 2, '2048+1') }));
    const other = '{ "name": "nvme0", "backing": { "kind": "emulated", "namespaces": [{ "size": "1 MiB", "blockBytes": 4096 }] } }';
    const wide = parse(text({ devices: other, tenants: tenant('bob', 2, '0+1') }));
    let loaded = next;
    const server = live(configuration(tenant('alice', 1, '0+100')), () => loaded);
    await server.begin();
    expect(await server.reload()).toMatchObject({
      applied: false,
      messages: [expect.stringMatching(/the window does not lie inside the 2048 blocks/)],
    });
    loaded = wide;
    expect(await server.reload()).toMatchObject({
      applied: false,
      messages: [expect.stringMatching(/the namespace has blocks of 512 bytes, not 4096/)],
    });
  });

  it('keeps the indices of tenants', async () => {
    const server = live(configuration(tenant('alice', 1, ''), tenant('bob', 2, '')), () =>
      configuration(tenant('carol', 3, ''), tenant('bob', 2, '')),
    );
    await server.begin();
    await server.reload();
    expect(server.directory.all.map(({ name, index }) => [name, index])).toEqual([
      ['carol', 2],
      ['bob', 1],
    ]);
  });
});

/** Turns of the event loop until something holds; the test's own time limit ends it. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await settled();
}
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
