/**
 * A program that has the controller's registers and memory on its bus, and nobody who checks: what uio_pci_generic or VFIO without an IOMMU give.
 * NVMe Base Specification 1.4, 7.6.1. It shares the tables of the specification and the ring code with the server's driver, and no check.
 */
import { setImmediate as yieldToOthers } from 'node:timers/promises';
import type { Backing, Bar } from '../../../hw/backing.js';
import { QueuePair } from '../../../hw/nvme/index.js';
import {
  ACQ,
  AQA,
  ASQ,
  AdminOpcode,
  CAP,
  CC,
  COMPLETION_SHIFT,
  CSTS,
  FeatureId,
  NvmOpcode,
  SUBMISSION_SHIFT,
  SUBMISSION_WORDS,
  Sqe,
  getField,
  putField,
} from '../../../hw/nvme/spec/index.js';
import { HardwareError, type Task } from '../../../hw/task.js';
import type { RawMemory } from './memory.js';

/** Entries of every queue here. */
export const QUEUE_ENTRIES = 32;
const READY_MS = 5_000;
const ANSWER_MS = 5_000;
const TWO_TO_32 = 2 ** 32;
/** Vector 0 is the admin queue's. */
const VECTORS = 4;

/** One descriptor, whatever it says. Addresses are bus addresses. */
export interface RawCommand {
  readonly opcode: number;
  readonly namespace?: number;
  readonly prp1?: number;
  readonly prp2?: number;
  readonly cdw10?: number;
  readonly cdw11?: number;
  readonly cdw12?: number;
}

/** Read, Write, Compare or Write Zeroes of `blocks` from block `lba` on. */
export const blockCommand = (opcode: number, namespace: number, lba: number, blocks: number, prp1 = 0, prp2 = 0): RawCommand => ({
  opcode,
  namespace,
  prp1,
  prp2,
  cdw10: lba % TWO_TO_32,
  cdw11: Math.floor(lba / TWO_TO_32),
  cdw12: blocks - 1,
});

export class RawController {
  readonly backing: Backing;
  readonly #memory: RawMemory;
  readonly #tails = new Map<QueuePair, number>();
  #admin: QueuePair | undefined;
  /** CAP.DSTRD. */
  stride = 0;

  constructor(backing: Backing, memory: RawMemory) {
    this.backing = backing;
    this.#memory = memory;
  }

  get bar(): Bar {
    return this.backing.bar(0);
  }

  /** Runs a task of the hardware to its end, and lets the rest of the process go on meanwhile. */
  static async run<T>(backing: Backing, task: Task<T>): Promise<T> {
    for (;;) {
      const step = task.next();
      if (step.done === true) return step.value;
      backing.poll();
      await yieldToOthers();
    }
  }

  run<T>(task: Task<T>): Promise<T> {
    return RawController.run(this.backing, task);
  }

  /** Brings the controller up, after `claim`. */
  async open(): Promise<void> {
    const cap = await this.run(this.bar.read64(CAP.offset));
    this.stride = getField(CAP.fields.dstrd, Number(cap % BigInt(TWO_TO_32)), Number(cap / BigInt(TWO_TO_32)));
    await this.disable();
    await this.run(this.backing.interrupts.enable(VECTORS));
    await this.reopen();
  }

