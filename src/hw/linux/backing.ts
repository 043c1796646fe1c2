/** A real PCI function as a {@link Backing}. Runs on the engine thread; the main thread has opened what it needs (prepare.ts). */
import { writeSync } from 'node:fs';
import { deviceAddon } from '../../native/device.js';
import { Epoll, shm } from '../../native/shm.js';
import type { AttachOptions, Backing, Bar, BarInfo, DmaMemory } from '../backing.js';
import { Command, Header, NO_DEVICE, readMsix } from '../pci/index.js';
import { HardwareError, sleep, systemClock, type Clock, type Task } from '../task.js';
import { openBar, type BarWatch, type OpenBar } from './bars.js';
import { FileConfigSpace } from './config-space.js';
import { attempt, codeOf } from './errors.js';
import { closeHandle, markClaimed, isClaimed, markReleased, otherDriver, stopDevice, type PciHandle } from './handle.js';
import { interruptsOf, type LinuxInterrupts } from './interrupts.js';
import { LinuxMemory } from './memory.js';
import { RegisterFile } from './register-file.js';
import { VfioIrq } from './vfio-structures.js';

/** What an event of the inner epoll is about, or else vector `data - FIRST_VECTOR`. */
const UEVENT = 0;
const REQUEST = 1;
const FIRST_VECTOR = 2;
const MOST_EVENTS = 32;
/** Messages of the kernel are shorter (lib/kobject_uevent.c). */
const UEVENT_BYTES = 4_096;
/** The kernel waits up to a minute for a function to come back from its reset. */
const RESET_MS = 65_000;

export class LinuxBacking implements Backing {
  readonly kind = 'pci';
  readonly description: string;
  readonly config: FileConfigSpace;
  readonly interrupts: LinuxInterrupts;
  readonly descriptors: readonly number[];
  readonly hugePages: 'contiguous' | undefined;
  readonly #handle: PciHandle;
  readonly #clock: Clock;
  readonly #registers: RegisterFile;
  readonly #memory: LinuxMemory;
  /** One descriptor to wait on that stands for all. */
  readonly #epoll: number;
  readonly #events = new Int32Array(2 * MOST_EVENTS);
  readonly #uevent = new Uint8Array(UEVENT_BYTES);
  /** VFIO signals it when the kernel wants the device back; -1 elsewhere. */
  readonly #request: number;
  readonly #watch: BarWatch = { suspect: (reason) => this.#suspect(reason), gone: (reason) => this.#lose(reason) };
  #bars: readonly OpenBar[] = [];
  #enabled = false;
  /** The kernel lets whoever reaches for the configuration space wait until the reset is over: nobody does. */
  #resetting = false;
  #lost: string | undefined;
  #disposed = false;

