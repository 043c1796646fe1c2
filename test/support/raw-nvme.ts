/**
 * A small NVMe host for tests: it writes registers, queue entries and PRPs itself, right or wrong as the test wants, and shares nothing with
 * the driver but the tables of the specification.
 */
import type { AttachOptions, Backing, Bar, DmaMemory } from '../../src/hw/backing.js';
import {
  ACQ,
  AQA,
  ASQ,
  AdminOpcode,
  CAP,
  CC,
  COMPLETION_WORDS,
  CSTS,
  CqeStatus,
  Sqe,
  completionDoorbell,
  getField,
  putField,
  submissionDoorbell,
} from '../../src/hw/nvme/spec/index.js';
import { createFile, needsHugePages } from '../../src/hw/dma/index.js';
import type { Task } from '../../src/hw/task.js';
import { shm } from '../../src/native/shm.js';

const DEADLINE_MS = 10_000;
const PAGE = 4096;

export interface RawCommand {
  readonly opcode: number;
  readonly nsid?: number;
  /** Bus addresses of PRP1 and PRP2. */
  readonly prp1?: bigint;
  readonly prp2?: bigint;
  /** Other words, by index (see `Sqe`); they win over everything above. */
  readonly words?: Readonly<Record<number, number>>;
}

export interface RawCompletion {
  readonly commandId: number;
  /** Type << 8 | code. */
  readonly status: number;
  readonly dword0: number;
  readonly submissionQueue: number;
  readonly submissionHead: number;
  readonly more: boolean;
  readonly doNotRetry: boolean;
}

