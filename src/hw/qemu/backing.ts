/** A device model of QEMU's as a {@link Backing}. Runs on the engine thread; the main thread has started QEMU (launch.ts). */
import { Epoll, shm } from '../../native/shm.js';
import type { AttachOptions, Backing, Bar, BarInfo, DmaMemory } from '../backing.js';
import { Command, Header, MsixTable, NO_DEVICE, type RomShadow, findMsi, readMsix, resetFunction, shadowRom, sizeBars } from '../pci/index.js';
import { HardwareError, systemClock, type Clock, type Task } from '../task.js';
import { BAR_MEMORY, BAR_PORTS, DEVICE_SLOT, DOORBELL_SLOT, MEMORY_SLOTS } from './address-map.js';
import { MemoryBar, PortBar, placeBars, writeBar } from './bars.js';
import { EcamConfigSpace, enableEcam } from './config-space.js';
import { DOORBELL_BAR, DOORBELL_BAR_BYTES } from './doorbell.js';
import type { QemuHandle } from './handle.js';
import { QemuInterrupts } from './interrupts.js';
import { HotplugMemory } from './memory.js';
import { QemuProcess } from './process.js';
import { Qmp } from './qmp.js';
import { Qtest } from './qtest.js';

/** What an event of the inner epoll is about: a socket, or else vector `data - FIRST_VECTOR`. */
const QTEST = 0;
const QMP = 1;
const FIRST_VECTOR = 2;
const MOST_EVENTS = 32;

const DECODE = Command.io | Command.memory | Command.busMaster;

interface Claimed {
  readonly info: BarInfo;
  readonly address: number;
  readonly bar: Bar;
}

export class QemuBacking implements Backing {
  readonly kind = 'qemu';
  readonly memorySlots = MEMORY_SLOTS;
  readonly description: string;
  readonly config: EcamConfigSpace;
  readonly interrupts: QemuInterrupts;
  readonly descriptors: readonly number[];
  readonly #clock: Clock;
  readonly #process: QemuProcess;
  readonly #qtest: Qtest;
  readonly #qmp: Qmp;
  readonly #memory: HotplugMemory;
  readonly #doorbellConfig: EcamConfigSpace;
  /** One descriptor to wait on that stands for all. */
  readonly #epoll: number;
  readonly #events = new Int32Array(2 * MOST_EVENTS);
  /** Own duplicates of what the handle names. */
  readonly #owned: readonly number[];
  #claimed: readonly Claimed[] = [];
  /** Read by the first claim: a ROM does not change. */
  #rom: { readonly shadow: RomShadow | undefined } | undefined;
  #quiet = false;
  #disposed = false;

