import { describe, expect, test } from 'vitest';
import { Faults, type FaultMatch } from '../../../src/hw/emulated/faults.js';
import type { Fault, FaultAction } from '../../../src/hw/emulated/index.js';
import { AdminOpcode, CSTS, NvmOpcode, Sqe, Status, getField } from '../../../src/hw/nvme/spec/index.js';
import { type RawCompletion, RawNvme, type RawPair, blocks, eventually, quiet } from '../../support/raw-nvme.js';
import { MIB, PAGE, openBacking, startHost } from './world.js';

const flush = { opcode: NvmOpcode.flush, nsid: 1 };
const nothing = { opcode: AdminOpcode.getFeatures, words: { [Sqe.cdw10]: 1 } };

/** A controller whose next I/O command meets the fault. */
async function faulty(
  action: FaultAction,
  match: FaultMatch = { queue: 'io', nth: 1 },
): Promise<{ host: RawNvme; pair: RawPair; backing: RawNvme['backing'] }> {
  const { backing, host } = await startHost({ faults: [{ match, action }] });
  return { backing, host, pair: await host.createPair(1, 16) };
}

describe('matching', () => {
  const match = (fault: FaultMatch, queue: number, opcode = 1, namespace = 1, lba = 0, count = 1): boolean =>
    new Faults([{ match: fault, action: { kind: 'drop' } }]).find(queue, opcode, namespace, lba, count) !== undefined;

  test('by queue, opcode, namespace and block', () => {
    expect([match({}, 0), match({}, 3)]).toEqual([true, true]);
    expect([match({ queue: 'admin' }, 0), match({ queue: 'admin' }, 1)]).toEqual([true, false]);
    expect([match({ queue: 'io' }, 0), match({ queue: 'io' }, 1)]).toEqual([false, true]);
    expect([match({ queue: 2 }, 2), match({ queue: 2 }, 1)]).toEqual([true, false]);
    expect([match({ opcode: 1 }, 1, 1), match({ opcode: 2 }, 1, 1)]).toEqual([true, false]);
    expect([match({ namespace: 1 }, 1, 1, 1), match({ namespace: 2 }, 1, 1, 1)]).toEqual([true, false]);
    const at = (lba: number, first: number, count: number): boolean => match({ lba }, 1, 1, 1, first, count);
    expect([at(9, 9, 1), at(9, 5, 5), at(9, 5, 4), at(9, 10, 5)]).toEqual([true, true, false, false]);
    expect(match({ lba: 0 }, 0, 1, 1, -1, 1)).toBe(false);
  });

  test('by count', () => {
    const count = (fault: FaultMatch): number[] => {
      const faults = new Faults([{ match: fault, action: { kind: 'drop' } }]);
      return Array.from({ length: 9 }, (_, index) => index + 1).filter(() => faults.find(1, 1, 1, 0, 1) !== undefined);
    };
    expect(count({ nth: 3 })).toEqual([3]);
    expect(count({ every: 3 })).toEqual([3, 6, 9]);
    expect(count({ nth: 4, every: 3 })).toEqual([]);
    expect(count({ opcode: 2 })).toEqual([]);
  });

  test('the first that applies decides, all that match count', () => {
    const faults = new Faults([
      { match: { nth: 2 }, action: { kind: 'fatal' } },
      { match: { every: 2 }, action: { kind: 'drop' } },
    ]);
    const found = Array.from({ length: 4 }, () => faults.find(1, 1, 1, 0, 1)?.kind);
    expect(found).toEqual([undefined, 'fatal', undefined, 'drop']);
  });

  test.each<Fault>([
    { match: { nth: 0 }, action: { kind: 'drop' } },
    { match: { every: 1.5 }, action: { kind: 'drop' } },
    { match: {}, action: { kind: 'delay', milliseconds: -1 } },
    { match: {}, action: { kind: 'delay', milliseconds: NaN } },
    { match: {}, action: { kind: 'status', type: 8, code: 0 } },
    { match: {}, action: { kind: 'status', type: 0, code: 256 } },
  ])('refuses %o', async (fault) => {
    await expect(openBacking({ faults: [fault] })).rejects.toThrow(RangeError);
    const backing = await openBacking();
    expect(() => backing.setFaults([fault]).next()).toThrow(RangeError);
  });
});