/** Steps a task to its end, with the backing polled and the event loop running meanwhile. */
export async function finish<T>(backing: Backing, task: Task<T>): Promise<T> {
  const deadline = performance.now() + DEADLINE_MS;
  for (let turn = 1; ; turn++) {
    const step = task.next();
    if (step.done === true) return step.value;
    backing.poll();
    // Turns of the event loop are slow; the device thread does not need them, a flush does.
    if (turn % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
    if (performance.now() > deadline) throw new Error('a task did not end');
  }
}

/** Polls until `ready` holds. */
export async function eventually(backing: Backing, what: string, ready: () => boolean): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  for (let turn = 1; !ready(); turn++) {
    backing.poll();
    if (turn % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
    if (performance.now() > deadline) throw new Error(`${what}: did not happen`);
  }
}

/** Polls for a while in which something must not happen. */
export async function quiet(backing: Backing, turns = 64): Promise<void> {
  for (let turn = 0; turn < turns; turn++) {
    backing.poll();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Memory that a test made: its file, this thread's views of it, and bus addresses. */
export class RawMemory {
  readonly memory: DmaMemory;
  readonly u8: Uint8Array;
  readonly u32: Uint32Array;

  constructor(memory: DmaMemory) {
    this.memory = memory;
    this.u8 = new Uint8Array(memory.buffer);
    this.u32 = new Uint32Array(memory.buffer);
  }

  /** Bus address of a byte. */
  at(offset: number): bigint {
    const page = Math.floor(offset / PAGE);
    return (BigInt(this.memory.pageHigh[page]) << 32n) | BigInt(this.memory.pageLow[page] + (offset % PAGE));
  }
}

/** One ring pair, or several submission queues on one completion queue. */
export class RawQueue {
  readonly id: number;
  readonly entries: number;
  readonly memory: RawMemory;
  readonly offset: number;
  tail = 0;

  constructor(id: number, entries: number, memory: RawMemory, offset: number) {
    this.id = id;
    this.entries = entries;
    this.memory = memory;
    this.offset = offset;
  }
}

export class RawCompletionQueue extends RawQueue {
  head = 0;
  phase = 1;
}

export class RawNvme {
  readonly backing: Backing;
  readonly bar: Bar;
  readonly #fds = new Map<DmaMemory, number>();
  #stride = 0;
  #nextId = 0;
  adminSubmission!: RawQueue;
  adminCompletion!: RawCompletionQueue;

  private constructor(backing: Backing) {
    this.backing = backing;
    this.bar = backing.bar(0);
  }

  /** Claims the function and turns it on, with admin queues of `entries` entries. */
  static async start(backing: Backing, entries = 32, vectors = 0): Promise<RawNvme> {
    await finish(backing, backing.claim());
    const host = new RawNvme(backing);
    host.#stride = getField(CAP.fields.dstrd, 0, Number((await host.run(host.bar.read64(CAP.offset))) >> 32n));
    if (vectors > 0) await host.run(backing.interrupts.enable(vectors));
    await host.prepareAdmin(entries);
    await host.enable();
    return host;
  }

  run<T>(task: Task<T>): Promise<T> {
    return finish(this.backing, task);
  }

  read32(offset: number): Promise<number> {
    return this.run(this.bar.read32(offset));
  }

  /** Memory of the test's own, zeroed. */
  async allocate(bytes: number, options: AttachOptions = {}): Promise<RawMemory> {
    const fd = createFile('raw-nvme', bytes, needsHugePages(this.backing, bytes, options.contiguous === true));
    const memory = await this.run(this.backing.attach(fd, bytes, options));
    this.#fds.set(memory, fd);
    return new RawMemory(memory);
  }

  async free({ memory }: RawMemory): Promise<void> {
    await this.run(this.backing.detach(memory));
    const fd = this.#fds.get(memory);
    this.#fds.delete(memory);
    if (fd !== undefined) shm().close(fd);
  }

  /** Writes the admin queue registers. */
  async prepareAdmin(entries: number): Promise<void> {
    const submission = await this.allocate(roundUp(entries * 64), { contiguous: true, owner: 'host' });
    const completion = await this.allocate(roundUp(entries * 16), { contiguous: true, owner: 'host' });
    this.adminSubmission = new RawQueue(0, entries, submission, 0);
    this.adminCompletion = new RawCompletionQueue(0, entries, completion, 0);
    this.bar.write32(AQA.offset, putField(AQA.fields.asqs, entries - 1) | putField(AQA.fields.acqs, entries - 1));
    this.bar.write64(ASQ.offset, submission.at(0));
    this.bar.write64(ACQ.offset, completion.at(0));
  }

  async enable(extra = 0): Promise<void> {
    const { fields } = CC;
    this.bar.write32(CC.offset, (putField(fields.en, 1) | putField(fields.iosqes, 6) | putField(fields.iocqes, 4) | extra) >>> 0);
    await this.status((csts) => getField(CSTS.fields.rdy, csts) === 1 || getField(CSTS.fields.cfs, csts) === 1);
  }

  /** CC.EN to 0; the admin queue starts again at its first entry. */
  async disable(): Promise<void> {
    this.bar.write32(CC.offset, 0);
    await this.status((csts) => getField(CSTS.fields.rdy, csts) === 0);
    this.adminSubmission.tail = 0;
    this.adminCompletion.head = 0;
    this.adminCompletion.phase = 1;
    this.adminCompletion.memory.u8.fill(0);
  }

  /** Waits until the status register is as wanted, and returns it. */
  async status(wanted: (csts: number) => boolean): Promise<number> {
    const deadline = performance.now() + DEADLINE_MS;
    for (;;) {
      const csts = await this.read32(CSTS.offset);
      if (wanted(csts)) return csts;
      this.backing.poll();
      await new Promise((resolve) => setImmediate(resolve));
      if (performance.now() > deadline) throw new Error(`CSTS stays 0x${csts.toString(16)}`);
    }
  }

  /** Puts a command into the ring, without a doorbell. Returns its identifier. */
  write(queue: RawQueue, command: RawCommand): number {
    const id = this.#nextId;
    this.#nextId = (this.#nextId + 1) & 0xffff;
    const words = new Uint32Array(16);
    words[Sqe.cdw0] = command.opcode | (id << 16);
    words[Sqe.nsid] = command.nsid ?? 0;
    putAddress(words, Sqe.prp1Low, command.prp1 ?? 0n);
    putAddress(words, Sqe.prp2Low, command.prp2 ?? 0n);
    for (const [index, value] of Object.entries(command.words ?? {})) words[Number(index)] = value;
    queue.memory.u32.set(words, (queue.offset + 64 * queue.tail) / 4);
    queue.tail = (queue.tail + 1) % queue.entries;
    return words[Sqe.cdw0] >>> 16;
  }

  ring(queue: RawQueue): void {
    this.bar.write32(submissionDoorbell(queue.id, this.#stride), queue.tail);
  }

  /** Writes any value to any doorbell. */
  ringWith(queue: number, which: 'tail' | 'head', value: number): void {
    const offset = which === 'tail' ? submissionDoorbell(queue, this.#stride) : completionDoorbell(queue, this.#stride);
    this.bar.write32(offset, value);
  }

  submit(queue: RawQueue, command: RawCommand): number {
    const id = this.write(queue, command);
    this.ring(queue);
    return id;
  }

  /** The next completion, without telling the device that it was taken. */
  peek(queue: RawCompletionQueue): RawCompletion | undefined {
    const words = new Int32Array(queue.memory.memory.buffer, queue.offset + 16 * queue.head, COMPLETION_WORDS);
    const status = Atomics.load(words, 3);
    if (getField(CqeStatus.p, status) !== queue.phase) return undefined;
    return {
      commandId: getField(CqeStatus.cid, status),
      status: (getField(CqeStatus.sct, status) << 8) | getField(CqeStatus.sc, status),
      dword0: words[0] >>> 0,
      submissionQueue: words[2] >>> 16,
      submissionHead: words[2] & 0xffff,
      more: getField(CqeStatus.m, status) === 1,
      doNotRetry: getField(CqeStatus.dnr, status) === 1,
    };
  }

  /** Takes completions as long as there are any; one doorbell for all. */
  reap(queue: RawCompletionQueue): RawCompletion[] {
    const taken: RawCompletion[] = [];
    for (let one = this.peek(queue); one !== undefined; one = this.peek(queue)) {
      taken.push(one);
      queue.head++;
      if (queue.head === queue.entries) {
        queue.head = 0;
        queue.phase ^= 1;
      }
    }
    if (taken.length > 0) this.bar.write32(completionDoorbell(queue.id, this.#stride), queue.head);
    return taken;
  }

  /** Waits for the next completion and takes it. */
  async completion(queue: RawCompletionQueue): Promise<RawCompletion> {
    await eventually(this.backing, `completion on queue ${queue.id}`, () => this.peek(queue) !== undefined);
    const taken = this.peek(queue);
    if (taken === undefined) throw new Error('the completion went away');
    queue.head++;
    if (queue.head === queue.entries) {
      queue.head = 0;
      queue.phase ^= 1;
    }
    this.bar.write32(completionDoorbell(queue.id, this.#stride), queue.head);
    return taken;
  }

  /** One command, and its completion. */
  async execute(queue: RawQueue, completions: RawCompletionQueue, command: RawCommand): Promise<RawCompletion> {
    const id = this.submit(queue, command);
    const completion = await this.completion(completions);
    if (completion.commandId !== id) throw new Error(`completion of ${completion.commandId}, not of ${id}`);
    return completion;
  }

  admin(command: RawCommand): Promise<RawCompletion> {
    return this.execute(this.adminSubmission, this.adminCompletion, command);
  }

  /** A completion queue; `vector` -1: no interrupts. Throws if the controller refuses it. */
  async createCompletionQueue(id: number, entries: number, vector = -1): Promise<RawCompletionQueue> {
    const memory = await this.allocate(roundUp(entries * 16), { contiguous: true, owner: 'host' });
    const cdw11 = vector < 0 ? 1 : 3 | (vector << 16);
    const command = {
      opcode: AdminOpcode.createCompletionQueue,
      prp1: memory.at(0),
      words: { [Sqe.cdw10]: (id | ((entries - 1) << 16)) >>> 0, [Sqe.cdw11]: cdw11 },
    };
    expectSuccess(await this.admin(command));
    return new RawCompletionQueue(id, entries, memory, 0);
  }

  async createSubmissionQueue(id: number, entries: number, completionQueue: number): Promise<RawQueue> {
    const memory = await this.allocate(roundUp(entries * 64), { contiguous: true, owner: 'host' });
    const words = { [Sqe.cdw10]: (id | ((entries - 1) << 16)) >>> 0, [Sqe.cdw11]: (1 | (completionQueue << 16)) >>> 0 };
    expectSuccess(await this.admin({ opcode: AdminOpcode.createSubmissionQueue, prp1: memory.at(0), words }));
    return new RawQueue(id, entries, memory, 0);
  }

  async createPair(id: number, entries = 64, vector = -1): Promise<RawPair> {
    const completion = await this.createCompletionQueue(id, entries, vector);
    const submission = await this.createSubmissionQueue(id, entries, id);
    return { submission, completion };
  }

  async deletePair({ submission, completion }: RawPair): Promise<void> {
    expectSuccess(await this.admin({ opcode: AdminOpcode.deleteSubmissionQueue, words: { [Sqe.cdw10]: submission.id } }));
    expectSuccess(await this.admin({ opcode: AdminOpcode.deleteCompletionQueue, words: { [Sqe.cdw10]: completion.id } }));
    await this.free(submission.memory);
    await this.free(completion.memory);
  }

  io(pair: RawPair, command: RawCommand): Promise<RawCompletion> {
    return this.execute(pair.submission, pair.completion, command);
  }

  /** Turns the controller off and gives everything back. */
  async stop(): Promise<void> {
    if (this.backing.lost === undefined) {
      this.bar.write32(CC.offset, 0);
      await this.status((csts) => getField(CSTS.fields.rdy, csts) === 0);
    }
    for (const [memory, fd] of this.#fds) {
      await this.run(this.backing.detach(memory));
      shm().close(fd);
    }
    this.#fds.clear();
    await this.run(this.backing.release());
  }
}

export interface RawPair {
  readonly submission: RawQueue;
  readonly completion: RawCompletionQueue;
}

/** The words of a read, write, compare or write zeroes. */
export function blocks(lba: number, count: number, flags = 0): Record<number, number> {
  return { [Sqe.cdw10]: lba % 2 ** 32, [Sqe.cdw11]: Math.floor(lba / 2 ** 32), [Sqe.cdw12]: ((count - 1) | flags) >>> 0 };
}

/**
 * PRPs for `bytes` at `offset` of `data`: from the definition in the specification, as simply as it can be said. Lists are written into `lists`,
 * from byte `listOffset` on, as many pages as it takes.
 */
export function buildPrps(data: RawMemory, offset: number, bytes: number, lists: RawMemory, listOffset = 0): { prp1: bigint; prp2: bigint } {
  const pages: bigint[] = [];
  for (let at = offset; at < offset + bytes; at = (Math.floor(at / PAGE) + 1) * PAGE) pages.push(data.at(at));
  const [prp1, ...rest] = pages;
  if (rest.length <= 1) return { prp1, prp2: rest[0] ?? 0n };
  const prp2 = lists.at(listOffset);
  let at = listOffset;
  for (const [index, page] of rest.entries()) {
    const isLastSlot = (at + 8) % PAGE === 0;
    if (isLastSlot && index < rest.length - 1) {
      putAddress(lists.u32, at / 4, lists.at(at + 8));
      at += 8;
    }
    putAddress(lists.u32, at / 4, page);
    at += 8;
  }
  return { prp1, prp2 };
}

export function putAddress(words: Uint32Array, index: number, address: bigint): void {
  words[index] = Number(address & 0xffff_ffffn);
  words[index + 1] = Number(address >> 32n);
}

function expectSuccess(completion: RawCompletion): void {
  if (completion.status !== 0) throw new Error(`status 0x${completion.status.toString(16)}`);
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / PAGE) * PAGE;
}
