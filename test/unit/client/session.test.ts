import { describe, expect, it } from 'vitest';
import { connect, ConnectionError, RefusedError } from '../../../src/client/index.js';
import { Code } from '../../../src/protocol/index.js';
import { client, connectBeforeEach, server } from '../../support/scripted-client.js';
import type { Fields, Submitted } from '../../support/scripted-server.js';
import { errorOf, until } from '../../support/settled.js';

connectBeforeEach();

const answered = (message: Fields, fields: Fields): Fields => ({ type: 'answer', id: message['id'], ...fields });

describe('devices', () => {
  it('are listed and looked at', async () => {
    const [device] = await client.listDevices();
    expect(device).toEqual({ name: 'nvme0', class: 'nvme', state: 'open', free: true, heldBy: [], shares: server.shares });
    expect(await client.deviceState('nvme0', { wait: true })).toEqual(device);
    expect(server.messages('deviceState')[0]).toMatchObject({ device: 'nvme0', wait: true });
  });

  it('are opened after the domain, which is set once', async () => {
    const [first, second] = await Promise.all([
      client.openDevice('nvme0', { mode: 'exclusive', queues: 'own', queueEntries: 8 }),
      client.openDevice('nvme0'),
    ]);
    await client.allocate(1);
    expect(server.received.map(({ type }) => type)).toEqual([
      'hello',
      'setDomain',
      'openDevice',
      'openDevice',
      'openQueue',
      'openQueue',
      'shareQueue',
      'shareQueue',
      'mapMemory',
    ]);
    expect(server.messages('openDevice').map(({ mode, queues }) => [mode, queues])).toEqual([
      ['exclusive', 'own'],
      ['shared', 'shared'],
    ]);
    expect(server.messages('openQueue').map(({ entries }) => entries)).toEqual([8, 256]);
    expect([first.lease, second.lease]).toEqual([1, 2]);
    expect(first).toMatchObject({ name: 'nvme0', mode: 'exclusive', queues: 'own', vectors: 2, depth: 8, generation: 1, active: true });
    expect(first.queue.hardware.kind).toBe('shared');
    expect(first.shares).toEqual(server.shares);
    expect(await client.domain()).toBe(3);
  });

  it('join the domain that connect named', async () => {
    const sibling = await connect({ socket: server.path, domain: 42 });
    expect(await sibling.domain()).toBe(42);
    expect(server.messages('setDomain')[0]).toMatchObject({ domain: 42 });
    await sibling.close();
  });

  it('can be opened after a first try was refused', async () => {
    server.script('setDomain', (message, connection) => {
      connection.refuse(Number(message['id']), 'draining');
      server.scripts.delete('setDomain');
      return null;
    });
    expect(await errorOf(client.openDevice('nvme0'))).toMatchObject({ code: 'draining' });
    expect((await client.openDevice('nvme0')).active).toBe(true);
  });

  it('refuse a queue of a size that no ring has', async () => {
    for (const queueEntries of [0, 1, 3, 512, 2.5, Number.NaN]) {
      expect(await errorOf(client.openDevice('nvme0', { queueEntries }))).toMatchObject({ code: 'invalidArgument', field: 'queueEntries' });
    }
    expect(server.messages('openDevice').length).toBe(0);
  });

  it('are given back when their queue is refused', async () => {
    server.script('openQueue', (message, connection) => {
      connection.refuse(Number(message['id']), 'queueLimit');
      return null;
    });
    expect(await errorOf(client.openDevice('nvme0'))).toMatchObject({ code: 'queueLimit' });
    await until(() => server.messages('closeDevice').length === 1);
    expect(server.messages('closeDevice')[0]).toMatchObject({ lease: 1 });
  });

  it('and memory that nobody waits for any more are given back', async () => {
    for (const [type, undo] of [
      ['openDevice', 'closeDevice'],
      ['openQueue', 'closeDevice'],
      ['mapMemory', 'unmapMemory'],
    ]) {
      let release: (() => void) | undefined;
      server.script(type, () => {
        server.scripts.delete(type);
        release = () => undefined;
        return null;
      });
      const abort = new AbortController();
      const before = server.messages(undo).length;
      const opening = type === 'mapMemory' ? client.allocate(1, { signal: abort.signal }) : client.openDevice('nvme0', { signal: abort.signal });
      const failure = errorOf(opening);
      await until(() => release !== undefined);
      abort.abort();
      expect((await failure).name).toBe('AbortError');
      if (type !== 'openQueue') {
        const last = server.messages(type)[0];
        const late =
          type === 'mapMemory'
            ? { region: 5, bytes: 4_096 }
            : { lease: 9, generation: 1, device: 'nvme0', mode: 'shared', queues: 'shared', shares: [], vectors: 0, maxInFlight: 1 };
        server.connection.send(answered(last, late));
      }
      await until(() => server.messages(undo).length === before + 1);
    }
  });

  it('are closed once, with what is in flight ended', async () => {
    const device = await client.openDevice('nvme0');
    const disk = device.share();
    let held: Submitted | undefined;
    server.onSubmit = (submitted) => {
      held = submitted;
    };
    const inFlight = errorOf(disk.flush());
    await until(() => held !== undefined);
    const closing = device.close();
    const late = errorOf(disk.flush());
    await Promise.all([closing, device.close(), device[Symbol.asyncDispose]()]);
    expect(await inFlight).toMatchObject({ code: 'closed' });
    expect(await late).toMatchObject({ code: 'closed' });
    expect(await errorOf(disk.flush())).toBeInstanceOf(RefusedError);
    expect(server.messages('closeDevice').length).toBe(1);
    expect(device.active).toBe(false);
    if (held !== undefined) server.connection.complete(held);
    await client.ping();
    expect(client.connected).toBe(true);
  });
});

