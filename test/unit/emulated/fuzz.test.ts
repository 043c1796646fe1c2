/** A host that does anything at all: the model must never throw, and must work again after a reset. */
import { describe, expect, test } from 'vitest';
import { Random } from '../../../src/hw/emulated/random.js';
import { AdminOpcode, NvmOpcode, Sqe } from '../../../src/hw/nvme/spec/index.js';
import { type RawCompletionQueue, type RawMemory, RawNvme, type RawQueue } from '../../support/raw-nvme.js';
import { MIB, PAGE, startHost } from './world.js';

const STEPS = 3_000;
const seeds = process.env['RINGWARDEN_SEED'] === undefined ? [1, 2, 3, Date.now() >>> 0] : [Number(process.env['RINGWARDEN_SEED'])];

class Fuzzer {
  readonly #host: RawNvme;
  readonly #random: Random;
  readonly #memory: RawMemory;
  readonly #queues: readonly RawQueue[];
  readonly #completions: readonly RawCompletionQueue[];
  readonly #bars: readonly bigint[];

  constructor(
    host: RawNvme,
    seed: number,
    memory: RawMemory,
    queues: readonly RawQueue[],
    completions: readonly RawCompletionQueue[],
    bars: readonly bigint[],
  ) {
    this.#host = host;
    this.#random = new Random(seed);
    this.#memory = memory;
    this.#queues = queues;
    this.#completions = completions;
    this.#bars = bars;
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#random.below(list.length)];
  }

  #word(): number {
    const interesting = [0, 1, 2, 3, 7, 8, 0xff, 0x100, 0xfff, 0x1000, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_fff8, 0xffff_ffff];
    return this.#random.below(3) === 0 ? (this.#random.below(2 ** 31) * 2 + this.#random.below(2)) >>> 0 : this.#pick(interesting);
  }

  #address(): bigint {
    const offset = BigInt(this.#pick([0, 0, 0, 4, 8, 64, 512, 4088, 4092, 1]));
    const page = BigInt(this.#random.below(16) * PAGE);
    switch (this.#random.below(8)) {
      case 0:
        return this.#pick(this.#bars) + page + offset;
      case 1:
        return 0xfee0_0000n + page + offset;
      case 2:
        return (BigInt(this.#word()) << 32n) | BigInt(this.#word());
      default:
        return this.#memory.at(Number(page)) + offset;
    }
  }

  #command(): void {
    const queue = this.#pick(this.#queues);
    const opcodes = Object.values(queue.id === 0 ? AdminOpcode : NvmOpcode);
    const words: Record<number, number> = {};
    for (const index of [Sqe.cdw10, Sqe.cdw11, Sqe.cdw12, Sqe.cdw13, Sqe.cdw14]) words[index] = this.#random.below(2) === 0 ? 0 : this.#word();
    if (this.#random.below(4) > 0) words[Sqe.cdw11] = this.#random.below(4);
    const opcode = this.#random.below(10) === 0 ? this.#random.below(256) : this.#pick(opcodes);
    this.#host.write(queue, { opcode, nsid: this.#pick([0, 1, 1, 1, 2, 3, 0xffff_ffff]), prp1: this.#address(), prp2: this.#address(), words });
    this.#host.ring(queue);
  }

  #doorbell(): void {
    this.#host.ringWith(this.#random.below(6), this.#pick(['tail', 'head']), this.#word());
  }

  #register(): void {
    const bar = this.#pick(this.#host.backing.bars);
    const access = this.#host.backing.bar(bar.index);
    const offset = this.#random.below(bar.bytes / 8) * 8;
    if (this.#random.below(2) === 0) access.write32(offset + 4 * this.#random.below(2), this.#word());
    else access.write64(offset, (BigInt(this.#word()) << 32n) | BigInt(this.#word()));
  }

  #scribble(): void {
    const words = this.#memory.u32;
    for (let count = 0; count < 8; count++) {
      const index = 2 * this.#random.below(words.length / 2);
      const address = this.#address();
      words[index] = Number(address & 0xffff_ffffn);
      words[index + 1] = Number(address >> 32n);
    }
  }

  async step(): Promise<void> {
    const kind = this.#random.below(100);
    if (kind < 55) this.#command();
    else if (kind < 65) this.#doorbell();
    else if (kind < 68) this.#register();
    else if (kind < 75) this.#scribble();
    else if (kind < 76) await this.#host.run(this.#host.backing.config.write16(2 * this.#random.below(128), this.#word() & 0xffff));
    else if (kind < 90) for (const queue of this.#completions) this.#host.reap(queue);
    else this.#host.backing.poll();
  }
}

describe.each(seeds)('a wild host, seed %i (RINGWARDEN_SEED repeats it)', (seed) => {
  test('cannot make the model throw, and a reset of the function brings it back', async () => {
    const namespaces = [
      { bytes: MIB, blockBytes: 512 as const },
      { bytes: MIB, blockBytes: 4096 as const },
    ];
    const { backing, host } = await startHost({ namespaces, queuePairs: 4, vectors: 5, seed: seed % 2 ** 32, busBytes: 64 * MIB }, 5);
    for (let round = 0; round < 4; round++) {
      const memory = await host.allocate(16 * PAGE);
      const pairs = [await host.createPair(1, 32, 1), await host.createPair(2, 8, 4)];
      const bars: bigint[] = [];
      for (const index of [0, 4]) bars.push(BigInt(((await host.run(backing.config.read32(0x10 + 4 * index))) & 0xffff_f000) >>> 0));
      const queues = [host.adminSubmission, ...pairs.map(({ submission }) => submission)];
      const completions = [host.adminCompletion, ...pairs.map(({ completion }) => completion)];
      const fuzzer = new Fuzzer(host, seed + round, memory, queues, completions, bars);
      for (let step = 0; step < STEPS; step++) await fuzzer.step();
      // Whatever state that was, a reset of the function ends it.
      await host.run(backing.reset());
      await host.run(backing.interrupts.enable(5));
      await host.prepareAdmin(32);
      await host.enable();
      const data = await host.allocate(PAGE);
      const command = { opcode: AdminOpcode.identify, prp1: data.at(0), words: { [Sqe.cdw10]: 1 } };
      expect((await host.admin(command)).status).toBe(0);
    }
    expect(backing.lost).toBeUndefined();
  });
});
