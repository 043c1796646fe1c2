import { describe, expect, test } from 'vitest';
import { AdminOpcode, ErrorEntry, ErrorEvent, EventType, FeatureId, LogPageId, NvmOpcode, Sqe, Status } from '../../../src/hw/nvme/spec/index.js';
import { type RawCompletion, type RawMemory, RawNvme, RawQueue, quiet } from '../../support/raw-nvme.js';
import { PAGE, startHost } from './world.js';

const SUBMISSION = AdminOpcode.createSubmissionQueue;
const COMPLETION = AdminOpcode.createCompletionQueue;

interface Creation {
  readonly id?: number;
  readonly size?: number;
  readonly flags?: number;
  readonly other?: number;
  readonly offset?: number;
}

/** Create command with everything right but what the test changes; `other` is the vector, or the completion queue. */
function create(
  host: RawNvme,
  opcode: number,
  memory: RawMemory,
  { id = 1, size = 15, flags = 1, other = 0, offset = 0 }: Creation = {},
): Promise<RawCompletion> {
  const words = { [Sqe.cdw10]: (id | (size << 16)) >>> 0, [Sqe.cdw11]: (flags | (other << 16)) >>> 0 };
  return host.admin({ opcode, prp1: memory.at(0) + BigInt(offset), words });
}

describe('creating a completion queue', () => {
  test.each([
    ['queue 0', { id: 0 }, Status.invalidQueueId],
    ['a queue beyond those granted', { id: 65 }, Status.invalidQueueId],
    ['the largest id there is', { id: 0xffff }, Status.invalidQueueId],
    ['one entry', { size: 0 }, Status.invalidQueueSize],
    ['more entries than MQES', { size: 1024 }, Status.invalidQueueSize],
    ['a queue that is not contiguous', { flags: 0 }, Status.invalidField],
    ['a vector beyond the table', { flags: 3, other: 4 }, Status.invalidInterruptVector],
    ['an address inside a page', { offset: 8 }, Status.invalidPrpOffset],
  ])('refuses %s', async (_what, change, status) => {
    const { host } = await startHost({ vectors: 4 }, 4);
    const memory = await host.allocate(PAGE);
    const completion = await create(host, COMPLETION, memory, change);
    expect(completion.status).toBe(status);
    expect(completion.doNotRetry).toBe(true);
    expect((await create(host, COMPLETION, memory)).status).toBe(0);
  });

  test('refuses an id that is taken', async () => {
    const { host } = await startHost();
    const memory = await host.allocate(PAGE);
    expect((await create(host, COMPLETION, memory)).status).toBe(0);
    expect((await create(host, COMPLETION, memory)).status).toBe(Status.invalidQueueId);
  });

  test('refuses any vector but 0 while MSI-X is off', async () => {
    const { host } = await startHost();
    const memory = await host.allocate(PAGE);
    expect((await create(host, COMPLETION, memory, { flags: 3, other: 1 })).status).toBe(Status.invalidInterruptVector);
    expect((await create(host, COMPLETION, memory, { flags: 3, other: 0 })).status).toBe(0);
  });

  test('refuses queues while CC names other entry sizes', async () => {
    const { host } = await startHost();
    const memory = await host.allocate(PAGE);
    await host.disable();
    await host.enable(1 << 20);
    expect((await create(host, COMPLETION, memory)).status).toBe(Status.invalidQueueSize);
  });
});

describe('creating a submission queue', () => {
  test.each([
    ['queue 0', { id: 0 }, Status.invalidQueueId],
    ['a queue beyond those granted', { id: 65 }, Status.invalidQueueId],
    ['one entry', { size: 0 }, Status.invalidQueueSize],
    ['more entries than MQES', { size: 1024 }, Status.invalidQueueSize],
    ['the admin completion queue', { other: 0 }, Status.invalidQueueId],
    ['a completion queue that cannot be', { other: 65 }, Status.invalidQueueId],
    ['a completion queue that is not there', { other: 2 }, Status.invalidCompletionQueue],
    ['a queue that is not contiguous', { flags: 0 }, Status.invalidField],
    ['an address inside a page', { offset: 64 }, Status.invalidPrpOffset],
  ])('refuses %s', async (_what, change, status) => {
    const { host } = await startHost();
    const memory = await host.allocate(2 * PAGE);
    await host.createCompletionQueue(1, 16);
    expect((await create(host, SUBMISSION, memory, { other: 1, ...change })).status).toBe(status);
    expect((await create(host, SUBMISSION, memory, { other: 1 })).status).toBe(0);
    expect((await create(host, SUBMISSION, memory, { other: 1 })).status).toBe(Status.invalidQueueId);
  });
});

