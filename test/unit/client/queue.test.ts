import { afterEach, describe, expect, it } from 'vitest';
import { type BlockDevice, type Client, connect, type Device, DeviceError, RefusedError, RingwardenError } from '../../../src/client/index.js';
import { Code, Field, Operation } from '../../../src/protocol/index.js';
import { type Connection, type ScriptedOptions, ScriptedServer, share, type Submitted } from './scripted-server.js';
import { bytes, errorOf, until } from './settled.js';

let server: ScriptedServer;
let client: Client;
let device: Device;
let disk: BlockDevice;
/** What arrived and was not completed yet. */
let held: { submitted: Submitted; connection: Connection }[];

async function start(options: ScriptedOptions = {}, queueEntries = 256): Promise<void> {
  server = await ScriptedServer.start(options);
  client = await connect({ socket: server.path });
  device = await client.openDevice('nvme0', { queueEntries });
  disk = device.share(0);
  held = [];
}

function hold(): void {
  server.onSubmit = (submitted, connection) => held.push({ submitted, connection });
}

/** Completes the oldest message that is held. */
function release(outcome?: Parameters<Connection['complete']>[1]): void {
  const next = held.shift();
  next?.connection.complete(next.submitted, outcome);
}

afterEach(async () => {
  await client.close();
  await server.stop();
});

const entriesHeld = (): number => held.reduce((sum, { submitted }) => sum + submitted.entries.length, 0);

describe('requests of one tick', () => {
  it('go out in one message, and those of the next tick in another', async () => {
    await start();
    hold();
    const all = [disk.flush(), disk.read(0, 512), disk.write(512, bytes(512))];
    await until(() => held.length === 1);
    all.push(disk.flush());
    await until(() => held.length === 2);
    expect(held.map(({ submitted }) => submitted.entries.length)).toEqual([3, 1]);
    release();
    release();
    await Promise.all(all);
    expect(device.inFlight).toBe(0);
  });

  it('have tags of their own, which are used again only with another sequence', async () => {
    await start({}, 2);
    const tags: bigint[] = [];
    server.onSubmit = (submitted, connection) => {
      tags.push(...submitted.entries.map(({ tag }) => tag));
      connection.complete(submitted);
    };
    for (let round = 0; round < 5; round++) await Promise.all([disk.flush(), disk.flush()]);
    expect(new Set(tags).size).toBe(10);
    expect(new Set(tags.map((tag) => tag & 0xffff_ffffn)).size).toBe(2);
  });

  it('may be completed in any order', async () => {
    await start();
    hold();
    server.blocks[0].set(bytes(4_096));
    const reads = Array.from({ length: 8 }, (_, block) => disk.readBlocks(block, 1));
    await until(() => held.length === 1);
    held[0].submitted.entries.reverse();
    held[0].submitted.data.reverse();
    release();
    expect(Buffer.concat(await Promise.all(reads))).toEqual(bytes(4_096));
  });
});

describe('the account of limits', () => {
  it('never has more in flight than the queue has entries', async () => {
    await start({}, 4);
    hold();
    const all = Array.from({ length: 11 }, () => disk.flush());
    for (let waiting = 11; waiting > 0; waiting -= 4) {
      await until(() => entriesHeld() === Math.min(4, waiting));
      expect(device.inFlight).toBe(Math.min(4, waiting));
      while (held.length > 0) release();
    }
    await Promise.all(all);
  });

  it('never has more in flight than the grant allows', async () => {
    await start({ maxInFlight: 3 }, 16);
    hold();
    expect(device.depth).toBe(3);
    const all = Array.from({ length: 5 }, () => disk.flush());
    await until(() => held.length === 1);
    expect(entriesHeld()).toBe(3);
    release();
    await until(() => held.length === 1);
    expect(entriesHeld()).toBe(2);
    release();
    await Promise.all(all);
  });

  it('never has more data in flight than the staging memory holds, in whole pages', async () => {
    await start({ limits: { stagingBytes: 3 * 4_096 } });
    hold();
    const all = [disk.read(0, 512), disk.write(0, bytes(512)), disk.flush(), disk.read(0, 512), disk.compare(0, bytes(512))];
    await until(() => held.length === 1);
    expect(held[0].submitted.entries.map(({ operation }) => operation)).toEqual([Operation.read, Operation.write, Operation.flush, Operation.read]);
    release();
    await until(() => held.length === 1);
    expect(entriesHeld()).toBe(1);
    release();
    await Promise.all(all);
  });

  it('shares the staging memory between devices, and wakes the one that waits', async () => {
    await start({ limits: { stagingBytes: 4_096 } });
    const other = (await client.openDevice('nvme1')).share(0);
    hold();
    const first = disk.read(0, 512);
    await until(() => held.length === 1);
    const second = other.read(0, 512);
    await client.ping();
    expect(held.length).toBe(1);
    release();
    await until(() => held.length === 1);
    expect(held[0].submitted.lease).toBe(2);
    release();
    await Promise.all([first, second]);
  });

  it('cuts messages at the limits of entries and of bytes', async () => {
    await start({ limits: { batch: 8, messageBytes: 100_000, stagingBytes: 1_048_576 } });
    const messages: number[] = [];
    server.onSubmit = (submitted, connection) => {
      messages.push(submitted.entries.length);
      connection.complete(submitted);
    };
    await Promise.all(Array.from({ length: 20 }, () => disk.flush()));
    expect(messages).toEqual([8, 8, 4]);
    await disk.write(0, bytes(1_048_576));
    expect(Math.max(...server.messageBytes)).toBeLessThanOrEqual(100_000);
    expect(server.blocks[0].subarray(0, 1_048_576).equals(bytes(1_048_576))).toBe(true);
  });

  it('cuts inline requests so that the staging memory holds several, and refuses blocks that never fit', async () => {
    await start({ limits: { stagingBytes: 64 * 1_024 } });
    hold();
    const read = disk.read(0, 128 * 512);
    await until(() => held.length === 1);
    expect(held[0].submitted.entries.map(({ length }) => length)).toEqual([16_384, 16_384, 16_384, 16_384]);
    release();
    await read;
    await client.close();
    await server.stop();
    await start({ limits: { stagingBytes: 4_095 } });
    expect(await errorOf(disk.read(0, 512))).toMatchObject({ code: 'stagingFull' });
    expect(await errorOf(disk.deallocateBlocks({ lba: 0, blocks: 1 }))).toMatchObject({ code: 'stagingFull' });
    const region = await client.allocate(4_096);
    await disk.readInto(region, 0, 0, 512);
  });

  it('lets a small request pass a long transfer', async () => {
    await start({ shares: [share(0, 'data', 4_096, 512, 1)] }, 4);
    hold();
    const ends: string[] = [];
    const long = disk.read(0, 400 * 512).then(() => ends.push('long'));
    await until(() => held.length === 1);
    const short = disk.flush().then(() => ends.push('short'));
    while (ends.length < 2) {
      await until(() => held.length > 0 || ends.length === 2);
      release();
    }
    await Promise.all([long, short]);
    expect(ends).toEqual(['short', 'long']);
  });

  it('gives everything back: a thousand transfers through a narrow queue', async () => {
    await start({ limits: { stagingBytes: 16_384 } }, 2);
    server.blocks[0].set(bytes(2_097_152));
    for (let round = 0; round < 20; round++) {
      const reads = await Promise.all(Array.from({ length: 50 }, (_, index) => disk.read(index * 4_096, 4_096)));
      expect(Buffer.concat(reads).equals(bytes(50 * 4_096))).toBe(true);
    }
    expect(device.inFlight).toBe(0);
  });
});