  constructor(handle: PciHandle, clock: Clock = systemClock) {
    const native = shm();
    this.#handle = handle;
    this.#clock = clock;
    this.description = handle.description;
    const { fd, offset, bytes } = handle.config;
    this.#registers = new RegisterFile(fd, offset, bytes, this.#watch.gone);
    this.config = new FileConfigSpace(this.#registers, () => this.#resetting && this.#lost === undefined);
    this.#memory = new LinuxMemory(handle.memory);
    this.hugePages = this.#memory.hugePages;
    this.#epoll = native.epollCreate();
    this.descriptors = [this.#epoll];
    this.interrupts = interruptsOf(handle.interrupts, {
      claimed: () => this.#lost === undefined && !this.#resetting && this.#bars.length > 0,
      watch: (eventfd, vector) => native.epollControl(this.#epoll, 'add', eventfd, Epoll.in, FIRST_VECTOR + vector),
      unwatch: (eventfd) => native.epollControl(this.#epoll, 'delete', eventfd, 0, 0),
      setLine: (on) => this.#setLine(on),
    });
    native.epollControl(this.#epoll, 'add', handle.uevents, Epoll.in, UEVENT);
    this.#request = this.#watchRequests();
  }

  get lost(): string | undefined {
    return this.#lost;
  }

  get bars(): readonly BarInfo[] {
    return this.#bars.map(({ info }) => info);
  }

  bar(index: number): Bar {
    const bar = this.#bars.find(({ info }) => info.index === index);
    if (bar === undefined) throw new RangeError(`there is no BAR ${index}, or the function is not claimed`);
    return bar;
  }

  *claim(): Task<void> {
    if (this.#bars.length > 0) throw new HardwareError('busy', 'the function is claimed already');
    if ((yield* this.config.read16(Header.vendorId)) === NO_DEVICE) throw new HardwareError('absent', 'no function answers');
    this.#checkPresent();
    const driver = otherDriver(this.#handle);
    if (driver !== undefined) throw new HardwareError('busy', `${this.#handle.address} is held by the driver ${driver}`);
    try {
      this.#enable();
      markClaimed(this.#handle);
      yield* this.reset(); // nothing of an earlier holder leaks in (R21), and nothing of what it was told to do goes on
      yield* this.config.write16(Header.command, Command.io | Command.memory | Command.intxDisable);
      const msix = yield* readMsix(
        this.config,
        this.#handle.bars.map(({ info }) => info),
      );
      const opened: OpenBar[] = [];
      this.#bars = opened;
      for (const place of this.#handle.bars) {
        const ranges = msix === undefined ? [] : [msix.table, msix.pendingBits].filter(({ bar }) => bar === place.info.index);
        const hidden = ranges.flatMap(({ offset, bytes }) => [offset, offset + bytes]);
        opened.push(openBar(place, hidden, this.#watch));
      }
      yield* this.config.write16(Header.command, Command.io | Command.memory | Command.busMaster | Command.intxDisable);
      this.#checkPresent();
    } catch (error) {
      yield* this.release();
      throw error instanceof HardwareError ? error : new HardwareError('unsupported', `the function cannot be claimed: ${String(error)}`);
    }
  }

  *release(): Task<void> {
    this.interrupts.forget();
    this.#stop();
    this.#closeBars();
    if (isClaimed(this.#handle) && this.#lost === undefined) yield* this.#resetAtClose();
    this.#stop();
    if (this.#lost === undefined) markReleased(this.#handle);
    if (this.#enabled) {
      this.#enabled = false;
      attempt(() => this.#writeEnable('0'));
    }
  }

  *attach(fd: number, bytes: number, options?: AttachOptions): Task<DmaMemory> {
    this.#checkPresent();
    return this.#memory.attach(fd, bytes, options);
  }

  *detach(memory: DmaMemory): Task<void> {
    this.#memory.detach(memory);
  }

  *reset(): Task<void> {
    const { reset } = this.#handle;
    this.#checkPresent();
    this.interrupts.forget();
    const command = yield* this.config.read16(Header.command);
    yield* this.#awaitReset(deviceAddon().beginReset(reset.fd, reset.vfio));
    this.#checkPresent();
    yield* this.config.write16(Header.command, command | Command.intxDisable);
    this.#suspect('it does not come back from its reset');
    this.#checkPresent();
  }

  /** So that nothing leaks out (R21). A function that does not take it is claimed by nobody before it does: it does no DMA any more. */
  *#resetAtClose(): Task<void> {
    try {
      yield* this.reset();
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
    }
  }

  *#awaitReset(id: number): Task<void> {
    const addon = deviceAddon();
    const deadline = this.#clock() + RESET_MS;
    this.#resetting = true;
    try {
      while (!addon.resetEnded(id)) {
        if (this.#clock() >= deadline) this.#lose(`its reset does not end within ${RESET_MS} ms`);
        this.#checkPresent();
        yield* sleep(this.#clock, 1);
      }
      this.#resetting = false;
    } catch (error) {
      if (error instanceof HardwareError) {
        addon.leaveReset(id);
        throw error;
      }
      this.#resetting = false;
      this.#suspect('it does not come back from its reset');
      throw new HardwareError(this.#lost === undefined ? 'unsupported' : 'lost', `the reset failed: ${codeOf(error)}`);
    }
  }

  poll(): number {
    if (this.#lost !== undefined) return 0;
    this.interrupts.rearm();
    for (const bar of this.#bars) if (bar.faulted) this.#lose('the kernel has taken its registers away');
    let done = 0;
    const count = shm().epollWait(this.#epoll, this.#events, 0);
    for (let i = 0; i < count && this.#lost === undefined; i++) {
      const what = this.#events[2 * i];
      if (what === UEVENT) this.#takeUevents();
      else if (what === REQUEST) this.#lose('the kernel takes the device away');
      else done += this.#takeInterrupt(what - FIRST_VECTOR);
    }
    return done;
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#lose('the backing was disposed of');
    attempt(() => this.#closeBars());
    this.#memory.dispose();
    attempt(() => shm().close(this.#epoll));
  }

  #checkPresent(): void {
    if (this.#lost !== undefined) throw new HardwareError('lost', this.#lost);
  }

  /** No bus mastering and no decode, and the function says so; else nobody knows what it does. */
  #stop(): void {
    if (this.#lost === undefined && stopDevice(this.#handle) !== 'quiet') this.#lose('it cannot be stopped');
  }

  /** Where no driver has enabled the function, this does; the kernel refuses it while one has. */
  #enable(): void {
    if (this.#handle.enable === undefined) return;
    this.#writeEnable('1');
    this.#enabled = true;
  }

  #writeEnable(value: '0' | '1'): void {
    if (this.#handle.enable !== undefined) writeSync(this.#handle.enable, value, 0);
  }

  #closeBars(): void {
    const bars = this.#bars;
    this.#bars = [];
    for (const bar of bars.toReversed()) bar.close();
  }

  #setLine(on: boolean): void {
    if (this.#lost !== undefined) return;
    const command = this.#registers.read(Header.command, 2);
    this.#registers.write(Header.command, 2, on ? command & ~Command.intxDisable : command | Command.intxDisable);
  }

  #watchRequests(): number {
    const { device } = this.#handle;
    if (device === undefined) return -1;
    const request = shm().eventfd();
    shm().epollControl(this.#epoll, 'add', request, Epoll.in, REQUEST);
    for (const index of [VfioIrq.request, VfioIrq.error]) attempt(() => deviceAddon().vfioSetTriggers(device, index, [request]));
    return request;
  }

  #takeInterrupt(vector: number): number {
    try {
      return this.interrupts.take(vector);
    } catch (error) {
      this.#lose(`its interrupts have ended (${codeOf(error)})`);
      return 0;
    }
  }

  /** The kernel says that a device has gone: this one? What it says is a hint, and the device itself is asked. */
  #takeUevents(): void {
    const addon = deviceAddon();
    while (this.#lost === undefined) {
      const bytes = addon.takeUevent(this.#handle.uevents, this.#uevent);
      if (bytes < 0) return;
      const text = Buffer.from(this.#uevent.buffer, 0, bytes).toString('latin1');
      const lostSome = bytes === 0;
      if (lostSome || (text.startsWith('remove@') && text.includes(this.#handle.address))) this.#suspect('the kernel has removed it');
    }
  }

  /** Something looks as if the device were gone: its vendor tells, and after a reset it is asked in any case. */
  #suspect(reason: string): void {
    if (this.#lost === undefined && !this.#resetting && this.#registers.read(Header.vendorId, 2) === NO_DEVICE) this.#lose(reason);
  }

  /**
   * The device is gone, or given up. Its DMA is over before anybody hears of it, or else its pages stay pinned.
   */
  #lose(reason: string): void {
    if (this.#lost !== undefined) return;
    this.#lost = reason;
    const stopped = this.#resetting ? 'running' : stopDevice(this.#handle);
    const quiet = stopped === 'quiet';
    if (!quiet) this.#memory.orphan();
    if (!quiet && !this.#disposed) this.#lost = `${reason}; its DMA cannot be stopped, so its memory stays taken until this process ends`;
    this.interrupts.forget();
    for (const bar of this.#bars) attempt(() => bar.abandon());
    if (this.#enabled && !this.#resetting) attempt(() => this.#writeEnable('0'));
    this.#enabled = false;
    if (this.#request >= 0) attempt(() => shm().close(this.#request));
    // A waiting thread is not to be kept awake, and the kernel waits until a device that it takes away is closed.
    attempt(() => shm().epollControl(this.#epoll, 'delete', this.#handle.uevents, 0, 0));
    if (this.#handle.memory.kind === 'iommu') this.#memory.orphan(); // the kernel lets go of the pages with the container
    this.#registers.close();
    closeHandle(this.#handle, stopped, !this.#disposed);
  }
}