describe('deleting queues', () => {
  const remove = (host: RawNvme, opcode: number, id: number): Promise<RawCompletion> => host.admin({ opcode, words: { [Sqe.cdw10]: id } });

  test('refuses the admin queues, queues that are not there, and completion queues in use', async () => {
    const { host } = await startHost();
    await host.createPair(1);
    for (const id of [0, 2, 0xffff]) {
      expect((await remove(host, AdminOpcode.deleteSubmissionQueue, id)).status).toBe(Status.invalidQueueId);
      expect((await remove(host, AdminOpcode.deleteCompletionQueue, id)).status).toBe(Status.invalidQueueId);
    }
    expect((await remove(host, AdminOpcode.deleteCompletionQueue, 1)).status).toBe(Status.invalidQueueDeletion);
    expect((await remove(host, AdminOpcode.deleteSubmissionQueue, 1)).status).toBe(0);
    expect((await remove(host, AdminOpcode.deleteCompletionQueue, 1)).status).toBe(0);
  });

  test('a queue can be made again, and starts at its first entry', async () => {
    const { host } = await startHost();
    for (let turn = 0; turn < 20; turn++) {
      const pair = await host.createPair(1, 4);
      for (let flush = 0; flush <= turn % 5; flush++) expect((await host.io(pair, { opcode: NvmOpcode.flush, nsid: 1 })).status).toBe(0);
      await host.deletePair(pair);
    }
  });

  test('commands that were not fetched are gone with their queue, and one made again does not see them', async () => {
    const { backing, host } = await startHost();
    const completion = await host.createCompletionQueue(1, 16);
    const first = await host.createSubmissionQueue(1, 16, 1);
    // The deletion stands before the flush in the admin queue's turn: both doorbells ring before the next step.
    const id = host.write(host.adminSubmission, { opcode: AdminOpcode.deleteSubmissionQueue, words: { [Sqe.cdw10]: 1 } });
    host.ring(host.adminSubmission);
    host.submit(first, { opcode: NvmOpcode.flush, nsid: 1 });
    expect(await host.completion(host.adminCompletion)).toMatchObject({ commandId: id, status: 0 });
    await quiet(backing, 4);
    expect(host.reap(completion)).toEqual([]);
    const second = await host.createSubmissionQueue(1, 16, 1);
    host.submit(second, { opcode: NvmOpcode.flush, nsid: 1 });
    expect((await host.completion(completion)).status).toBe(0);
    await quiet(backing, 4);
    expect(host.reap(completion)).toEqual([]);
  });
});

