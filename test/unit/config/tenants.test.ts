import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { TenantIndices, createDirectory } from '../../../src/server/tenants.js';
import type { Credentials, TenantDirectory } from '../../../src/server/policy.js';
import { SERVER_UID, environment, parse, text } from './support.js';

const TOKEN = 'rwt_aliceAliceAliceAliceAlice';
const hash = (token: string): string => createHash('sha256').update(token).digest('hex');

const tenants = (isolation = 'required'): TenantDirectory => {
  const list = [
    `{ "name": "alice", "uid": 1000, "token": { "sha256": "${hash(TOKEN)}" } }`,
    `{ "name": "bob", "uids": [1001, 1002] }`,
    `{ "name": "carol", "token": { "sha256": "${hash('rwt_carolCarolCarolCarolCarol')}" } }`,
    `{ "name": "group", "gid": 77 }`,
    `{ "name": "both", "uid": 1003, "gid": 78 }`,
    `{ "name": "root", "uid": 0 }`,
    `{ "name": "own", "uid": "server" }`,
    ...(isolation === 'none' ? ['{ "name": "twin", "uid": 1000 }'] : []),
  ].join(',\n');
  const configuration = parse(text({ top: `"isolation": "${isolation}",`, tenants: list }));
  return createDirectory({ configuration, indices: new TenantIndices(), environment, withheld: () => false });
};

const peer = (uid: number, gid = 1): { peer: { uid: number; gid: number } } => ({ peer: { uid, gid } });

/** Who the credentials prove, as `name isolation`; or that they prove nobody. */
const proved = (credentials: Credentials, directory = tenants()): string => {
  const result = directory.authenticate(credentials);
  return result === undefined ? 'nobody' : `${result.tenant.name} ${result.isolation}`;
};

describe('who is who', () => {
  it.each<[string, Credentials, string]>([
    ['a user', peer(1000), 'alice uid'],
    ['the second user of a tenant', peer(1002), 'bob uid'],
    ['a stranger', peer(4000), 'nobody'],
    ['a user who asks for itself', { ...peer(1000), tenant: 'alice' }, 'alice uid'],
    ['a user who asks for somebody else', { ...peer(1000), tenant: 'bob' }, 'nobody'],
    ['a user who asks for nobody that there is', { ...peer(1000), tenant: 'zoe' }, 'nobody'],
    ['a member of a group', peer(4000, 77), 'group uid'],
    ['user and group, both right', peer(1003, 78), 'both uid'],
    ['user and group, group wrong', peer(1003, 1), 'nobody'],
    ['user and group, user wrong', peer(4000, 78), 'nobody'],
    ['a user who fits two tenants', peer(1000, 77), 'nobody'],
    ['a user who fits two tenants, with a name, although isolation is required', { ...peer(1000, 77), tenant: 'alice' }, 'nobody'],
    ['root', peer(0), 'root none'],
    ['the user of the server', peer(SERVER_UID), 'own none'],
    ['the overflow user', peer(65_534), 'nobody'],
    ['the overflow user in a group', peer(65_534, 77), 'nobody'],
    ['the overflow user with a token', { ...peer(65_534), token: TOKEN }, 'alice token'],
    ['the overflow group', peer(4000, 65_534), 'nobody'],
    ['a token over TCP', { token: TOKEN }, 'alice token'],
    ['a token over TCP, with the name', { token: TOKEN, tenant: 'alice' }, 'alice token'],
    ['a token over TCP, with another name', { token: TOKEN, tenant: 'carol' }, 'nobody'],
    ['a wrong token', { token: `${TOKEN}x` }, 'nobody'],
    ['an empty token', { token: '' }, 'nobody'],
    ['the hash instead of the token', { token: hash(TOKEN) }, 'nobody'],
    ['a wrong token does not fall back on the user', { ...peer(1000), token: 'x' }, 'nobody'],
    ['a token and a stranger', { ...peer(4000), token: TOKEN }, 'alice token'],
    ['a token and its own user', { ...peer(1000), token: TOKEN }, 'alice token'],
    ['a token in the hands of the user of another tenant', { ...peer(1001), token: TOKEN }, 'alice none'],
    ['a token in the hands of a user who is one tenant only with a group', { ...peer(1003), token: TOKEN }, 'alice none'],
    ['a token in the hands of root', { ...peer(0), token: TOKEN }, 'alice none'],
    ['nothing at all', {}, 'nobody'],
    ['a name alone', { tenant: 'alice' }, 'nobody'],
  ])('%s', (_what, credentials, expected) => expect(proved(credentials)).toBe(expected));

  it('tells tenants with one user apart by name where isolation is given up, and says that nothing isolates them', () => {
    const directory = tenants('none');
    expect(proved(peer(1000), directory)).toBe('nobody');
    expect(proved({ ...peer(1000), tenant: 'alice' }, directory)).toBe('alice none');
    expect(proved({ ...peer(1000), tenant: 'twin' }, directory)).toBe('twin none');
    expect(proved(peer(1001), directory)).toBe('bob uid');
  });
});