describe('actions', () => {
  test('drop: the command is never heard of again, the next one is', async () => {
    const { host, pair } = await faulty({ kind: 'drop' });
    const lost = host.submit(pair.submission, flush);
    const completion = await host.io(pair, flush);
    expect(completion).toMatchObject({ status: 0, submissionHead: 2 });
    expect(await host.admin({ opcode: AdminOpcode.abort, words: { [Sqe.cdw10]: (1 | (lost << 16)) >>> 0 } })).toMatchObject({ status: 0, dword0: 1 });
    await host.admin({ opcode: AdminOpcode.deleteSubmissionQueue, words: { [Sqe.cdw10]: 1 } });
    expect(host.peek(pair.completion)).toBeUndefined();
  });

  test('hang: the command ends with its queue', async () => {
    const { host, pair } = await faulty({ kind: 'hang' });
    const id = host.submit(pair.submission, flush);
    await quiet(host.backing, 4);
    expect(host.peek(pair.completion)).toBeUndefined();
    await host.admin({ opcode: AdminOpcode.deleteSubmissionQueue, words: { [Sqe.cdw10]: 1 } });
    expect(await host.completion(pair.completion)).toMatchObject({ commandId: id, status: Status.abortedQueueDeleted });
  });

  test('delay: the command is carried out later, DMA included, and others pass it', async () => {
    const { host, pair } = await faulty({ kind: 'delay', milliseconds: 50 }, { opcode: NvmOpcode.read });
    const data = await host.allocate(PAGE);
    data.u8.fill(0xaa);
    const begun = performance.now();
    const late = host.submit(pair.submission, { opcode: NvmOpcode.read, nsid: 1, prp1: data.at(0), words: blocks(0, 8) });
    expect((await host.execute(pair.submission, pair.completion, flush)).status).toBe(0);
    expect(data.u8[0]).toBe(0xaa);
    expect(await host.completion(pair.completion)).toMatchObject({ commandId: late, status: 0 });
    expect(performance.now() - begun).toBeGreaterThanOrEqual(50);
    expect(data.u8.every((byte) => byte === 0)).toBe(true);
  });

  test('delay: memory that went away meanwhile is not reached', async () => {
    const { host, pair } = await faulty({ kind: 'delay', milliseconds: 20 }, { opcode: NvmOpcode.read });
    const data = await host.allocate(PAGE);
    host.submit(pair.submission, { opcode: NvmOpcode.read, nsid: 1, prp1: data.at(0), words: blocks(0, 8) });
    await quiet(host.backing, 2);
    await host.free(data);
    expect((await host.completion(pair.completion)).status).toBe(0);
  });

  test('delay: a reset forgets the command', async () => {
    const { host, pair } = await faulty({ kind: 'delay', milliseconds: 1 });
    host.submit(pair.submission, flush);
    await quiet(host.backing, 1);
    await host.disable();
    await new Promise((resolve) => setTimeout(resolve, 5));
    await quiet(host.backing, 4);
    expect(host.peek(pair.completion)).toBeUndefined();
  });

  test('status: the command is not carried out', async () => {
    const { host, pair } = await faulty({ kind: 'status', type: 2, code: 0x80 }, { opcode: NvmOpcode.write, lba: 7 });
    const data = await host.allocate(2 * PAGE);
    data.u8.fill(1);
    const write = (lba: number): Promise<RawCompletion> =>
      host.io(pair, { opcode: NvmOpcode.write, nsid: 1, prp1: data.at(0), words: blocks(lba, 1) });
    expect(await write(7)).toMatchObject({ status: Status.writeFault, more: true });
    expect((await write(6)).status).toBe(0);
    await host.io(pair, { opcode: NvmOpcode.read, nsid: 1, prp1: data.at(PAGE), words: blocks(6, 2) });
    expect([data.u8[PAGE], data.u8[PAGE + 512]]).toEqual([1, 0]);
  });

  test('corruptCommandId', async () => {
    const { host, pair } = await faulty({ kind: 'corruptCommandId' });
    const id = host.submit(pair.submission, flush);
    expect((await host.completion(pair.completion)).commandId).toBe(id ^ 0xffff);
    const given = await faulty({ kind: 'corruptCommandId', commandId: 0x1234 });
    given.host.submit(given.pair.submission, flush);
    expect((await given.host.completion(given.pair.completion)).commandId).toBe(0x1234);
    expect((await given.host.io(given.pair, flush)).status).toBe(0);
  });

  test('wrongQueue and wrongHead', async () => {
    const queue = await faulty({ kind: 'wrongQueue' });
    expect((await queue.host.io(queue.pair, flush)).submissionQueue).toBe(2);
    expect((await queue.host.io(queue.pair, flush)).submissionQueue).toBe(1);
    const given = await faulty({ kind: 'wrongQueue', queue: 0xffff });
    expect((await given.host.io(given.pair, flush)).submissionQueue).toBe(0xffff);
    const head = await faulty({ kind: 'wrongHead', head: 0xfffe });
    expect((await head.host.io(head.pair, flush)).submissionHead).toBe(0xfffe);
  });

  test('duplicate', async () => {
    const { host, pair } = await faulty({ kind: 'duplicate' });
    const first = await host.io(pair, flush);
    expect(await host.completion(pair.completion)).toEqual(first);
    expect((await host.io(pair, flush)).status).toBe(0);
  });

  test('a tampered completion of an event request comes with the event', async () => {
    const { backing, host } = await startHost({
      faults: [{ match: { opcode: AdminOpcode.asynchronousEventRequest }, action: { kind: 'duplicate' } }],
    });
    const id = host.submit(host.adminSubmission, { opcode: AdminOpcode.asynchronousEventRequest });
    expect((await host.admin(nothing)).status).toBe(0);
    await host.run(backing.injectEvent({ type: 7, information: 0 }));
    expect((await host.completion(host.adminCompletion)).commandId).toBe(id);
    expect((await host.completion(host.adminCompletion)).commandId).toBe(id);
  });

  test('fatal: the controller stops, and a reset brings it back', async () => {
    const { host, pair } = await faulty({ kind: 'fatal' });
    for (let count = 0; count < 3; count++) host.write(pair.submission, flush);
    host.ring(pair.submission);
    await host.status((csts) => getField(CSTS.fields.cfs, csts) === 1);
    host.submit(host.adminSubmission, nothing);
    await quiet(host.backing, 4);
    expect([host.peek(pair.completion), host.peek(host.adminCompletion)]).toEqual([undefined, undefined]);
    await host.disable();
    await host.enable();
    expect((await host.admin(nothing)).status).toBe(0);
  });

  test('removeDevice: the function is gone in mid-command', async () => {
    const { backing, host, pair } = await faulty({ kind: 'removeDevice' });
    host.submit(pair.submission, flush);
    await eventually(backing, 'loss of the device', () => backing.lost !== undefined);
    expect(await host.read32(CSTS.offset)).toBe(0xffff_ffff);
    expect(host.peek(pair.completion)).toBeUndefined();
    await host.stop();
  });

  test('faults can be taken away and begin to count anew', async () => {
    const { backing, host } = await startHost();
    const pair = await host.createPair(1);
    const fault: Fault = { match: { queue: 'io', nth: 2 }, action: { kind: 'status', type: 0, code: 6 } };
    for (let turn = 0; turn < 2; turn++) {
      await host.run(backing.setFaults([fault]));
      expect([(await host.io(pair, flush)).status, (await host.io(pair, flush)).status, (await host.io(pair, flush)).status]).toEqual([0, 6, 0]);
    }
    await host.run(backing.setFaults([]));
    for (let turn = 0; turn < 4; turn++) expect((await host.io(pair, flush)).status).toBe(0);
  });
});

test('work that waits for time keeps a sleeping engine awake', async () => {
  const { backing, host } = await startHost({
    faults: [{ match: { queue: 'io' }, action: { kind: 'delay', milliseconds: 5 } }],
    namespaces: [{ bytes: MIB }],
  });
  const { Epoll, shm } = await import('../../../src/native/shm.js');
  const pair = await host.createPair(1);
  host.submit(pair.submission, flush);
  backing.poll();
  const epoll = shm().epollCreate();
  for (const fd of backing.descriptors) shm().epollControl(epoll, 'add', fd, Epoll.in, 0);
  const events = new Int32Array(2);
  // An engine that sleeps for as long as nothing is to be read.
  for (let turn = 0; host.peek(pair.completion) === undefined; turn++) {
    expect(shm().epollWait(epoll, events, 5_000_000)).toBe(1);
    backing.poll();
  }
  expect(host.reap(pair.completion)[0].status).toBe(0);
  backing.poll();
  expect(shm().epollWait(epoll, events, 0)).toBe(0);
  shm().close(epoll);
});