describe('rings', () => {
  test('wrap, turn the phase, and report the submission head', async () => {
    const { host } = await startHost();
    const pair = await host.createPair(1, 5);
    for (let turn = 0; turn < 23; turn++) {
      const completion = await host.io(pair, { opcode: NvmOpcode.flush, nsid: 1 });
      expect(completion).toMatchObject({ status: 0, submissionQueue: 1, submissionHead: (turn + 1) % 5, more: false, doNotRetry: false });
    }
  });

  test('several submission queues share a completion queue, in turn', async () => {
    const { host } = await startHost();
    const completions = await host.createCompletionQueue(1, 256);
    const queues: RawQueue[] = [];
    for (const id of [3, 1, 2]) queues.push(await host.createSubmissionQueue(id, 64, 1));
    for (const queue of queues) for (let index = 0; index < 32; index++) host.write(queue, { opcode: NvmOpcode.flush, nsid: 1 });
    for (const queue of queues) host.ring(queue);
    const order: number[] = [];
    while (order.length < 96) order.push((await host.completion(completions)).submissionQueue);
    // Arbitration bursts of 8 (the default): nobody waits for more than a burst of each of the others.
    const runs = order.join(' ').match(/(\d+)( \1)*/g) ?? [];
    expect(runs.length).toBe(12);
    for (const run of runs) expect(run.split(' ').length).toBe(8);
  });

  test('the arbitration burst can be changed', async () => {
    const { host } = await startHost();
    const completions = await host.createCompletionQueue(1, 256);
    const queues = [await host.createSubmissionQueue(1, 64, 1), await host.createSubmissionQueue(2, 64, 1)];
    await host.admin({ opcode: AdminOpcode.setFeatures, words: { [Sqe.cdw10]: FeatureId.arbitration, [Sqe.cdw11]: 0 } });
    for (const queue of queues) for (let index = 0; index < 4; index++) host.write(queue, { opcode: NvmOpcode.flush, nsid: 1 });
    for (const queue of queues) host.ring(queue);
    const order: number[] = [];
    while (order.length < 8) order.push((await host.completion(completions)).submissionQueue);
    expect(order).toEqual([1, 2, 1, 2, 1, 2, 1, 2]);
  });

  test('a full completion queue stops the commands that would need it, and nothing is lost or overwritten', async () => {
    const { backing, host } = await startHost();
    const completions = await host.createCompletionQueue(1, 4);
    const queues = [await host.createSubmissionQueue(1, 16, 1), await host.createSubmissionQueue(2, 16, 1)];
    const sent = queues.flatMap((queue) => Array.from({ length: 10 }, () => host.write(queue, { opcode: NvmOpcode.flush, nsid: 1 })));
    for (const queue of queues) host.ring(queue);
    await quiet(backing, 8);
    const got: number[] = [];
    let turns = 0;
    while (got.length < 20) {
      const batch = host.reap(completions);
      expect(batch.length).toBeLessThanOrEqual(3);
      got.push(...batch.map(({ commandId }) => commandId));
      await quiet(backing, 2);
      expect(++turns).toBeLessThan(100);
    }
    expect(got.toSorted((a, b) => a - b)).toEqual(sent);
    // The other queues go on meanwhile.
    expect((await host.admin({ opcode: AdminOpcode.getFeatures, words: { [Sqe.cdw10]: 1 } })).status).toBe(0);
  });

  test('completions that come by themselves wait for room in a full queue', async () => {
    const { backing, host } = await startHost();
    for (let index = 0; index < 3; index++) host.submit(host.adminSubmission, { opcode: AdminOpcode.asynchronousEventRequest });
    await quiet(backing, 2);
    const fill = 31;
    for (let index = 0; index < 28; index++) host.write(host.adminSubmission, { opcode: AdminOpcode.getFeatures, words: { [Sqe.cdw10]: 1 } });
    host.ring(host.adminSubmission);
    await quiet(backing, 4);
    for (let index = 0; index < fill - 28; index++) host.submit(host.adminSubmission, { opcode: AdminOpcode.getFeatures, words: { [Sqe.cdw10]: 1 } });
    await quiet(backing, 4);
    await host.run(backing.injectEvent({ type: EventType.vendor, information: 1 }));
    await host.run(backing.injectEvent({ type: EventType.vendor, information: 2 }));
    expect((await host.run(backing.inspect())).completionQueues[0].backlog).toBe(2);
    expect(host.reap(host.adminCompletion).length).toBe(31);
    expect((await host.completion(host.adminCompletion)).dword0 & 0xff07).toBe(0x0107);
    expect((await host.completion(host.adminCompletion)).dword0 & 0xff07).toBe(0x0207);
    expect((await host.run(backing.inspect())).completionQueues[0].backlog).toBe(0);
  });

  test('more commands than one step takes are all served', async () => {
    const { host } = await startHost();
    const pair = await host.createPair(1, 1024);
    for (let index = 0; index < 1000; index++) host.write(pair.submission, { opcode: NvmOpcode.flush, nsid: 1 });
    host.ring(pair.submission);
    for (let index = 0; index < 1000; index++) expect((await host.completion(pair.completion)).status).toBe(0);
  });
});

