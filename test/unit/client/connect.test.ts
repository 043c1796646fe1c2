import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connect, ConnectionError, defaultSocketPath, RefusedError, socketCandidates } from '../../../src/client/index.js';
import { PROTOCOL_VERSION } from '../../../src/protocol/index.js';
import { ScriptedServer } from '../../support/scripted-server.js';
import { errorOf, until } from '../../support/settled.js';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rw-connect-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

async function listening(path: string, server: Server): Promise<() => Promise<void>> {
  await new Promise<void>((done) => server.listen(path, done));
  return () => new Promise((done) => server.close(() => done()));
}

describe('connect', () => {
  it('says hello and tells who the server thinks this is', async () => {
    const server = await ScriptedServer.start();
    const client = await connect({ socket: server.path, tenant: 'bob', token: 'secret', name: 'a test' });
    expect(server.received[0]).toEqual({ type: 'hello', id: 1, version: PROTOCOL_VERSION, client: 'a test', tenant: 'bob', token: 'secret' });
    expect([client.tenant, client.server, client.session, client.isolation]).toEqual(['bob', 'scripted 1.0', 7, 'uid']);
    expect(client.limits).toEqual(server.limits);
    expect(client.connected).toBe(true);
    await client.close();
    await client.close();
    expect(client.connected).toBe(false);
    await server.stop();
  });

  it('leaves out what was not given', async () => {
    const server = await ScriptedServer.start();
    const client = await connect({ socket: server.path });
    expect(Object.keys(server.received[0])).toEqual(['type', 'id', 'version', 'client']);
    await client[Symbol.asyncDispose]();
    await server.stop();
  });

  it('says what to do when there is no socket, and where it looked', async () => {
    const path = join(directory, 'none.sock');
    const error = await errorOf(connect({ socket: path }));
    expect(error).toBeInstanceOf(ConnectionError);
    expect(error).toMatchObject({ code: 'connectFailed', value: 'ENOENT' });
    expect(error.message).toContain(path);
    expect(error.message).toContain('ringwarden serve');
    expect(error.message).toContain('/run/ringwarden/ringwarden.sock');
  });

  it('says so when nothing listens on the socket', async () => {
    const path = join(directory, 'file.sock');
    writeFileSync(path, '');
    expect(await errorOf(connect({ socket: path }))).toMatchObject({ code: 'connectFailed', value: 'ECONNREFUSED' });
  });

  it.skipIf(process.getuid?.() === 0)('says so when the socket may not be opened', async () => {
    const server = await ScriptedServer.start();
    chmodSync(server.path, 0);
    expect(await errorOf(connect({ socket: server.path }))).toMatchObject({ code: 'connectFailed', value: 'EACCES' });
    await server.stop();
  });

  it('refuses a path that is too long for a socket, and URLs that are not for this', async () => {
    expect(await errorOf(connect({ socket: `/${'x'.repeat(108)}` }))).toMatchObject({ code: 'invalidArgument', field: 'socket' });
    for (const url of ['http://localhost', 'ws://example.com:1', 'nonsense', 'wss://user:secret@localhost', 'wss://localhost/#part']) {
      const error = await errorOf(connect({ url }));
      expect(error).toMatchObject({ code: 'invalidArgument', field: 'url' });
      expect(error.message).not.toContain('secret');
    }
    expect(await errorOf(connect({ url: 'wss://localhost', socket: 'x' }))).toMatchObject({ code: 'invalidArgument' });
    expect(await errorOf(connect({ timeout: 0 }))).toMatchObject({ code: 'invalidArgument', field: 'timeout' });
    expect(await errorOf(connect({ keepalive: -1 }))).toMatchObject({ code: 'invalidArgument', field: 'keepalive' });
  });

  it('gives up on a peer that does not answer the handshake', async () => {
    const path = join(directory, 'silent.sock');
    const silent = createServer((socket) => socket.on('error', () => undefined).resume());
    const stop = await listening(path, silent);
    expect(await errorOf(connect({ socket: path, timeout: 50 }))).toMatchObject({ code: 'connectFailed' });
    await stop();
  });

  it('says what to do when the server has no place for one more', async () => {
    const path = join(directory, 'full.sock');
    const full = createServer((socket) => socket.destroy());
    const stop = await listening(path, full);
    const error = await errorOf(connect({ socket: path }));
    expect(error).toMatchObject({ code: 'connectFailed', value: expect.stringMatching(/^(ECONNRESET|EPIPE)$/) });
    expect(error.message).toContain('try again later');
    await stop();
  });

  it('gives up on a peer that is no WebSocket server, or of another protocol', async () => {
    const path = join(directory, 'http.sock');
    const other = createServer((socket) => socket.resume().end('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n'));
    const stop = await listening(path, other);
    const error = await errorOf(connect({ socket: path }));
    expect(error).toMatchObject({ code: 'connectFailed' });
    expect(error.message).toContain('503');
    await stop();
    const server = await ScriptedServer.start({ subprotocol: 'other.v9' });
    expect((await errorOf(connect({ socket: server.path }))).message).toContain('subprotocol');
    await server.stop();
  });

  it('gives up on a server that does not answer hello', async () => {
    const server = await ScriptedServer.start();
    server.script('hello', () => null);
    const error = await errorOf(connect({ socket: server.path, timeout: 50 }));
    expect(error).toMatchObject({ code: 'connectFailed' });
    expect(error.message).toContain('no answer within 50 ms');
    await server.stop();
  });

  it('is aborted by its signal, in the handshake and in hello', async () => {
    const path = join(directory, 'silent.sock');
    let arrived = false;
    const silent = createServer((socket) => {
      arrived = true;
      socket.on('error', () => undefined).resume();
    });
    const stop = await listening(path, silent);
    const first = new AbortController();
    const handshake = errorOf(connect({ socket: path, signal: first.signal }));
    await until(() => arrived);
    first.abort(new Error('no patience'));
    expect((await handshake).message).toBe('no patience');
    await stop();

    const server = await ScriptedServer.start();
    server.script('hello', () => null);
    const second = new AbortController();
    const hello = errorOf(connect({ socket: server.path, signal: second.signal }));
    await until(() => server.received.length === 1);
    second.abort();
    expect((await hello).name).toBe('AbortError');
    await until(() => server.connection.socket.readyState === server.connection.socket.CLOSED);
    expect((await errorOf(connect({ socket: server.path, signal: second.signal }))).name).toBe('AbortError');
    await server.stop();
  });

  it('rejects with the refusal of the server', async () => {
    const server = await ScriptedServer.start();
    server.script('hello', (message, connection) => {
      connection.refuse(Number(message['id']), 'authenticationFailed');
      connection.socket.close(1008, 'fault');
      return null;
    });
    const error = await errorOf(connect({ socket: server.path, tenant: 'mallory' }));
    expect(error).toBeInstanceOf(RefusedError);
    expect(error).toMatchObject({ code: 'authenticationFailed', number: 109, severity: 'fault' });
    expect(error.message).toContain('check the token');
    await server.stop();
  });

  it('can be done again after the server ended the connection', async () => {
    const server = await ScriptedServer.start();
    const first = await connect({ socket: server.path });
    server.connection.socket.close(1001, 'going away');
    await until(() => !first.connected);
    const error = await errorOf(first.listDevices());
    expect(error).toMatchObject({ code: 'connectionClosed' });
    expect(error.message).toContain('1001: going away');
    const second = await connect({ socket: server.path });
    expect((await second.listDevices())[0].name).toBe('nvme0');
    await second.close();
    await first.close();
    await server.stop();
  });

  it('notices a server that gives no sign of life', async () => {
    const server = await ScriptedServer.start();
    const client = await connect({ socket: server.path, keepalive: 250 });
    await client.ping();
    server.script('ping', () => null);
    server.connection.socket.pause();
    const error = await errorOf(client.ping());
    expect(error).toMatchObject({ code: 'connectionClosed' });
    expect(error.message).toContain('no sign of life for 500 ms');
    await client.close();
    await server.stop();
  });
});

