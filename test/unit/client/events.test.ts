import { describe, expect, it } from 'vitest';
import { ConnectionError, type DeviceEvent, RefusedError } from '../../../src/client/index.js';
import { Code } from '../../../src/protocol/index.js';
import { client, connectBeforeEach, server } from '../../support/scripted-client.js';
import type { Submitted } from '../../support/scripted-server.js';
import { bytes, errorOf, until } from '../../support/settled.js';

connectBeforeEach();

describe('events', () => {
  const take = async (events: AsyncIterable<DeviceEvent>, count: number): Promise<DeviceEvent[]> => {
    const taken: DeviceEvent[] = [];
    for await (const event of events) {
      taken.push(event);
      if (taken.length === count) break;
    }
    return taken;
  };

  it('of a lease are iterated in their order', async () => {
    const device = await client.openDevice('nvme0');
    const other = await client.openDevice('nvme0');
    const events = device.events();
    const others = other.events();
    await device.bindVector(1);
    await device.unbindVector(1);
    expect(server.messages('bindVector').map(({ vector, enable }) => [vector, enable])).toEqual([
      [1, true],
      [1, false],
    ]);
    const { connection } = server;
    connection.event('interrupt', { lease: device.lease, vector: 1, count: 3 });
    connection.event('namespaceChanged', { lease: device.lease, share: 0 });
    connection.event('reset', { lease: device.lease, generation: 4, reason: 'asked for' });
    connection.event('deviceLost', { device: 'nvme0', lease: device.lease, reason: 'unplugged' });
    connection.event('deviceRestored', { device: 'nvme0', lease: device.lease, generation: 6 });
    connection.event('draining', { milliseconds: 500 });
    expect(await take(events, 6)).toEqual([
      { type: 'interrupt', vector: 1, count: 3 },
      { type: 'namespaceChanged', share: 0 },
      { type: 'reset', generation: 4, reason: 'asked for' },
      { type: 'deviceLost', reason: 'unplugged' },
      { type: 'deviceRestored', generation: 6 },
      { type: 'draining', milliseconds: 500 },
    ]);
    expect(device.generation).toBe(6);
    expect(await take(others, 1)).toEqual([{ type: 'draining', milliseconds: 500 }]);
    expect((await events.next()).done).toBe(true);
  });

  it('tell of completions only when asked to', async () => {
    const device = await client.openDevice('nvme0');
    const plain = device.events();
    const events = device.events({ completions: true });
    server.onSubmit = (submitted, connection) => connection.complete(submitted, (entry) => (entry.operation === 1 ? { code: Code.timeout } : {}));
    await device.share().write(512, bytes(1_024));
    await errorOf(device.share().read(0, 512));
    await device.share().flush();
    expect(await take(events, 3)).toEqual([
      { type: 'completion', operation: 'write', share: 0, lba: 1, blocks: 2, code: 0 },
      { type: 'completion', operation: 'read', share: 0, lba: 0, blocks: 1, code: Code.timeout },
      { type: 'completion', operation: 'flush', share: 0, lba: 0, blocks: 0, code: 0 },
    ]);
    server.connection.event('draining', { milliseconds: 1 });
    expect(await take(plain, 1)).toEqual([{ type: 'draining', milliseconds: 1 }]);
  });

  it('that nobody takes are dropped, the oldest first, and counted', async () => {
    const device = await client.openDevice('nvme0');
    const events = device.events({ capacity: 3 });
    for (let count = 1; count <= 10; count++) server.connection.event('interrupt', { lease: 1, vector: 0, count });
    await client.ping();
    expect(await take(events, 4)).toEqual([
      { type: 'dropped', count: 7 },
      { type: 'interrupt', vector: 0, count: 8 },
      { type: 'interrupt', vector: 0, count: 9 },
      { type: 'interrupt', vector: 0, count: 10 },
    ]);
    for (const capacity of [0, 1.5, 2_000_000]) expect(() => device.events({ capacity })).toThrow(RefusedError);
  });

  it('end with a revoked lease, whose requests are rejected with the reason', async () => {
    const device = await client.openDevice('nvme0');
    const events = device.events();
    let held: Submitted | undefined;
    server.onSubmit = (submitted) => {
      held = submitted;
    };
    const request = errorOf(device.share().flush());
    await until(() => held !== undefined);
    server.connection.event('revoked', { lease: 1, reason: 'the grant was taken away' });
    expect(await request).toMatchObject({ code: 'revoked', number: Code.revoked });
    expect((await request).message).toContain('the grant was taken away');
    const all: DeviceEvent[] = [];
    for await (const event of events) all.push(event);
    expect(all).toEqual([{ type: 'revoked', reason: 'the grant was taken away' }]);
    expect(device.active).toBe(false);
    expect((await device.events().next()).done).toBe(true);
    await device.close();
    // What crossed the end of the lease means nothing any more.
    if (held !== undefined) server.connection.complete(held);
    server.connection.send({
      type: 'error',
      id: 0,
      code: Code.unknownLease,
      name: 'unknownLease',
      field: 'lease',
      value: '1',
      message: '',
      submit: 1,
    });
    server.connection.event('interrupt', { lease: 1, vector: 0, count: 1 });
    await client.ping();
    expect(server.messages('closeDevice').length).toBe(0);
  });

  it('that come before the queue is open are kept', async () => {
    server.script('openQueue', (_message, connection) => {
      connection.event('reset', { lease: 1, generation: 8, reason: 'early' });
      return undefined;
    });
    const device = await client.openDevice('nvme0');
    expect(device.generation).toBe(8);
  });

  it('right behind the answers that open a lease and its queue find them', async () => {
    for (const [index, type] of ['openDevice', 'openQueue'].entries()) {
      server.script(type, (_message, connection) => {
        // After the answer, and so in the same piece of the stream.
        queueMicrotask(() => connection.event('reset', { lease: index + 1, generation: 20 + index, reason: 'early' }));
        return undefined;
      });
      const device = await client.openDevice('nvme0');
      await client.ping();
      expect(device.generation).toBe(20 + index);
      server.scripts.delete(type);
    }
  });

  it('of the connection are for the client', async () => {
    const events = client.events();
    server.connection.event('holderGone', { device: 'nvme0' });
    server.connection.event('draining', { milliseconds: 3 });
    expect((await events.next()).value).toEqual({ type: 'holderGone', device: 'nvme0' });
    expect((await events.next()).value).toEqual({ type: 'draining', milliseconds: 3 });
    await client.close();
    expect((await events.next()).done).toBe(true);
    expect((await client.events().next()).done).toBe(true);
  });

  it('stop with their signal, and with a lost connection after what they hold', async () => {
    const device = await client.openDevice('nvme0');
    const abort = new AbortController();
    const aborted = device.events({ signal: abort.signal });
    const waiting = errorOf(aborted.next());
    abort.abort(new Error('enough'));
    expect((await waiting).message).toBe('enough');
    expect((await aborted.next()).done).toBe(true);
    const events = device.events();
    server.connection.event('interrupt', { lease: 1, vector: 0, count: 1 });
    await client.ping();
    server.connection.socket.terminate();
    await until(() => !client.connected);
    expect((await events.next()).value).toMatchObject({ type: 'interrupt' });
    expect(await errorOf(events.next())).toBeInstanceOf(ConnectionError);
    expect((await events.next()).done).toBe(true);
    expect(await errorOf(device.events().next())).toBeInstanceOf(ConnectionError);
  });
});