  constructor(handle: QemuHandle, clock: Clock = systemClock) {
    const [qtest, qmp, ...vectors] = [handle.qtest, handle.qmp, ...handle.vectors].map((fd) => shm().duplicate(fd));
    this.description = `QEMU ${handle.version}, device model ${handle.model}, no IOMMU`;
    this.#clock = clock;
    this.#process = new QemuProcess(handle.pid, qmp);
    this.#qtest = new Qtest(qtest, this.#process, clock, handle.accessMilliseconds);
    this.#qmp = new Qmp(qmp, this.#process, clock, handle.accessMilliseconds);
    this.#memory = new HotplugMemory(this.#qtest, this.#qmp, this.#process, clock, handle.accessMilliseconds);
    this.config = new EcamConfigSpace(this.#qtest, DEVICE_SLOT, handle.model === 'nvme');
    this.#doorbellConfig = new EcamConfigSpace(this.#qtest, DOORBELL_SLOT, false);
    this.interrupts = new QemuInterrupts(vectors);
    this.#epoll = shm().epollCreate();
    this.#owned = [qtest, qmp, ...vectors, this.#epoll];
    [qtest, qmp, ...vectors].forEach((fd, data) => shm().epollControl(this.#epoll, 'add', fd, Epoll.in, data));
    this.descriptors = [this.#epoll];
    enableEcam(this.#qtest);
  }

  get lost(): string | undefined {
    return this.#process.lost;
  }

  get bars(): readonly BarInfo[] {
    return this.#claimed.map(({ info }) => info);
  }

  bar(index: number): Bar {
    const claimed = this.#claimed.find(({ info }) => info.index === index);
    if (claimed === undefined) throw new RangeError(`there is no BAR ${index}, or the function is not claimed`);
    return claimed.bar;
  }

  get rom(): RomShadow | undefined {
    return this.#rom?.shadow;
  }

  *claim(): Task<void> {
    if (this.#claimed.length > 0) throw new HardwareError('busy', 'the function is claimed already');
    if ((yield* this.config.read16(Header.vendorId)) === NO_DEVICE) throw new HardwareError('absent', 'no function answers');
    try {
      yield* this.config.write16(Header.command, 0);
      const infos = yield* sizeBars(this.config);
      const readRom = (offset: number): Task<number> => this.#qtest.readMemory(BAR_MEMORY.start + offset, 4);
      this.#rom ??= { shadow: yield* shadowRom(this.config, BAR_MEMORY.start, readRom) };
      const window = { start: DOORBELL_BAR + DOORBELL_BAR_BYTES, end: BAR_MEMORY.end };
      const addresses = placeBars(infos, window, BAR_PORTS);
      this.#claimed = infos.map((info, at) => ({ info, address: addresses[at], bar: this.#access(info, addresses[at]) }));
      yield* this.#openDoorbell();
      yield* this.#mapBars();
      const msix = yield* readMsix(this.config, infos);
      this.interrupts.table = msix === undefined ? yield* findMsi(this.config) : new MsixTable(msix, this.config, this.bar(msix.table.bar));
    } catch (error) {
      yield* this.release();
      throw error;
    }
  }

  *release(): Task<void> {
    try {
      if (this.#process.lost === undefined && this.#claimed.length > 0) yield* this.#unmapBars();
    } catch (error) {
      if (this.#process.lost === undefined) throw error; // a device that is gone holds nothing
    } finally {
      this.interrupts.forget();
      this.interrupts.table = undefined;
      this.#claimed = [];
    }
  }

  attach(fd: number, bytes: number, _options?: AttachOptions): Task<DmaMemory> {
    return this.#memory.attach(fd, bytes);
  }

  detach(memory: DmaMemory): Task<void> {
    return this.#memory.detach(memory);
  }

  *reset(): Task<void> {
    yield* resetFunction(this.config, this.#clock, 0); // the model resets within the write
    this.interrupts.forget();
    if (this.#claimed.length > 0) yield* this.#mapBars();
  }

  poll(): number {
    if (this.#process.lost !== undefined) {
      this.#quieten();
      return 0;
    }
    let done = 0;
    const count = shm().epollWait(this.#epoll, this.#events, 0);
    for (let i = 0; i < count; i++) {
      const what = this.#events[2 * i];
      if (what === QTEST) done += this.#qtest.drain();
      else if (what === QMP) done += this.#qmp.drain();
      else done += this.interrupts.take(what - FIRST_VECTOR);
    }
    if (count === 0) this.#qtest.checkLimit();
    return done;
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = this.#quiet = true;
    this.#process.lose('the backing was disposed of');
    this.#memory.dispose();
    for (const fd of this.#owned) shm().close(fd);
  }

  /** Memory decode and bus mastering on, at the addresses that were chosen. The expansion ROM stays off (R19). */
  *#mapBars(): Task<void> {
    for (const { info, address } of this.#claimed) yield* writeBar(this.config, info, address);
    yield* this.config.write16(Header.command, DECODE | Command.intxDisable);
  }

  *#unmapBars(): Task<void> {
    yield* this.interrupts.disable();
    yield* this.config.write16(Header.command, Command.intxDisable);
    for (const { info } of this.#claimed) yield* writeBar(this.config, info, 0);
    yield* this.#doorbellConfig.write16(Header.command, 0);
  }

  *#openDoorbell(): Task<void> {
    yield* this.#doorbellConfig.write32(Header.bar0, DOORBELL_BAR);
    yield* this.#doorbellConfig.write16(Header.command, Command.memory);
  }

  #access(info: BarInfo, address: number): Bar {
    return info.kind === 'memory' ? new MemoryBar(info, address, this.#qtest) : new PortBar(info, address, this.#qtest);
  }

  /** A lost device must not keep a waiting thread awake: sockets that have ended are always readable. */
  #quieten(): void {
    if (this.#quiet) return;
    this.#quiet = true;
    this.#owned.slice(0, -1).forEach((fd) => shm().epollControl(this.#epoll, 'delete', fd, 0, 0));
  }
}