describe('wrong doorbells', () => {
  async function event(host: RawNvme): Promise<number> {
    return (await host.completion(host.adminCompletion)).dword0;
  }
  const invalidRegister = EventType.error | (ErrorEvent.invalidDoorbellRegister << 8) | (LogPageId.errorInformation << 16);
  const invalidValue = EventType.error | (ErrorEvent.invalidDoorbellValue << 8) | (LogPageId.errorInformation << 16);

  test.each([
    ['a tail at the size', 1, 'tail', 8, invalidValue],
    ['a huge tail', 1, 'tail', 0xffff, invalidValue],
    ['a tail that has not moved', 1, 'tail', 0, invalidValue],
    ['a head at the size', 1, 'head', 8, invalidValue],
    ['a head beyond what was completed', 1, 'head', 1, invalidValue],
    ['a head that has not moved', 1, 'head', 0, invalidValue],
    ['the tail of a queue that is not there', 2, 'tail', 1, invalidRegister],
    ['the head of a queue that is not there', 2, 'head', 1, invalidRegister],
    ['a queue that can never be', 200, 'tail', 1, invalidRegister],
  ] as const)('%s is an error event, and has no effect', async (_what, queue, which, value, expected) => {
    const { backing, host } = await startHost();
    const pair = await host.createPair(1, 8);
    host.submit(host.adminSubmission, { opcode: AdminOpcode.asynchronousEventRequest });
    await quiet(backing, 2);
    host.ringWith(queue, which, value);
    expect(await event(host)).toBe(expected);
    const data = await host.allocate(PAGE);
    expect((await host.admin({ opcode: AdminOpcode.getLogPage, prp1: data.at(0), words: { [Sqe.cdw10]: 1 | (15 << 16) } })).status).toBe(0);
    expect(data.u32[0]).toBe(1);
    expect(data.u32[ErrorEntry.sqid.at / 4]).toBe(0xffff_ffff);
    for (let turn = 0; turn < 10; turn++) expect((await host.io(pair, { opcode: NvmOpcode.flush, nsid: 1 })).status).toBe(0);
  });

  test('a tail that passes the head is an error event: the ring is not fuller than full', async () => {
    const { backing, host } = await startHost();
    const completions = await host.createCompletionQueue(1, 2);
    const queue = await host.createSubmissionQueue(1, 8, 1);
    host.submit(host.adminSubmission, { opcode: AdminOpcode.asynchronousEventRequest });
    for (let index = 0; index < 6; index++) host.write(queue, { opcode: NvmOpcode.flush, nsid: 1 });
    host.ring(queue);
    await quiet(backing, 4);
    // One was fetched, five wait because the completion queue is full: room for two more, not for three.
    host.ringWith(1, 'tail', 1);
    expect(await event(host)).toBe(invalidValue);
    host.ringWith(1, 'tail', 0);
    let done = 0;
    for (; done < 8; done++) await host.completion(completions);
    expect(done).toBe(8);
  });

  test('doorbells of a controller that is off do nothing', async () => {
    const { backing, host } = await startHost();
    await host.disable();
    host.ringWith(0, 'tail', 5);
    host.ringWith(7, 'head', 5);
    await host.enable();
    host.submit(host.adminSubmission, { opcode: AdminOpcode.asynchronousEventRequest });
    await quiet(backing, 4);
    expect(host.peek(host.adminCompletion)).toBeUndefined();
  });

  test('a doorbell write between two doorbells of a larger stride is ignored', async () => {
    const { backing, host } = await startHost({ doorbellStride: 2 });
    host.submit(host.adminSubmission, { opcode: AdminOpcode.asynchronousEventRequest });
    await quiet(backing, 2);
    host.bar.write32(0x1004, 9);
    await quiet(backing, 2);
    expect(host.peek(host.adminCompletion)).toBeUndefined();
  });
});

describe('queue memory that is not memory', () => {
  test('a submission queue in nothing fetches all ones, an opcode that is invalid', async () => {
    const { host } = await startHost();
    const completions = await host.createCompletionQueue(1, 16);
    const words = { [Sqe.cdw10]: (1 | (15 << 16)) >>> 0, [Sqe.cdw11]: (1 | (1 << 16)) >>> 0 };
    expect((await host.admin({ opcode: SUBMISSION, prp1: 0x7_0000_0000n, words })).status).toBe(0);
    host.ringWith(1, 'tail', 1);
    expect(await host.completion(completions)).toMatchObject({ commandId: 0xffff, status: Status.invalidField });
  });

  test('completions into nothing vanish, and the controller lives on', async () => {
    const { backing, host } = await startHost();
    const words = { [Sqe.cdw10]: (1 | (15 << 16)) >>> 0, [Sqe.cdw11]: 1 };
    expect((await host.admin({ opcode: COMPLETION, prp1: 0x7_0000_0000n, words })).status).toBe(0);
    const queue = await host.createSubmissionQueue(1, 16, 1);
    host.submit(queue, { opcode: NvmOpcode.flush, nsid: 1 });
    await quiet(backing, 4);
    expect((await host.run(backing.inspect())).completionQueues[1].tail).toBe(1);
    expect((await host.admin({ opcode: AdminOpcode.getFeatures, words: { [Sqe.cdw10]: 1 } })).status).toBe(0);
  });
});
