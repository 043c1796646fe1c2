/** The connection options of the commands, against a server with TLS. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { listenTcp } from '../../../src/server/listen/index.js';
import { silentLog } from '../../../src/server/log.js';
import { selfSigned } from '../../support/certificate.js';
import { LIMITS, World } from '../session/world.js';
import { ringwarden } from './support.js';

let folder: string;
let world: World;
let url: string;
let end: () => Promise<void>;
let ca: string;
let token: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ringwarden-tls-'));
  const file = (name: string, content: string): string => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const { cert, key } = selfSigned();
  ca = file('cert.pem', cert);
  token = file('alice.token', 'a-long-secret-token\n');
  world = await World.create({ tenants: { alice: { token: 'a-long-secret-token' } } });
  const tls = { cert: ca, key: file('key.pem', key) };
  const listener = await listenTcp({ host: '127.0.0.1', port: 0, tls, sessions: world.sessions, limits: LIMITS, log: silentLog });
  url = `wss://127.0.0.1:${listener.port}`;
  end = () => listener.close();
});
afterEach(() => vi.unstubAllEnvs());
afterAll(async () => {
  await end();
  await world.end();
  rmSync(folder, { recursive: true });
});

describe('a command over TLS', () => {
  it('trusts the authority of --ca-file', async () => {
    const ran = await ringwarden('list', '--url', url, '--ca-file', ca, '--token-file', token);
    expect(ran).toMatchObject({ status: 0, err: '' });
    expect(ran.out).toContain('nvme0/data');
  });

  it('takes all of it from the environment, and an option before that', async () => {
    vi.stubEnv('RINGWARDEN_URL', url);
    vi.stubEnv('RINGWARDEN_CA_FILE', ca);
    vi.stubEnv('RINGWARDEN_TOKEN_FILE', token);
    expect(await ringwarden('list')).toMatchObject({ status: 0, err: '' });
    vi.stubEnv('RINGWARDEN_CA_FILE', '/nowhere/ca.pem');
    expect(await ringwarden('list')).toMatchObject({ status: 2, err: expect.stringContaining('/nowhere/ca.pem cannot be read (ENOENT)') });
    expect(await ringwarden('list', '--ca-file', ca)).toMatchObject({ status: 0, err: '' });
    expect(await ringwarden('list', '--socket', world.path)).toMatchObject({ status: 0, err: '' });
  });

  it('says what to do about an authority that is not known', async () => {
    expect(await ringwarden('list', '--url', url, '--token-file', token)).toEqual({
      status: 1,
      out: '',
      err: `error: cannot connect to ${url}: the certificate is self-signed\n   do: give it as the option ca (--ca-file of the command)\n`,
    });
  });

  it.each([
    [
      'a file that is not there',
      ['--ca-file', '/nowhere/ca.pem'],
      'the certificate /nowhere/ca.pem cannot be read (ENOENT)',
      'name a file that is there',
    ],
    [
      'a file without a certificate',
      ['--ca-file', import.meta.filename],
      'tls.test.ts holds no certificate in PEM',
      'name the file of the authority',
    ],
  ])('refuses %s', async (_what, args, what, remedy) => {
    const { status, err } = await ringwarden('list', '--url', url, '--token-file', token, ...args);
    expect(status).toBe(2);
    expect(err).toContain(what);
    expect(err).toContain(`do: ${remedy}`);
  });

  it.each([
    ['--ca-file without --url', ['--ca-file', 'ca.pem'], '--ca-file is for a server with TLS'],
    ['--url without a token', ['--url', 'wss://127.0.0.1:1'], 'give the token with --token-file'],
    ['--url and --socket', ['--url', 'wss://127.0.0.1:1', '--socket', 's'], "option '--socket <path>' cannot be used with option '--url <url>'"],
    ['a URL without TLS', ['--url', 'http://127.0.0.1:1', '--token-file', import.meta.filename], 'expected wss://host:port'],
  ])('refuses %s, as a wrong command line', async (_what, args, words) => {
    const { status, err } = await ringwarden('list', ...args);
    expect(status).toBe(2);
    expect(err).toContain(words);
  });
});