describe('the end of the connection', () => {
  it('rejects everything that waits, and everything after it', async () => {
    const device = await client.openDevice('nvme0');
    const disk = device.share();
    const region = await client.allocate(4_096);
    server.onSubmit = () => undefined;
    server.script('ping', () => null);
    const waiting = [disk.flush(), disk.read(0, 512), client.ping(), disk.batch().submit()].map((promise) =>
      promise.then(
        () => 'ok',
        (error: unknown) => error,
      ),
    );
    await until(() => server.messages('submit').length === 1 && server.messages('ping').length === 1);
    server.connection.socket.terminate();
    const ends = await Promise.all(waiting);
    expect(ends[3]).toBe('ok');
    for (const end of ends.slice(0, 3)) expect(end).toBeInstanceOf(ConnectionError);
    for (const promise of [disk.flush(), client.listDevices(), region.read(0, 1), device.reset(), client.openDevice('nvme0')]) {
      expect(await errorOf(promise)).toMatchObject({ code: 'connectionClosed' });
    }
    await region.close();
    await device.close();
    await client.close();
  });

  it('by close of this program says so', async () => {
    const disk = (await client.openDevice('nvme0')).share();
    server.onSubmit = () => undefined;
    const request = errorOf(disk.flush());
    await until(() => server.messages('submit').length === 1);
    await client.close();
    expect(await request).toMatchObject({ code: 'connectionClosed' });
    expect((await request).message).toContain('closed by this program');
    await until(() => server.connection.socket.readyState === server.connection.socket.CLOSED);
  });

  it('after a fault carries the fault', async () => {
    server.script('ping', () => null);
    const waiting = errorOf(client.ping());
    await until(() => server.messages('ping').length === 1);
    server.connection.send({ type: 'error', id: 0, code: Code.tooManyMessages, name: 'tooManyMessages', field: '', value: '', message: 'x' });
    const error = await waiting;
    expect(error).toBeInstanceOf(ConnectionError);
    expect(error).toMatchObject({ severity: 'fault', cause: { code: 'tooManyMessages' } });
    expect(error.message).toContain('more messages a second');
  });

  it('is not brought about by a refusal', async () => {
    server.script('resetLease', (message, connection) => {
      connection.refuse(Number(message['id']), 'outOfRange', 'lease', '9');
      return null;
    });
    const device = await client.openDevice('nvme0');
    expect(await errorOf(device.reset())).toMatchObject({ code: 'outOfRange', field: 'lease', value: '9', severity: 'refuse' });
    expect(await errorOf(device.bindVector(2))).toMatchObject({ code: 'unknownVector', value: '2' });
    await client.ping();
  });
});

describe('a submit that is refused as a whole', () => {
  it('ends the requests that went with it, and no others', async () => {
    const device = await client.openDevice('nvme0');
    const disk = device.share();
    const held: Submitted[] = [];
    server.onSubmit = (submitted) => held.push(submitted);
    const first = disk.flush();
    await until(() => held.length === 1);
    const second = [disk.read(0, 512), disk.flush()].map(errorOf);
    await until(() => held.length === 2);
    server.connection.send({
      type: 'error',
      id: 0,
      code: Code.stagingFull,
      name: 'stagingFull',
      field: 'length',
      value: '512',
      message: '',
      submit: 2,
    });
    for (const failure of second) expect(await failure).toMatchObject({ code: 'stagingFull', field: 'length', value: '512' });
    expect(device.inFlight).toBe(1);
    server.connection.complete(held[0]);
    await first;
    expect(device.inFlight).toBe(0);
    server.onSubmit = (submitted, connection) => connection.complete(submitted);
    await disk.read(0, 512);
  });
});
