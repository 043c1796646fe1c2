/**
 * The driver of QEMU's teaching device: a second class behind the same {@link Backing}, with one engine for factorials and one for DMA.
 *
 * As the NVMe driver it knows nothing of tenants, and every bus address comes from `hw/dma`. The device has one of each engine: one task at a time uses the
 * driver.
 */
import type { Backing, Bar, DmaMemory } from '../backing.js';
import { type RegionOffset, writeAddress } from '../dma/index.js';
import { Header } from '../pci/index.js';
import { HardwareError, type Clock, type Task, systemClock, until } from '../task.js';
import { BUFFER_ADDRESS, DmaCommand, EDU_DEVICE_ID, EDU_IDENTIFICATION, EDU_VENDOR_ID, IDENTIFICATION_MASK, Interrupt } from './spec.js';
import { MAX_FACTORIAL, MAX_TRANSFER_BYTES, REGISTERS_BAR, Register, Status } from './spec.js';

/** The device says that a transfer takes 100 ms; a factorial takes none. */
const ANSWER_MS = 5_000;
const PAGE_BYTES = 4096;
/** An arbitrary pattern for the liveness check. */
const PATTERN = 0x5a0f_c396;

export class EduDriver {
  readonly #backing: Backing;
  readonly #clock: Clock;
  #vectors = 0;

  constructor(backing: Backing, clock: Clock = systemClock) {
    this.#backing = backing;
    this.#clock = clock;
  }

  /** Whether the device raises interrupts; otherwise its registers are polled. */
  get hasInterrupts(): boolean {
    return this.#vectors > 0;
  }

  /** Claims the function and checks that it is what it should be. A failure gives everything back. @throws HardwareError `unsupported`, `protocol`. */
  *open(): Task<void> {
    const { config, interrupts } = this.#backing;
    const [vendor, device] = [yield* config.read16(Header.vendorId), yield* config.read16(Header.deviceId)];
    if (vendor !== EDU_VENDOR_ID || device !== EDU_DEVICE_ID) throw new HardwareError('unsupported', 'the function is no edu device');
    yield* this.#backing.claim();
    try {
      const identification = yield* this.#bar.read32(Register.identification);
      if ((identification & IDENTIFICATION_MASK) !== EDU_IDENTIFICATION)
        throw new HardwareError('protocol', 'the device does not say that it is edu');
      this.#bar.write32(Register.liveness, PATTERN);
      if ((yield* this.#bar.read32(Register.liveness)) !== ~PATTERN >>> 0) throw new HardwareError('protocol', 'the device fails its liveness check');
      this.#vectors = Math.min(1, interrupts.available);
      if (this.#vectors > 0) yield* interrupts.enable(1);
    } catch (error) {
      yield* this.#backing.release();
      throw error;
    }
  }

  /** Interrupts off, bus mastering off, BARs given back. No task of the driver is under way. */
  *close(): Task<void> {
    this.#vectors = 0;
    yield* this.#backing.interrupts.disable();
    yield* this.#backing.release();
  }

  /** Has the device compute a factorial. @throws RangeError for a number whose factorial has more than 32 bits; HardwareError `timeout`. */
  *factorial(number: number): Task<number> {
    if (!(Number.isInteger(number) && number >= 0 && number <= MAX_FACTORIAL)) throw new RangeError(`the factorial of ${number} has no 32 bits`);
    this.#bar.write32(Register.status, this.hasInterrupts ? Status.interrupt : 0);
    const fired = this.#fired;
    this.#bar.write32(Register.factorial, number);
    yield* this.#finish(fired, Interrupt.factorial, Register.status, Status.computing);
    return yield* this.#bar.read32(Register.factorial);
  }

  /**
   * Copies bytes from one memory to another, or within one, by DMA through the device's buffer. A range that is not inside its memory is refused before the
   * device hears of it. @throws RangeError, HardwareError `timeout`: the device may then still write, until `close`.
   */
  *copy(source: DmaMemory, from: RegionOffset, target: DmaMemory, to: RegionOffset, bytes: number): Task<void> {
    checkRange(source, from, bytes);
    checkRange(target, to, bytes);
    for (let done = 0; done < bytes;) {
      // Pages that follow each other in a memory need not do so on the bus.
      const part = Math.min(bytes - done, MAX_TRANSFER_BYTES, leftOfPage(from + done), leftOfPage(to + done));
      yield* this.#transfer(busAddress(source, from + done), BigInt(BUFFER_ADDRESS), part, 0);
      yield* this.#transfer(BigInt(BUFFER_ADDRESS), busAddress(target, to + done), part, DmaCommand.fromDevice);
      done += part;
    }
  }

  get #bar(): Bar {
    return this.#backing.bar(REGISTERS_BAR);
  }

  get #fired(): number {
    return this.hasInterrupts ? this.#backing.interrupts.fired[0] : 0;
  }

  *#transfer(source: bigint, destination: bigint, bytes: number, direction: number): Task<void> {
    const bar = this.#bar;
    bar.write64(Register.dmaSource, source);
    bar.write64(Register.dmaDestination, destination);
    bar.write64(Register.dmaCount, BigInt(bytes));
    const fired = this.#fired;
    bar.write32(Register.dmaCommand, DmaCommand.start | direction | (this.hasInterrupts ? DmaCommand.interrupt : 0));
    yield* this.#finish(fired, Interrupt.dma, Register.dmaCommand, DmaCommand.start);
  }

  /** Waits for the interrupt and acknowledges it; without interrupts, until `busy` is off in `register`. */
  *#finish(fired: number, reason: number, register: number, busy: number): Task<void> {
    const bar = this.#bar;
    if (this.hasInterrupts) {
      yield* until(this.#clock, ANSWER_MS, 'edu', () => this.#fired !== fired);
      if (((yield* bar.read32(Register.interruptStatus)) & reason) === 0) throw new HardwareError('protocol', 'an interrupt that has no reason');
      bar.write32(Register.interruptAcknowledge, reason);
    }
    const deadline = this.#clock() + ANSWER_MS;
    while (((yield* bar.read32(register)) & busy) !== 0) {
      if (this.#clock() > deadline) throw new HardwareError('timeout', 'edu does not finish');
      yield 1;
    }
  }
}

function checkRange(memory: DmaMemory, offset: number, bytes: number): void {
  const inside = Number.isSafeInteger(bytes) && bytes >= 0 && Number.isSafeInteger(offset) && offset >= 0 && offset <= memory.bytes - bytes;
  if (!inside) throw new RangeError(`${bytes} bytes at ${offset} are not inside memory of ${memory.bytes} bytes`);
}

const leftOfPage = (offset: number): number => PAGE_BYTES - (offset % PAGE_BYTES);

function busAddress(memory: DmaMemory, offset: RegionOffset): bigint {
  const words = new Uint32Array(2);
  writeAddress(memory, offset, words, 0);
  return (BigInt(words[1]) << 32n) | BigInt(words[0]);
}
