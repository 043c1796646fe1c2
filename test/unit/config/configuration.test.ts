import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { ALL_OPERATIONS, Operation, Right } from '../../../src/protocol/index.js';
import { configJsonSchema, isLoopback, loadConfiguration } from '../../../src/server/config/index.js';
import { ALICE, SERVER_UID, environment, parse, problemsOf, text } from './support.js';

const root = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url));

describe('a sound configuration', () => {
  it('has comments and trailing commas, and paths that begin at its folder', () => {
    const configuration = parse(text({ top: '/* a */ "log": { "level": "debug", }, // b' }), '/etc/rw/conf.jsonc');
    expect(configuration).toMatchObject({
      state: '/etc/rw/state',
      unix: { path: '/etc/rw/s.sock', mode: 0o666 },
      tcp: undefined,
      admin: { path: '/etc/rw/admin.sock', group: undefined, metrics: undefined },
      isolation: 'required',
      log: { level: 'debug', format: 'json' },
      drainMilliseconds: 5_000,
      limits: { connections: 1024, unauthenticated: 256, helloMilliseconds: 5_000, sendPauseBytes: 2 ** 20, sendCloseBytes: 2 ** 24 },
    });
  });

  it('gives windows in blocks, whatever they are written in', () => {
    const share = (rest: string): string => `{ "name": "a", "uid": 1, "shares": [{ "name": "d", "device": "nvme0", ${rest} }] }`;
    const window = (rest: string): unknown => {
      const [{ firstBlock, blocks, blockBytes }] = parse(text({ tenants: share(rest) })).tenants[0].shares;
      return [firstBlock, blocks, blockBytes];
    };
    expect(window('"size": "1 MiB"')).toEqual([0, 2048, 512]);
    expect(window('"first": 512, "size": 1024')).toEqual([1, 2, 512]);
    expect(window('"first": "3 blocks", "size": "1 block"')).toEqual([3, 1, 512]);
    expect(window('"first": "2047 blocks", "size": "512 B"')).toEqual([2047, 1, 512]);
    expect(window('"first": "1 kB", "size": "512 B"'.replace('1 kB', '128 kB'))).toEqual([250, 1, 512]);
  });

  it('grants what the rights allow, or what is listed', () => {
    const operations = (rest: string): [number, number] => {
      const tenants = `{ "name": "a", "uid": 1, "shares": [{ "name": "d", "device": "nvme0", "size": 512, ${rest} }] }`;
      const [share] = parse(text({ tenants })).tenants[0].shares;
      return [share.access, share.operations];
    };
    const bit = (...codes: number[]): number => codes.reduce((mask, code) => mask | (1 << code), 0);
    expect(operations('')).toEqual([Right.read | Right.write, ALL_OPERATIONS]);
    expect(operations('"access": ["read"]')).toEqual([Right.read, bit(Operation.read, Operation.flush, Operation.compare)]);
    expect(operations('"access": ["write"]')).toEqual([
      Right.write,
      bit(Operation.write, Operation.flush, Operation.writeZeroes, Operation.deallocate),
    ]);
    expect(operations('"operations": ["read"]')).toEqual([Right.read | Right.write, bit(Operation.read)]);
  });

  it('lets tenants share a user id where isolation is given up, and blocks where both say so', () => {
    const shared = '"shares": [{ "name": "d", "device": "nvme0", "size": 512, "shared": true }]';
    const tenants = `{ "name": "a", "uid": "server", ${shared} }, { "name": "b", "uids": ["server", 9, 9], ${shared} }`;
    expect(parse(text({ top: '"isolation": "none",', tenants })).tenants.map(({ uids }) => uids)).toEqual([[SERVER_UID], [SERVER_UID, 9]]);
  });

  it('lets the shares of one tenant lie on each other', () => {
    const tenants =
      '{ "name": "a", "uid": 1, "shares": [{ "name": "d", "device": "nvme0", "size": 1024 }, { "name": "e", "device": "nvme0", "size": 512, "access": ["read"] }] }';
    expect(parse(text({ tenants })).tenants[0].shares).toHaveLength(2);
  });

  it('names a group by name or id', () => {
    expect(parse(text({ admin: '{ "path": "a", "group": "operators" }' })).admin.group).toBe(42);
    expect(parse(text({ admin: '{ "path": "a", "group": 7 }' })).admin.group).toBe(7);
  });

  it('takes the hash of a token from the configuration, or of the first line of a private file', () => {
    const folder = mkdtempSync(join(tmpdir(), 'ringwarden-token-'));
    try {
      const token = 'rwt_0123456789012345678901';
      writeFileSync(join(folder, 't'), `${token}\nanything\n`, { mode: 0o600 });
      const sha256 = createHash('sha256').update(token).digest('hex');
      const fromFile = parse(text({ tenants: '{ "name": "a", "token": { "file": "t" } }' }), join(folder, 'c'));
      const fromHash = parse(text({ tenants: `{ "name": "a", "token": { "sha256": "${sha256}" } }` }));
      expect(Buffer.from(fromFile.tenants[0].tokenHash ?? []).toString('hex')).toBe(sha256);
      expect(fromHash.tenants[0].tokenHash).toEqual(fromFile.tenants[0].tokenHash);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('takes the size of a namespace from its image', () => {
    const folder = mkdtempSync(join(tmpdir(), 'ringwarden-image-'));
    try {
      writeFileSync(join(folder, 'i'), '');
      truncateSync(join(folder, 'i'), 3 * 4096);
      const devices = '{ "name": "nvme0", "backing": { "kind": "qemu", "namespaces": [{ "image": "i", "blockBytes": 4096 }] } }';
      const { backing } = parse(text({ devices, tenants: '' }), join(folder, 'c')).devices[0];
      expect(backing.namespaces).toEqual([{ id: 1, bytes: 3 * 4096, blockBytes: 4096, image: join(folder, 'i') }]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('tells later problems at their place', () => {
    const configuration = parse(text({ tenants: ALICE }));
    expect(String(configuration.problem([...configuration.tenants[0].shares[0].path, 'size'], 'what', 'remedy'))).toMatch(
      /^\/nowhere\/conf\.jsonc:10:\d+: tenants\[0\]\.shares\[0\]\.size: what; remedy$/,
    );
  });

  it('says when the file cannot be read', () => {
    expect(() => loadConfiguration('/nowhere/at/all.jsonc', environment)).toThrow(
      /all\.jsonc:1:1: the configuration cannot be read \(ENOENT\); name a file/,
    );
  });
});

describe('what is shipped', () => {
  it('has a published schema that is the one of the code', () => {
    expect(JSON.parse(readFileSync(root('config/schema.json'), 'utf8'))).toEqual(JSON.parse(JSON.stringify(configJsonSchema())));
  });

  it('has a sample with two tenants on one device, usable by whoever runs it', () => {
    const sample = loadConfiguration(root('config/sample.jsonc'), environment);
    expect(sample.isolation).toBe('none');
    expect(sample.tenants.map(({ name, uids }) => [name, uids])).toEqual([
      ['alice', [SERVER_UID]],
      ['bob', [SERVER_UID]],
    ]);
    expect(sample.tenants.flatMap(({ shares }) => shares.map(({ firstBlock, blocks }) => [firstBlock, blocks]))).toEqual([
      [0, 131_072],
      [131_072, 131_072],
    ]);
  });

  it('describes every key of the schema', () => {
    const bare: string[] = [];
    const walk = (node: unknown, path: string): void => {
      if (typeof node !== 'object' || node === null) return;
      const { properties, description, items, anyOf, oneOf, const: constant } = node as Record<string, unknown>;
      if (typeof properties === 'object' && properties !== null) {
        for (const [key, child] of Object.entries(properties)) {
          const described = typeof (child as { description?: unknown }).description === 'string' || 'const' in (child as object);
          if (!described) bare.push(`${path}.${key}`);
          walk(child, `${path}.${key}`);
        }
      }
      for (const child of [items, ...((anyOf ?? oneOf ?? []) as unknown[])]) walk(child, path);
      expect([description, constant].every((each) => each === undefined || typeof each === 'string' || typeof each === 'number')).toBe(true);
    };
    walk(configJsonSchema(), '');
    expect(bare).toEqual([]);
  });
});

describe('isLoopback', () => {
  it.each([
    ['127.0.0.1', true],
    ['127.255.0.1', true],
    ['::1', true],
    ['0:0:0:0:0:0:0:1', true],
    ['localhost', true],
    ['LOCALHOST', true],
    ['0.0.0.0', false],
    ['::', false],
    ['10.127.0.1', false],
    ['128.0.0.1', false],
    ['::ffff:10.0.0.1', false],
    ['127.0.0.1.example.org', false],
    ['localhost.example.org', false],
    ['', false],
  ])('%s', (host, expected) => expect(isLoopback(host)).toBe(expected));
});

describe('suggestions', () => {
  it.each([
    ['tennants', 'tenants'],
    ['Devices', 'devices'],
    ['isolaton', 'isolation'],
    ['stat', 'state'],
    ['listne', 'listen'],
  ])('%s is taken for %s', (typed, meant) => {
    expect(problemsOf(text({ top: `"${typed}": 1,` })).problems.map(({ remedy }) => remedy)).toContain(`did you mean "${meant}"?`);
  });

  it('does not guess when nothing is near', () => {
    expect(problemsOf(text({ top: '"zzzzzz": 1,' })).problems[0].remedy).toMatch(/^the keys here are/);
  });
});