describe('the default socket', () => {
  it('is the explicit one, then that of the environment', () => {
    expect(defaultSocketPath('/a', { RINGWARDEN_SOCKET: '/b' })).toBe('/a');
    expect(defaultSocketPath(undefined, { RINGWARDEN_SOCKET: '/b' })).toBe('/b');
    expect(defaultSocketPath('', { RINGWARDEN_SOCKET: '' })).not.toBe('');
  });

  it('is then the first that exists, and at last that of the system', () => {
    const session = { XDG_RUNTIME_DIR: directory };
    expect(socketCandidates(session)).toEqual([
      resolve('ringwarden-data/ringwarden.sock'),
      join(directory, 'ringwarden', 'ringwarden.sock'),
      '/run/ringwarden/ringwarden.sock',
    ]);
    expect(socketCandidates({}).length).toBe(2);
    const before = process.cwd();
    try {
      process.chdir(directory);
      expect(defaultSocketPath(undefined, session)).toBe('/run/ringwarden/ringwarden.sock');
      mkdirSync('ringwarden');
      writeFileSync('ringwarden/ringwarden.sock', '');
      expect(defaultSocketPath(undefined, session)).toBe(join(directory, 'ringwarden', 'ringwarden.sock'));
      mkdirSync('ringwarden-data');
      writeFileSync('ringwarden-data/ringwarden.sock', '');
      expect(defaultSocketPath(undefined, session)).toBe(resolve('ringwarden-data/ringwarden.sock'));
    } finally {
      process.chdir(before);
    }
  });
});