  /** Enables the controller, which is disabled, with fresh admin queues. */
  async reopen(): Promise<void> {
    const submission = this.#memory.takeSlice(1);
    const completion = this.#memory.takeSlice(1);
    this.#admin = new QueuePair(this.bar, this.stride, 0, QUEUE_ENTRIES, 0, { submission, completion, lists: submission });
    await this.enable(this.#memory.address(submission.offset), this.#memory.address(completion.offset));
    const counts = (VECTORS - 2) | ((VECTORS - 2) << 16);
    await this.mustExecute(this.admin, { opcode: AdminOpcode.setFeatures, cdw10: FeatureId.numberOfQueues, cdw11: counts });
  }

  get admin(): QueuePair {
    if (this.#admin === undefined) throw new Error('the controller was not opened');
    return this.#admin;
  }

  /** CC.EN = 0, and waits for it. */
  async disable(): Promise<void> {
    this.bar.write32(CC.offset, 0);
    await this.#until('disabled', async () => getField(CSTS.fields.rdy, await this.status()) === 0);
  }

  /** CC.EN = 1 with admin queues at these bus addresses, and waits until the controller is ready or gives up. */
  async enable(submission: number, completion: number): Promise<void> {
    this.bar.write32(AQA.offset, putField(AQA.fields.asqs, QUEUE_ENTRIES - 1) | putField(AQA.fields.acqs, QUEUE_ENTRIES - 1));
    this.bar.write64(ASQ.offset, BigInt(submission));
    this.bar.write64(ACQ.offset, BigInt(completion));
    const enable = putField(CC.fields.en, 1) | putField(CC.fields.iosqes, SUBMISSION_SHIFT) | putField(CC.fields.iocqes, COMPLETION_SHIFT);
    this.bar.write32(CC.offset, enable);
    await this.#until('ready', async () => (await this.status()) !== 0);
  }

  /** The controller status register. */
  status(): Promise<number> {
    return this.run(this.bar.read32(CSTS.offset));
  }

  /** An I/O queue pair with rings in `memory`, that raises interrupt vector `id`. */
  async createPair(id: number, memory: RawMemory): Promise<QueuePair> {
    const submission = memory.takeSlice(1);
    const completion = memory.takeSlice(1);
    await this.createQueues(id, memory.address(submission.offset), memory.address(completion.offset));
    return new QueuePair(this.bar, this.stride, id, QUEUE_ENTRIES, id, { submission, completion, lists: submission });
  }

  /** The same on the device alone, with rings at these bus addresses. */
  async createQueues(id: number, submission: number, completion: number): Promise<void> {
    const cdw10 = ((QUEUE_ENTRIES - 1) << 16) | id;
    await this.mustExecute(this.admin, { opcode: AdminOpcode.createCompletionQueue, cdw10, cdw11: 0x3 | (id << 16), prp1: completion });
    await this.mustExecute(this.admin, { opcode: AdminOpcode.createSubmissionQueue, cdw10, cdw11: 0x1 | (id << 16), prp1: submission });
  }

  /** Where the next descriptor goes in the ring of a queue pair. */
  tail(pair: QueuePair): number {
    return this.#tails.get(pair) ?? 0;
  }

  /** Writes a descriptor into the ring, and does not tell the device. Returns its slot. */
  write(pair: QueuePair, command: RawCommand): number {
    const slot = pair.claim();
    const at = pair.begin(slot, command.opcode, command.namespace ?? 0, command.cdw10, command.cdw11, command.cdw12);
    this.#tails.set(pair, (at / SUBMISSION_WORDS + 1) % QUEUE_ENTRIES);
    const { prp1 = 0, prp2 = 0 } = command;
    pair.words[at + Sqe.prp1Low] = prp1 % TWO_TO_32;
    pair.words[at + Sqe.prp1High] = prp1 / TWO_TO_32;
    pair.words[at + Sqe.prp2Low] = prp2 % TWO_TO_32;
    pair.words[at + Sqe.prp2High] = prp2 / TWO_TO_32;
    pair.submit(slot, 0);
    return slot;
  }

  /** Waits until the command in `slot` has ended. Its status (`Status`), or undefined if nothing is heard of it for `milliseconds`. */
  async finish(pair: QueuePair, slot: number, milliseconds = ANSWER_MS): Promise<number | undefined> {
    let status: number | undefined;
    const deadline = performance.now() + milliseconds;
    while (status === undefined && performance.now() < deadline) {
      this.backing.poll();
      pair.reap({
        completed: (_pair, done, answered) => {
          if (done === slot) status = answered;
        },
      });
      await yieldToOthers();
    }
    return status;
  }

  /** One command, from ring to completion. */
  async execute(pair: QueuePair, command: RawCommand, milliseconds?: number): Promise<number | undefined> {
    const slot = this.write(pair, command);
    pair.ring();
    return this.finish(pair, slot, milliseconds);
  }

  async mustExecute(pair: QueuePair, command: RawCommand): Promise<void> {
    const status = await this.execute(pair, command);
    if (status !== 0) throw new HardwareError('status', `opcode 0x${command.opcode.toString(16)} ended with ${status ?? 'nothing'}`);
  }

  /** Whether a flush on this queue pair still completes. */
  async answers(pair: QueuePair, milliseconds: number): Promise<boolean> {
    try {
      return (await this.execute(pair, { opcode: NvmOpcode.flush, namespace: 1 }, milliseconds)) === 0;
    } catch (error) {
      if (error instanceof HardwareError || error instanceof RangeError) return false;
      throw error;
    }
  }

  async #until(what: string, ready: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + READY_MS;
    while (!(await ready())) {
      if (performance.now() > deadline) throw new HardwareError('timeout', `the controller does not become ${what}`);
      await yieldToOthers();
    }
  }
}
