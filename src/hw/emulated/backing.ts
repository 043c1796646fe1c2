/** The embedded controller as a backing: one PCI function, its memory, its interrupts, and what an operator or a test can do to it. */
import type { AttachOptions, Backing, Bar, BarInfo, ConfigSpace, DmaMemory } from '../backing.js';
import {
  Command,
  Header,
  MsixTable,
  NO_DEVICE,
  ROM_REGION,
  type RomShadow,
  barRegister,
  readMsix,
  resetFunction,
  shadowRom,
  sizeBars,
} from '../pci/index.js';
import { HardwareError, type Task, systemClock } from '../task.js';
import type { AuditRecord } from './audit.js';
import type { AuditChunk, EmulatedInspection } from './device.js';
import type { Fault } from './faults.js';
import { checkFault } from './faults.js';
import type { EmulatedHandle } from './handle.js';
import type { Link } from './link.js';
import { MemoryTable } from './memory.js';
import type { HealthReadings } from './model/health.js';
import { Shared, Word } from './shared.js';
import { EmulatedBar, EmulatedConfigSpace, EmulatedInterrupts } from './spaces.js';

/** Where this machine's firmware puts BARs: in the hole that memory leaves below 4 GiB. */
const HOLE = { start: 0xc000_0000, end: 0xe000_0000 } as const;
const DECODE = Command.memory | Command.busMaster | Command.intxDisable;

/** Asynchronous event that a test or an operator makes the controller report; see `EventType` and its informations in `nvme/spec`. */
export interface InjectedEvent {
  readonly type: number;
  readonly information: number;
}

export class EmulatedBacking implements Backing {
  readonly kind = 'emulated';
  readonly description: string;
  readonly config: ConfigSpace;
  readonly interrupts: EmulatedInterrupts;
  readonly descriptors: readonly number[];
  readonly #link: Link;
  readonly #shared: Shared;
  readonly #memory: MemoryTable;
  #claimed: readonly { readonly bar: EmulatedBar; readonly address: number }[] = [];
  /** Read by the first claim: a ROM does not change. */
  #rom: { readonly shadow: RomShadow | undefined } | undefined;
  #lost: string | undefined;
  #disposed = false;

  constructor(handle: EmulatedHandle, link: Link) {
    const { shape } = handle;
    const where = shape.mode === 'stepped' ? 'stepped by the engine' : 'on a thread of its own';
    this.description = `embedded NVMe controller model, ${where}; no IOMMU: its DMA reaches all attached memory`;
    this.#link = link;
    this.#shared = new Shared(handle.shared);
    this.#memory = new MemoryTable(link, shape);
    this.config = new EmulatedConfigSpace(link);
    this.interrupts = new EmulatedInterrupts(link, shape.vectors);
    this.descriptors = [handle.event];
  }

