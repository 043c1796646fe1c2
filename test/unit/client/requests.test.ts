import { afterEach, describe, expect, it } from 'vitest';
import { DeviceError, RefusedError, RingwardenError } from '../../../src/client/index.js';
import { Code, Field, Operation } from '../../../src/protocol/index.js';
import { client, device, disk, held, hold, release, server, start, stop } from '../../support/scripted-client.js';
import { share } from '../../support/scripted-server.js';
import { bytes, errorOf, until } from '../../support/settled.js';

afterEach(stop);

describe('a request that fails', () => {
  it('rejects with the code, the field and the value, and says what to do', async () => {
    await start();
    server.onSubmit = (submitted, connection) =>
      connection.complete(submitted, () => ({ code: Code.noWriteRight, field: Field.share, value: 2n ** 60n }));
    const error = await errorOf(disk.writeBlocks(3, bytes(1_024)));
    expect(error).toBeInstanceOf(RefusedError);
    expect(error).toMatchObject({
      name: 'RefusedError',
      code: 'noWriteRight',
      number: 10,
      field: 'share',
      value: String(2n ** 60n),
      severity: 'refuse',
    });
    expect(error.message).toBe(
      'write of 2 blocks at block 3 in nvme0/data: the share may not be written (share = 1152921504606846976); ask the administrator for write access',
    );
  });

  it('of a device has the names of the specification', async () => {
    await start();
    server.onSubmit = (submitted, connection) =>
      connection.complete(submitted, () => ({ code: Code.deviceError, field: Field.status, status: 0x281 }));
    const error = await errorOf(disk.read(0, 512));
    expect(error).toBeInstanceOf(DeviceError);
    expect(error).toMatchObject({ code: 'deviceError', status: 0x281, statusType: 2, statusCode: 0x81, statusName: 'Unrecovered Read Error' });
    expect(error.message).toContain('Media and Data Integrity Errors, SCT 2, SC 0x81');
    server.onSubmit = (submitted, connection) => connection.complete(submitted, () => ({ code: Code.deviceError, status: 0x7c5 }));
    expect(await errorOf(disk.flush())).toMatchObject({ statusName: 'status code 0xc5', statusType: 7 });
  });

  it('for another reason tells it with its own code', async () => {
    await start();
    for (const code of ['timeout', 'deviceLost', 'aborted'] as const) {
      server.onSubmit = (submitted, connection) => connection.complete(submitted, () => ({ code: Code[code] }));
      const error = await errorOf(disk.flush());
      expect(error).toBeInstanceOf(RingwardenError);
      expect(error).not.toBeInstanceOf(RefusedError);
      expect(error).toMatchObject({ code, number: Code[code] });
    }
  });

  it('in many parts sends no more, and rejects when none is in flight', async () => {
    await start({ shares: [share(0, 'data', 4_096, 512, 1)] }, 4);
    hold();
    let rejected = false;
    const read = disk.read(0, 100 * 512).catch((error: unknown) => {
      rejected = true;
      throw error;
    });
    const failure = errorOf(read);
    await until(() => held.length === 1);
    const { submitted, connection } = held[0];
    held.length = 0;
    connection.complete({ ...submitted, entries: submitted.entries.slice(0, 1) }, () => ({ code: Code.timeout }));
    await client.ping();
    expect([rejected, held.length, device.inFlight]).toEqual([false, 0, 3]);
    connection.complete({ ...submitted, entries: submitted.entries.slice(1), data: submitted.data.slice(1) });
    expect(await failure).toMatchObject({ code: 'timeout' });
    expect(server.messages('submit').length).toBe(1);
    expect(device.inFlight).toBe(0);
  });
});

