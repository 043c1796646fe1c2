/** Hostile messages against whole sessions: every one is answered or ends its session, and none reaches an engine that should not. */
import { afterEach, expect, it } from 'vitest';
import { Packr, Unpackr } from 'msgpackr';
import { CODES } from '../../../src/protocol/index.js';
import type { Connection } from '../../../src/server/session/index.js';
import { fuzzed } from '../wire/fuzz.js';
import { World, until } from './world.js';

/** Much work, which takes a while on a busy machine. */
const TIMEOUT = 180_000;

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true });

/** A connection without a socket: what is sent is kept, and taken at once. */
class ConnectionDouble implements Connection {
  readonly waiting = 0;
  readonly sent: Record<string, unknown>[] = [];
  ended = false;
  onMessage: Connection['onMessage'] = () => undefined;
  onSent: Connection['onSent'] = () => undefined;
  onTooLarge = (): void => undefined;
  onViolation: Connection['onViolation'] = () => undefined;
  onEnd: Connection['onEnd'] = () => undefined;
  send(bytes: Uint8Array): void {
    this.sent.push(unpackr.unpack(bytes) as Record<string, unknown>);
  }
  pause(): void {}
  resume(): void {}
  authenticated(): void {}
  whenRead(): void {}
  end(): void {
    this.destroy();
  }
  destroy(): void {
    if (this.ended) return;
    this.ended = true;
    queueMicrotask(() => this.onEnd('ended'));
  }
  say(message: Readonly<Record<string, unknown>>): void {
    this.onMessage(packr.pack(message), true);
  }
}

let world: World;
afterEach(() => world.end());

const errorsOf = (connection: ConnectionDouble): unknown[] => connection.sent.filter(({ type }) => type === 'error').map(({ name }) => name);

it('20 000 before hello: each is one fault, or a refusal, and nothing is asked of the engine', { timeout: TIMEOUT }, async () => {
  world = await World.create();
  const names = new Set<unknown>();
  for (const bytes of fuzzed(20_000, 0xf00d)) {
    const connection = new ConnectionDouble();
    world.sessions.accept(connection, { transport: 'unix', uid: 1, gid: 1, address: 'test' });
    connection.onMessage(bytes, true);
    const [error] = connection.sent;
    // A hello that was put together by chance is answered later.
    if (error === undefined) continue;
    if (error['type'] !== 'error') throw new Error(JSON.stringify(error));
    names.add(error['name']);
    expect(connection.ended).toBe(CODES[error['name'] as keyof typeof CODES].severity === 'fault');
    connection.destroy();
    await Promise.resolve();
  }
  for (const name of ['malformed', 'notAuthenticated', 'unknownMessage', 'missingField', 'wrongType', 'outOfRange']) expect(names).toContain(name);
  expect(world.engine.calls).toEqual([]);
});

it('against 1 000 sessions that hold a lease: none survives a fault, and what is left is nothing', { timeout: TIMEOUT }, async () => {
  world = await World.create({ tenants: { alice: { limits: { messagesPerSecond: 1e6 } } } });
  let connection = new ConnectionDouble();
  let sessions = 0;
  const start = async (): Promise<void> => {
    connection = new ConnectionDouble();
    sessions++;
    world.sessions.accept(connection, { transport: 'unix', uid: 1, gid: 1, address: 'test' });
    connection.say({ type: 'hello', id: 1, version: 1, tenant: 'alice' });
    connection.say({ type: 'setDomain', id: 2 });
    connection.say({ type: 'openDevice', id: 3, device: 'nvme0', mode: 'shared', queues: 'own' });
    await until(() => connection.sent.length >= 3);
    connection.say({ type: 'openQueue', id: 4, lease: connection.sent[2]['lease'], entries: 64 });
    await until(() => connection.sent.length >= 4);
  };
  await start();
  let messages = 0;
  for (const bytes of fuzzed(50_000, 0xbeef)) {
    connection.onMessage(bytes, true);
    messages++;
    if (!connection.ended) continue;
    const errors = errorsOf(connection);
    expect(errors.filter((name) => CODES[name as keyof typeof CODES].severity === 'fault')).toHaveLength(1);
    expect(errors).not.toContain('internal');
    if (sessions < 1_000) await start();
    else break;
  }
  expect(messages).toBeGreaterThan(1_000);
  connection.destroy();
  await until(() => world.sessions.list().length === 0);
  expect(world.engine.leases.size).toBe(0);
  expect(world.engine.regions.size).toBe(0);
  expect(world.sessions.domains.pins.pinned('alice')).toBe(0);
});