  get lost(): string | undefined {
    if (this.#lost === undefined) this.#lost = this.#link.failure ?? (this.#link.removed ? 'the function was removed' : undefined);
    return this.#lost;
  }

  get bars(): readonly BarInfo[] {
    return this.#claimed.map(({ bar }) => bar.info);
  }

  bar(index: number): Bar {
    const claimed = this.#claimed.find(({ bar }) => bar.info.index === index);
    if (claimed === undefined) throw new RangeError(`there is no BAR ${index}, or the function is not claimed`);
    return claimed.bar;
  }

  get rom(): RomShadow | undefined {
    return this.#rom?.shadow;
  }

  *claim(): Task<void> {
    if (this.#claimed.length > 0) throw new HardwareError('busy', 'the function is claimed already');
    yield* this.#checkPresent();
    try {
      yield* this.config.write16(Header.command, Command.intxDisable);
      const infos = yield* sizeBars(this.config);
      const readRom = (offset: number): Task<number> => this.#link.readBar(ROM_REGION, offset);
      this.#rom ??= { shadow: yield* shadowRom(this.config, HOLE.start, readRom) };
      this.#claimed = placeBars(infos).map((address, index) => ({ bar: new EmulatedBar(infos[index], this.#link), address }));
      yield* this.#mapBars();
      const msix = yield* readMsix(this.config, infos);
      this.interrupts.table = msix && new MsixTable(msix, this.config, this.bar(msix.table.bar));
    } catch (error) {
      yield* this.release();
      throw error;
    }
  }

  *release(): Task<void> {
    const claimed = this.#claimed;
    if (claimed.length === 0) return;
    try {
      if (this.lost === undefined) {
        yield* this.interrupts.disable();
        yield* this.config.write16(Header.command, Command.intxDisable);
        for (const { bar } of claimed) yield* this.#writeBar(bar.info, 0);
      }
    } catch (error) {
      // A device that is gone holds nothing.
      if (this.lost === undefined) throw error;
    } finally {
      this.interrupts.forget();
      this.interrupts.table = undefined;
      for (const { bar } of claimed) bar.close();
      this.#claimed = [];
    }
  }

  attach(fd: number, bytes: number, options: AttachOptions = {}): Task<DmaMemory> {
    return this.#memory.attach(fd, bytes, options);
  }

  detach(memory: DmaMemory): Task<void> {
    return this.#memory.detach(memory);
  }

  *reset(): Task<void> {
    yield* this.#checkPresent();
    yield* resetFunction(this.config, systemClock, 0);
    this.interrupts.forget();
    if (this.#claimed.length > 0) yield* this.#mapBars();
  }

  poll(): number {
    if (this.#disposed) return 0;
    const done = this.#link.poll();
    return done > 0 ? done + this.interrupts.collect() : 0;
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#link.dispose();
    this.#memory.dispose();
    for (const { bar } of this.#claimed) bar.close();
    this.#claimed = [];
    this.interrupts.forget();
    this.interrupts.table = undefined;
    this.#lost ??= 'the backing was disposed of';
    Atomics.store(this.#shared.words, Word.opened, 0);
  }

  // For operators and tests

  /** Makes the controller report an asynchronous event, as soon as the host has a request for it and its type is not masked. @throws RangeError */
  *injectEvent({ type, information }: InjectedEvent): Task<void> {
    check('type', type, 0, 7);
    check('information', information, 0, 0xff);
    yield* this.#link.control({ kind: 'event', type, information });
  }

  /** Changes the readings of the SMART log. A critical warning that was not there before becomes an event, if the host asked for such. @throws RangeError */
  *setHealth(readings: Partial<HealthReadings>): Task<void> {
    check('temperature', readings.temperature ?? 0, 0, 0xffff);
    check('availableSpare', readings.availableSpare ?? 0, 0, 100);
    check('percentageUsed', readings.percentageUsed ?? 0, 0, 0xff);
    check('criticalWarning', readings.criticalWarning ?? 0, 0, 0x1f);
    yield* this.#link.control({ kind: 'health', readings });
  }

  /** Puts a namespace on the changed namespace list, and tells the host if it asked for that. @throws RangeError */
  *changeNamespace(namespace: number): Task<void> {
    check('namespace', namespace, 1, 0xffff_fffe);
    yield* this.#link.control({ kind: 'namespaceChanged', namespace });
  }

  /** Replaces all faults; their counters start again. @throws RangeError */
  *setFaults(faults: readonly Fault[]): Task<void> {
    for (const fault of faults) checkFault(fault);
    yield* this.#link.control({ kind: 'faults', faults });
  }

  /** From the next time it is enabled, the controller becomes ready only after this time, ms; Infinity: never. @throws RangeError */
  *setReadyDelay(milliseconds: number): Task<void> {
    if (!(milliseconds >= 0)) throw new RangeError(`a delay of ${milliseconds} ms`);
    yield* this.#link.control({ kind: 'readyDelay', milliseconds: milliseconds === Infinity ? null : milliseconds });
  }

  /** Surprise removal. Unless it is `announced` (the default), as by a slot with presence detection, only all-ones answers tell of it. */
  *removeDevice(announced = true): Task<void> {
    yield* this.#link.control({ kind: 'remove', announced });
  }

  /** All that the DMA audit recorded since it was cleared. Throws `exhausted` when it had to forget something. */
  *audit(): Task<AuditRecord[]> {
    const records: AuditRecord[] = [];
    for (;;) {
      const chunk = (yield* this.#link.control({ kind: 'audit', first: records.length })) as AuditChunk;
      if (chunk.lost > 0) throw new HardwareError('exhausted', `the DMA audit lost ${chunk.lost} records`);
      if (chunk.records.length === 0) return records;
      records.push(...chunk.records);
    }
  }

  *clearAudit(): Task<void> {
    yield* this.#link.control({ kind: 'clearAudit' });
  }

  /** The state of the model, for an operator. */
  *inspect(): Task<EmulatedInspection> {
    return (yield* this.#link.control({ kind: 'inspect' })) as EmulatedInspection;
  }

  /** Pages of 4096 bytes that are attached. */
  get attachedPages(): number {
    return this.#memory.pages;
  }

  /** Memory decode and bus mastering on, at the addresses that were chosen. */
  *#mapBars(): Task<void> {
    for (const { bar, address } of this.#claimed) yield* this.#writeBar(bar.info, address);
    yield* this.config.write16(Header.command, DECODE);
  }

  *#writeBar({ index, is64 }: BarInfo, address: number): Task<void> {
    yield* this.config.write32(barRegister(index), address);
    if (is64) yield* this.config.write32(barRegister(index + 1), 0);
  }

  /** A removed function answers all ones (PCI Express Base 3.0, 2.3.2). */
  *#checkPresent(): Task<void> {
    if (this.lost === undefined && (yield* this.config.read16(Header.vendorId)) === NO_DEVICE) this.#lost = 'the function does not answer';
    if (this.lost !== undefined) throw new HardwareError('lost', this.lost);
  }
}

function check(name: string, value: number, least: number, most: number): void {
  const allowed = Number.isSafeInteger(value) && value >= least && value <= most;
  if (!allowed) throw new RangeError(`${name} must be a whole number from ${least} to ${most}, not ${value}`);
}

function placeBars(bars: readonly BarInfo[]): number[] {
  let next: number = HOLE.start;
  return bars.map(({ index, bytes }) => {
    const address = Math.ceil(next / bytes) * bytes;
    if (bytes > HOLE.end - address) throw new HardwareError('exhausted', `BAR ${index} of ${bytes} bytes has no place in the machine`);
    next = address + bytes;
    return address;
  });
}
