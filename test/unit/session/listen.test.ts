/** Sockets: who may have a path, who is at the other end, and what is not let in. */
import { execFile } from 'node:child_process';
import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { type Server, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { shm } from '../../../src/native/shm.js';
import { SUBPROTOCOL } from '../../../src/protocol/index.js';
import { Tickets } from '../../../src/server/handover/index.js';
import { type ConnectionSink, type Listener, listenTcp, listenUnix } from '../../../src/server/listen/index.js';
import { silentLog } from '../../../src/server/log.js';
import { Gate, type Peer } from '../../../src/server/session/index.js';
import { selfSigned } from '../../support/certificate.js';
import { SocketInUse } from '../../../src/server/socket-file.js';
import { Client, LIMITS, World, until } from './world.js';

const isRoot = process.getuid?.() === 0;
const run = promisify(execFile);

let folder: string;
let peers: Peer[];
let sink: ConnectionSink;
const listeners: Listener[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringwarden-listen-'));
  peers = [];
  sink = {
    gate: new Gate(LIMITS),
    accept: (connection, peer) => {
      peers.push(peer);
      connection.authenticated();
      connection.onMessage = (bytes) => connection.send(bytes);
    },
    refuse: (connection) => connection.end(1_013, 'full'),
  };
});
afterEach(async () => {
  for (const listener of listeners.splice(0)) await listener.close();
  rmSync(folder, { recursive: true, force: true });
});

async function unix(path = join(folder, 'socket'), mode = 0o600): Promise<Listener> {
  const listener = await listenUnix({ path, mode, sessions: sink, limits: LIMITS, tickets: new Tickets(), log: silentLog });
  listeners.push(listener);
  return listener;
}

async function tcp(options: { host?: string; tls?: { cert: string; key: string } } = {}) {
  const listener = await listenTcp({ host: '127.0.0.1', port: 0, tls: undefined, sessions: sink, limits: LIMITS, log: silentLog, ...options });
  listeners.push(listener);
  return listener;
}

/** Connects, and says how that went: 101, the status of a handshake that was turned away, or 0 for a connection that just ended. */
function handshake(path: string, options: { headers?: Record<string, string>; protocols?: string[]; url?: string } = {}): Promise<number> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`ws+unix://${path}:${options.url ?? '/'}`, options.protocols ?? [SUBPROTOCOL], { headers: options.headers ?? {} });
    socket.on('error', () => resolve(0));
    socket.once('unexpected-response', (_request, response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
      socket.terminate();
    });
    socket.once('open', () => {
      socket.terminate();
      resolve(101);
    });
  });
}

it('no descriptors can be sent to it, where the kernel can see to that', async () => {
  const path = join(folder, 'socket');
  listeners.push(await listenUnix({ path, mode: 0o600, sessions: sink, limits: LIMITS, tickets: new Tickets(), log: silentLog }));
  const [left, right] = shm().socketpair();
  const connections = [path, `${path}.fds`].map((each) => shm().connect(each));
  const send = (fd: number): unknown => {
    try {
      return shm().sendDescriptors(fd, Buffer.from('G'), [left]);
    } catch (error) {
      return (error as NodeJS.ErrnoException).code;
    }
  };
  expect(connections.map(send)).toEqual([shm().refuseDescriptors(right) ? 'EPERM' : 1, 1]);
  for (const fd of [left, right, ...connections]) shm().close(fd);
});