describe('an aborted request', () => {
  it('rejects at once with the reason, and keeps its slot until the server answers', async () => {
    await start({ limits: { stagingBytes: 4_096 } }, 2);
    hold();
    const abort = new AbortController();
    const memory = new Uint8Array(512);
    server.blocks[0].fill(0xaa);
    const read = disk.read(0, 512, { signal: abort.signal, into: memory });
    await until(() => held.length === 1);
    abort.abort(new Error('enough'));
    expect((await errorOf(read)).message).toBe('enough');
    expect(device.inFlight).toBe(1);
    const next = disk.read(512, 512);
    await client.ping();
    expect(held.length).toBe(1);
    release();
    await until(() => held.length === 1);
    release();
    expect((await next)[0]).toBe(0xaa);
    expect(memory.every((value) => value === 0)).toBe(true);
    expect(device.inFlight).toBe(0);
  });

  it('that was not sent is never sent', async () => {
    await start({}, 2);
    hold();
    const first = [disk.flush(), disk.flush()];
    await until(() => held.length === 1);
    const abort = new AbortController();
    const waiting = disk.write(0, bytes(512), { signal: abort.signal });
    const after = disk.flush();
    abort.abort();
    expect((await errorOf(waiting)).name).toBe('AbortError');
    release();
    await until(() => held.length === 1);
    expect(held[0].submitted.entries.map(({ operation }) => operation)).toEqual([Operation.flush]);
    release();
    await Promise.all([...first, after]);
  });

  it('with a signal that was aborted before is not sent', async () => {
    await start();
    const signal = AbortSignal.abort();
    const calls = [
      disk.read(0, 512, { signal }),
      disk.flush({ signal }),
      disk.batch().submit({ signal }),
      client.listDevices({ signal }),
      client.allocate(4_096, { signal }),
      client.openDevice('nvme0', { signal }),
      device.reset({ signal }),
      client.domain({ signal }),
    ];
    const sent = server.received.length;
    for (const call of calls) expect((await errorOf(call)).name).toBe('AbortError');
    await client.ping();
    expect(server.received.length).toBe(sent + 1);
    const batch = disk.batch();
    batch.flush();
    expect((await errorOf(batch.submit({ signal }))).name).toBe('AbortError');
  });

  it('of a batch rejects the batch, whose requests are still accounted for', async () => {
    await start();
    hold();
    const abort = new AbortController();
    const batch = disk.batch();
    const read = batch.read(0, 512);
    batch.flush();
    const done = batch.submit({ signal: abort.signal });
    await until(() => held.length === 1);
    abort.abort();
    expect((await errorOf(done)).name).toBe('AbortError');
    expect(() => read.value).toThrow(RefusedError);
    expect(device.inFlight).toBe(2);
    release();
    await until(() => device.inFlight === 0);
  });

  it('puts one listener on its signal, and leaves none', async () => {
    await start();
    const { signal } = new AbortController();
    let listeners = 0;
    let most = 0;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      most = Math.max(most, ++listeners);
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--;
      remove(...args);
    };
    await Promise.all(Array.from({ length: 40 }, () => disk.read(0, 512, { signal })));
    expect(most).toBe(1);
    const batch = disk.batch();
    batch.flush();
    await batch.submit({ signal });
    await disk.batch().submit({ signal });
    await client.ping({ signal });
    await client.domain({ signal });
    await device.reset({ signal });
    const stream = device.events({ signal });
    await stream.return();
    expect(listeners).toBe(0);
  });
});

describe('a reset', () => {
  it('holds requests back, then sends them with the new generation', async () => {
    await start();
    let answer: (() => void) | undefined;
    server.script('resetLease', (message, connection) => {
      answer = () => connection.send({ type: 'answer', id: message['id'], generation: 9 });
      return null;
    });
    const reset = device.reset();
    const flush = disk.flush();
    await until(() => answer !== undefined);
    await client.ping();
    expect(server.messages('submit').length).toBe(0);
    answer?.();
    await Promise.all([reset, flush]);
    expect(device.generation).toBe(9);
    expect(new Uint32Array(Uint8Array.from(server.messages('submit')[0]['entries'] as Uint8Array).buffer)[1]).toBe(9);
  });

  it("of our own ends what crossed its way with reset, which anybody else's does not hide", async () => {
    await start();
    hold();
    let answer: (() => void) | undefined;
    server.script('resetLease', (message, connection) => {
      answer = () => connection.send({ type: 'answer', id: message['id'], generation: 9 });
      return null;
    });
    const first = errorOf(disk.flush());
    await until(() => held.length === 1);
    const reset = device.reset();
    await until(() => answer !== undefined);
    release(() => ({ code: Code.leaseNotActive }));
    expect(await first).toMatchObject({ code: 'reset' });
    answer?.();
    await reset;
    const late = errorOf(disk.flush());
    await until(() => held.length === 1);
    server.connection.event('reset', { lease: device.lease, generation: 10, reason: 'another' });
    release(() => ({ code: Code.leaseNotActive }));
    expect(await late).toMatchObject({ code: 'reset' });
    const second = errorOf(disk.flush());
    await until(() => held.length === 1);
    release(() => ({ code: Code.leaseNotActive }));
    expect(await second).toMatchObject({ code: 'leaseNotActive' });
  });

  it('beside another one holds requests back until both ended', async () => {
    await start();
    const answers: (() => void)[] = [];
    server.script('resetLease', (message, connection) => {
      const generation = 10 + answers.length;
      answers.push(() => connection.send({ type: 'answer', id: message['id'], generation }));
      return null;
    });
    const resets = [device.reset(), device.reset()];
    await until(() => answers.length === 2);
    answers[0]();
    await resets[0];
    const flush = disk.flush();
    await client.ping();
    expect(server.messages('submit').length).toBe(0);
    answers[1]();
    await Promise.all([...resets, flush]);
    expect(device.generation).toBe(11);
  });

  it('that is refused lets requests go on', async () => {
    await start();
    server.script('resetLease', (message, connection) => {
      connection.refuse(Number(message['id']), 'draining');
      return null;
    });
    const flush = disk.flush();
    expect(await errorOf(device.reset())).toMatchObject({ code: 'draining' });
    await flush;
  });

  it('by an event ends what was in flight with reset, whichever came first', async () => {
    await start();
    hold();
    const crossed = [disk.flush(), disk.flush()];
    await until(() => held.length === 1);
    const failures = crossed.map(errorOf);
    const { connection } = held[0];
    connection.event('reset', { lease: device.lease, generation: 5, reason: 'controller reset' });
    release((_, index) => ({ code: index === 0 ? Code.reset : Code.staleGeneration }));
    for (const failure of failures) expect(await failure).toMatchObject({ code: 'reset', number: Code.reset });
    expect(device.generation).toBe(5);
    const after = disk.flush();
    await until(() => held.length === 1);
    expect(held[0].submitted.entries[0].generation).toBe(5);
    release();
    await after;
  });
});