describe('a batch', () => {
  it('is one message and one await, with a result for each request', async () => {
    await start();
    server.blocks[0].set(bytes(1_024));
    const batch = disk.batch();
    const read = batch.read(0, 1_024);
    const write = batch.writeBlocks(10, bytes(512, 7));
    const same = batch.compare(0, bytes(512));
    const differs = batch.compareBlocks(1, bytes(512));
    batch.flush();
    batch.writeZeroBlocks(20, 1);
    batch.deallocateBlocks([{ lba: 30, blocks: 2 }]);
    const block = batch.readBlocks(1, 1, { into: new Uint8Array(512) });
    expect(batch.length).toBe(8);
    expect(() => read.value).toThrow(RefusedError);
    await batch.submit();
    expect(server.messages('submit').length).toBe(1);
    expect(read.value).toEqual(bytes(1_024));
    expect(block.value).toEqual(bytes(1_024).subarray(512));
    expect([write.value, write.error, same.value, differs.value, differs.error]).toEqual([undefined, undefined, true, false, undefined]);
    expect(server.blocks[0].subarray(10 * 512, 11 * 512)).toEqual(bytes(512, 7));
  });

  it('uses regions too', async () => {
    await start();
    const region = await client.allocate(8_192);
    await region.write(0, bytes(4_096));
    const first = disk.batch();
    first.writeFrom(region, 0, 0, 4_096, { durable: true });
    await first.submit();
    const second = disk.batch();
    second.readInto(region, 4_096, 0, 4_096);
    const equal = second.compareWith(region, 0, 0, 4_096);
    await second.submit();
    expect(await region.read(4_096, 4_096)).toEqual(bytes(4_096));
    expect(equal.value).toBe(true);
  });

  it('says of each request what became of it', async () => {
    await start();
    server.onSubmit = (submitted, connection) =>
      connection.complete(submitted, (entry) =>
        entry.lba === 5n
          ? { code: Code.noWriteRight, field: Field.share, value: 3n }
          : entry.lba === 6n
            ? { code: Code.deviceError, status: 0x281 }
            : {},
      );
    const batch = disk.batch();
    const entries = [4, 5, 6, 7].map((lba) => batch.writeBlocks(lba, bytes(512)));
    await batch.settle();
    expect(entries.map(({ error }) => (error as RingwardenError | undefined)?.code)).toEqual([undefined, 'noWriteRight', 'deviceError', undefined]);
    expect(() => entries[2].value).toThrow(DeviceError);
    const again = disk.batch();
    again.writeBlocks(6, bytes(512));
    const refused = again.writeBlocks(5, bytes(512));
    expect(await errorOf(again.submit())).toMatchObject({ code: 'deviceError' });
    expect(refused.error).toMatchObject({ code: 'noWriteRight' });
  });

  it('refuses bad arguments when they are added, and a second use', async () => {
    await start();
    const batch = disk.batch();
    expect(() => batch.read(1, 512)).toThrow(expect.objectContaining({ code: 'misaligned' }));
    expect(batch.length).toBe(0);
    await batch.submit();
    expect(() => batch.flush()).toThrow(RefusedError);
    expect(await errorOf(batch.submit())).toMatchObject({ code: 'invalidArgument' });
    expect(server.messages('submit').length).toBe(0);
  });

  it('longer than a message and than the queue is sent as there is room', async () => {
    await start({}, 16);
    const messages: number[] = [];
    server.onSubmit = (submitted, connection) => {
      messages.push(submitted.entries.length);
      connection.complete(submitted);
    };
    const batch = disk.batch();
    for (let index = 0; index < 40; index++) batch.flush();
    await batch.submit();
    expect(messages).toEqual([16, 16, 8]);
  });
});

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