describe('the path of a Unix socket', () => {
  it('has the mode that was asked for, and is gone after close, with its lock', async () => {
    const listener = await unix(undefined, 0o660);
    expect(lstatSync(listener.address).mode & 0o777).toBe(0o660);
    await listener.close();
    await listener.close();
    expect(readdirSync(folder)).toEqual([]);
  });

  it('is not taken from a server that lives', async () => {
    const listener = await unix();
    await expect(unix()).rejects.toThrow(SocketInUse);
    expect(await handshake(listener.address)).toBe(101);
    await listener.close();
    await unix();
  });

  it('is not taken from a server that knows no lock', async () => {
    const path = join(folder, 'socket');
    const foreign: Server = createServer();
    await new Promise<void>((resolve) => foreign.listen(path, resolve));
    await expect(unix(path)).rejects.toThrow(`a server is listening at ${path}`);
    expect(existsSync(path)).toBe(true);
    expect(readdirSync(folder)).toEqual(['socket']);
    await new Promise((resolve) => foreign.close(resolve));
  });

  it('is taken when its server died', async () => {
    const path = join(folder, 'socket');
    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    await run(process.execPath, ['-e', script]).catch(() => undefined);
    writeFileSync(`${path}.lock`, '');
    expect(lstatSync(path).isSocket()).toBe(true);
    const listener = await unix(path);
    expect(await handshake(listener.address)).toBe(101);
  });

  it('is got by one of many that start at once', async () => {
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => unix()));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const result of results) if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(SocketInUse);
    expect(await handshake(join(folder, 'socket'))).toBe(101);
  });

  it('is not taken from a file', async () => {
    const path = join(folder, 'socket');
    writeFileSync(path, 'precious');
    await expect(unix(path)).rejects.toThrow('is not a socket');
    expect(existsSync(path)).toBe(true);
  });

  it('does not follow a link for its lock', async () => {
    const path = join(folder, 'socket');
    symlinkSync(join(folder, 'elsewhere'), `${path}.lock`);
    await expect(unix(path)).rejects.toThrow('ELOOP');
    expect(existsSync(join(folder, 'elsewhere'))).toBe(false);
  });

  it('lies in a folder that others cannot write to, or that is sticky', async () => {
    const open = join(folder, 'open');
    mkdirSync(open);
    chmodSync(open, 0o777);
    await expect(unix(join(open, 'socket'))).rejects.toThrow('everybody may write to');
    chmodSync(open, 0o1777);
    await unix(join(open, 'socket'));
    await unix(join(folder, 'new', 'socket'));
    await expect(unix(join(folder, 'missing', 'folders', 'socket'))).rejects.toThrow('ENOENT');
    await expect(unix(join(folder, 'x'.repeat(110)))).rejects.toThrow('at most 107 bytes');
  });
});

describe('the peer of a Unix socket', () => {
  it('is known by its credentials', async () => {
    const { address } = await unix();
    expect(await handshake(address)).toBe(101);
    expect(peers).toEqual([{ transport: 'unix', address, uid: process.getuid?.(), gid: process.getgid?.(), pid: process.pid }]);
  });

  it.skipIf(!isRoot || !existsSync('/usr/bin/setpriv'))('is known under another user as well (needs root and setpriv)', async () => {
    chmodSync(folder, 0o755);
    const { address } = await unix(undefined, 0o666);
    const upgrade = [
      'GET / HTTP/1.1',
      'Host: x',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
      `Sec-WebSocket-Protocol: ${SUBPROTOCOL}`,
      '\r\n',
    ].join('\r\n');
    const script = `
      const socket = require('net').connect(${JSON.stringify(address)});
      socket.on('data', (data) => { console.log(String(data).split('\\r\\n')[0]); socket.destroy(); });
      socket.write(${JSON.stringify(upgrade)});`;
    const arguments_ = ['--reuid=4242', '--regid=4243', '--clear-groups', process.execPath, '-e', script];
    const { stdout } = await run('setpriv', arguments_, { cwd: '/' });
    expect(stdout).toBe('HTTP/1.1 101 Switching Protocols\n');
    expect(peers).toMatchObject([{ uid: 4_242, gid: 4_243 }]);
  });
});