describe('what each may do', () => {
  it('groups shares by device, and leaves out what is withheld', () => {
    const device = (name: string): string => `{ "name": "${name}", "backing": { "kind": "emulated", "namespaces": [{ "size": "1 MiB" }] } }`;
    const shares = ['a', 'b', 'c'].map((name, index) => `{ "name": "${name}", "device": "d${index % 2}", "first": "${index} blocks", "size": 512 }`);
    const configuration = parse(
      text({
        devices: `${device('d0')}, ${device('d1')}`,
        tenants: `{ "name": "alice", "uid": 1, "weight": 7, "modes": ["exclusive"], "queues": ["own"], "shares": [${shares.join(',')}] }`,
      }),
    );
    const directory = createDirectory({ configuration, indices: new TenantIndices(), environment, withheld: (share) => share.name === 'b' });
    const tenant = directory.byName('alice');
    expect(tenant).toMatchObject({ index: 0, name: 'alice', weight: 7 });
    expect([...(tenant?.grants ?? [])]).toEqual([
      [
        'd0',
        {
          device: 'd0',
          modes: ['exclusive'],
          queues: ['own'],
          shares: [
            { name: 'a', namespace: 1, firstBlock: 0, blocks: 1, access: 3, operations: 126 },
            { name: 'c', namespace: 1, firstBlock: 2, blocks: 1, access: 3, operations: 126 },
          ],
        },
      ],
    ]);
    expect(directory.byName('zoe')).toBeUndefined();
  });
});

describe('indices of tenants', () => {
  const all = (indices: TenantIndices, ...names: string[]): number[] => [...indices.assign(names).values()];

  it('stay with a name for as long as the server runs', () => {
    const indices = new TenantIndices();
    expect(all(indices, 'a', 'b', 'c')).toEqual([0, 1, 2]);
    expect(all(indices, 'c', 'd')).toEqual([2, 3]);
    expect(all(indices, 'b', 'a', 'd', 'c')).toEqual([1, 0, 3, 2]);
  });

  it('of names that were dropped are used again only when none is left, the longest dropped first', () => {
    const indices = new TenantIndices(3);
    expect(all(indices, 'a', 'b', 'c')).toEqual([0, 1, 2]);
    expect(all(indices, 'b', 'c')).toEqual([1, 2]);
    expect(all(indices, 'c')).toEqual([2]);
    expect(all(indices, 'c', 'd')).toEqual([2, 0]);
    expect(all(indices, 'c', 'd', 'e')).toEqual([2, 0, 1]);
    expect(() => indices.assign(['c', 'd', 'e', 'f'])).toThrow(/more than 3 tenants/);
  });

  it('are never given to two names at once', () => {
    const indices = new TenantIndices(4);
    for (let round = 0; round < 200; round++) {
      const names = Array.from({ length: 1 + (round % 4) }, (_, index) => `t${(round * 3 + index) % 11}`);
      const given = all(indices, ...names);
      expect(new Set(given).size).toBe(names.length);
      expect(Math.max(...given)).toBeLessThan(4);
    }
  });
});