describe('what is turned away', () => {
  it('at the handshake', async () => {
    const { address } = await unix();
    expect(await handshake(address)).toBe(101);
    expect(await handshake(address, { protocols: ['other', SUBPROTOCOL] })).toBe(101);
    expect(await handshake(address, { protocols: [] })).toBe(400);
    expect(await handshake(address, { protocols: ['ringwarden.v2'] })).toBe(400);
    expect(await handshake(address, { headers: { Origin: 'http://127.0.0.1' } })).toBe(403);
    expect(await handshake(address, { url: '/admin' })).toBe(404);
    expect(await handshake(address, { headers: { 'X-Long': 'x'.repeat(10_000) } })).toBe(0);
    expect(peers).toHaveLength(2);
    await until(() => sink.gate.counts.connections === 0);
  });

  it.each([
    ['GET', '/', 426],
    ['POST', '/', 426],
    ['GET', '/metrics', 404],
  ])('%s %s as plain HTTP', async (method, path, status) => {
    const { address } = await unix();
    const response = await new Promise<{ status: number | undefined; connection: string | undefined }>((resolve, reject) => {
      const sent = request({ socketPath: address, method, path }, (message) => {
        message.resume();
        resolve({ status: message.statusCode, connection: message.headers.connection });
      });
      sent.once('error', reject);
      sent.end();
    });
    expect(response).toEqual({ status, connection: 'close' });
    await until(() => sink.gate.counts.connections === 0);
  });

  it.each([
    ['noise', Buffer.from('\u0000\u0001\u0002 noise\r\n\r\n')],
    ['TLS where there is none', Buffer.from('16030100c8010000c40303', 'hex')],
    ['a request without an end', Buffer.from(`GET / HTTP/1.1\r\n${'a: b\r\n'.repeat(5_000)}`)],
  ])('%s', async (_what, bytes) => {
    const { address } = await unix();
    const socket = connect(address).on('error', () => undefined);
    socket.write(bytes);
    socket.resume();
    if (bytes.length > 100) await new Promise((resolve) => socket.once('close', resolve));
    else socket.destroy();
    await until(() => sink.gate.counts.connections === 0);
    expect(await handshake(address)).toBe(101);
  });

  it('in frames: without a mask, compressed, too large, in too many pieces', async () => {
    const { address } = await unix();
    const frames: [name: string, frame: Buffer | Buffer[], status: number][] = [
      ['no mask', Buffer.from('820161', 'hex'), 1_002],
      ['compressed', Buffer.from('c2810000000061', 'hex'), 1_002],
      ['too large', Buffer.from('82ff00000000400000010000000000', 'hex'), 1_009],
      ['too many pieces', Array.from({ length: 66 }, (_, index) => Buffer.from(index === 0 ? '028100000000ff' : '008100000000ff', 'hex')), 1_008],
      ['a control frame that is too long', Buffer.from('89fe00800000000000', 'hex'), 1_002],
    ];
    for (const [name, frame, status] of frames) {
      const client = new Client(address);
      await client.opened;
      const { _socket: raw } = client.socket as unknown as { _socket: { write(bytes: Buffer): void } };
      for (const part of [frame].flat()) raw.write(part);
      expect([name, await client.closed]).toEqual([name, status]);
    }
  });
});

describe('close', () => {
  it('ends what is no session yet, and leaves sessions alone', async () => {
    const listener = await unix();
    const client = new Client(listener.address);
    await client.opened;
    const raw = connect(listener.address);
    const rawClosed = new Promise((resolve) => raw.once('close', resolve));
    await until(() => sink.gate.counts.connections === 2);
    await listener.close();
    await rawClosed;
    client.sendBytes(Buffer.from('81a161a162', 'hex'));
    expect(await client.next(() => true)).toEqual({ a: 'b' });
    client.socket.close();
    await client.closed;
  });
});

describe('TCP', () => {
  it('is plain on loopback', async () => {
    const { address } = await tcp();
    const socket = new WebSocket(`ws://${address}/`, SUBPROTOCOL);
    await new Promise((resolve) => socket.once('open', resolve));
    expect(peers).toEqual([{ transport: 'tcp', address: expect.stringMatching(/^127\.0\.0\.1:\d+$/) }]);
    socket.terminate();
    expect((await tcp({ host: 'localhost' })).port).toBeGreaterThan(0);
  });

  it.each(['0.0.0.0', '::'])('is not plain on %s', async (host) => {
    await expect(tcp({ host })).rejects.toThrow(`${host} (${host}) can be reached from other machines`);
  });

  it('is encrypted with a certificate, anywhere', async () => {
    const { cert, key } = selfSigned();
    const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
    writeFileSync(files.cert, cert);
    writeFileSync(files.key, key);
    const { port } = await tcp({ host: '0.0.0.0', tls: files });
    const socket = new WebSocket(`wss://127.0.0.1:${port}/`, SUBPROTOCOL, { ca: cert });
    await new Promise((resolve, reject) => {
      socket.once('open', resolve);
      socket.once('error', reject);
    });
    expect(socket.protocol).toBe(SUBPROTOCOL);
    socket.send('x');
    const echoed = await new Promise((resolve) => socket.once('message', (data: Buffer) => resolve(data.toString())));
    expect(echoed).toBe('x');
    socket.terminate();
    const plain = connect(port, '127.0.0.1').on('error', () => undefined);
    plain.write('GET / HTTP/1.1\r\n\r\n');
    plain.resume();
    await new Promise((resolve) => plain.once('close', resolve));
    await until(() => sink.gate.counts.connections === 0);
  });

  it('has no port that another listener has', async () => {
    const { port } = await tcp();
    await expect(listenTcp({ host: '127.0.0.1', port, tls: undefined, sessions: sink, limits: LIMITS, log: silentLog })).rejects.toThrow(
      'EADDRINUSE',
    );
  });
});

describe('the gate', () => {
  const gateOf = (unauthenticated: number): { gate: Gate; ended: string[]; enter: (peer: string, name: string) => ReturnType<Gate['enter']> } => {
    const gate = new Gate({ ...LIMITS, connections: 100, unauthenticated });
    const ended: string[] = [];
    return { gate, ended, enter: (peer, name) => gate.enter(peer, () => ended.push(name)) };
  };

  it('gives one peer at most half of the places for the unknown', () => {
    const { gate, ended, enter } = gateOf(5);
    const tickets = ['a1', 'a2', 'a3'].map((name) => enter('a', name));
    expect(tickets.map((ticket) => ticket?.turnedAway)).toEqual([false, false, false]);
    expect(enter('a', 'a4')).toMatchObject({ turnedAway: true });
    expect(enter('b', 'b1')).toMatchObject({ turnedAway: false });
    tickets[0]?.authenticated();
    expect(enter('a', 'a5')).toMatchObject({ turnedAway: false });
    expect(ended).toEqual([]);
    expect(gate.counts).toEqual({ connections: 5, unauthenticated: 4 });
  });

  it('has a place even where there is one in all', () => {
    const { enter } = gateOf(1);
    expect(enter('a', 'a1')).toMatchObject({ turnedAway: false });
    expect(enter('a', 'a2')).toMatchObject({ turnedAway: true });
  });

  it('makes room among the unknown at the cost of the peer that has most', () => {
    const { gate, ended, enter } = gateOf(6);
    for (const name of ['a1', 'a2', 'a3']) enter('a', name);
    for (const name of ['b1', 'b2']) enter('b', name);
    const c1 = enter('c', 'c1');
    expect(ended).toEqual([]);
    expect(enter('c', 'c2')).toMatchObject({ turnedAway: false });
    expect(ended).toEqual(['a1']);
    expect(enter('b', 'b3')).toMatchObject({ turnedAway: true });
    c1?.authenticated();
    expect(enter('d', 'd1')).toMatchObject({ turnedAway: false });
    expect(ended).toEqual(['a1']);
    expect(gate.counts).toEqual({ connections: 7, unauthenticated: 6 });
  });
});

it('a session over TCP has no credentials but its token', async () => {
  const world = await World.create({ tenants: { alice: { token: 'a-long-secret-token' } } });
  const listener = await listenTcp({ host: '127.0.0.1', port: 0, tls: undefined, sessions: world.sessions, limits: LIMITS, log: silentLog });
  const clients = [0, 1].map(() => new Client(`ws://${listener.address}/`));
  try {
    const [bad, good] = clients;
    await Promise.all(clients.map(({ opened }) => opened));
    await expect(bad.call('hello', { version: 1, tenant: 'alice', token: 'wrong' })).rejects.toMatchObject({
      fields: { name: 'authenticationFailed' },
    });
    expect(await good.call('hello', { version: 1, tenant: 'alice', token: 'a-long-secret-token' })).toMatchObject({ isolation: 'token' });
    expect(world.sessions.list().filter(({ tenant }) => tenant === 'alice')).toMatchObject([{ peer: { transport: 'tcp' }, isolation: 'token' }]);
    expect(JSON.stringify([world.audit, world.sessions.list()])).not.toMatch(/wrong|secret/);
  } finally {
    for (const { socket } of clients) socket.terminate();
    await listener.close();
    await world.end();
  }
});
