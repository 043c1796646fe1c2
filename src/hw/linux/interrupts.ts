/** How interrupts of a real function reach the engine. Each kind counts into the same counters. */
import { deviceAddon } from '../../native/device.js';
import { shm } from '../../native/shm.js';
import type { Interrupts } from '../backing.js';
import { HardwareError, type Task } from '../task.js';
import { attempt, codeOf } from './errors.js';
import type { InterruptSource } from './handle.js';
import { VfioIrq } from './vfio-structures.js';

const NONE = new Uint32Array(0);

/** What the backing gives its interrupts. */
export interface InterruptHost {
  /** Whether the function is claimed. */
  claimed(): boolean;
  /** Wakes whoever waits when `fd` is readable, which is about vector `vector`; or not any more. */
  watch(fd: number, vector: number): void;
  unwatch(fd: number): void;
  /** INTx is kept from the line while it is off. */
  setLine(on: boolean): void;
}

export abstract class LinuxInterrupts implements Interrupts {
  readonly available: number;
  total = 0;
  fired: Uint32Array = NONE;
  protected readonly host: InterruptHost;

  constructor(available: number, host: InterruptHost) {
    this.available = available;
    this.host = host;
  }

  *enable(count: number): Task<void> {
    const allowed = Number.isInteger(count) && count >= 1 && count <= this.available;
    if (!allowed) throw new RangeError(`${count} is not a number of vectors from 1 to ${this.available}`);
    if (!this.host.claimed()) throw new HardwareError('unsupported', 'interrupts are enabled after the function is claimed');
    this.forget();
    this.fired = new Uint32Array(count);
    try {
      this.connect(count);
    } catch (error) {
      this.forget();
      throw new HardwareError('unsupported', `the kernel does not give ${count} interrupts: ${codeOf(error)}`);
    }
  }

  *disable(): Task<void> {
    this.forget();
  }

  /** Nothing fires any more, and what fired does not count. Never throws. */
  forget(): void {
    if (this.fired.length > 0) this.disconnect();
    this.fired = NONE;
  }

  /** What has to be done before the next interrupts can come. */
  rearm(): void {}

  /** Counts what `vector` fired since it was last asked. */
  take(vector: number): number {
    const count = vector < this.fired.length ? this.pending(vector) : 0;
    if (count === 0) return 0;
    this.fired[vector] += count;
    this.total += count;
    return count;
  }

  protected abstract connect(count: number): void;
  protected abstract disconnect(): void;
  protected abstract pending(vector: number): number;
}

/** None: the driver polls. */
class NoInterrupts extends LinuxInterrupts {
  protected connect(): void {}
  protected disconnect(): void {}
  protected pending(): number {
    return 0;
  }
}

/** MSI-X, or MSI with one message, through VFIO. All vectors are asked for at once: Linux before 6.4 cannot add any later. */
class MessageInterrupts extends LinuxInterrupts {
  readonly #device: number;
  readonly #index: number;
  #eventfds: number[] = [];

  constructor(available: number, host: InterruptHost, device: number, index: number) {
    super(available, host);
    this.#device = device;
    this.#index = index;
  }

  protected connect(count: number): void {
    const native = shm();
    for (let vector = 0; vector < count; vector++) {
      this.#eventfds.push(native.eventfd());
      this.host.watch(this.#eventfds[vector], vector);
    }
    deviceAddon().vfioSetTriggers(this.#device, this.#index, this.#eventfds);
  }

  protected disconnect(): void {
    attempt(() => deviceAddon().vfioSetTriggers(this.#device, this.#index, []));
    for (const fd of this.#eventfds) {
      attempt(() => this.host.unwatch(fd));
      shm().close(fd);
    }
    this.#eventfds = [];
  }

  protected pending(vector: number): number {
    return shm().eventfdTake(this.#eventfds[vector]);
  }
}

/**
 * INTx, on a line that others may share: the kernel looks whether the interrupt is this function's, and masks it then (R13). It is unmasked on the turn after it
 * was counted: the driver has answered it meanwhile, so that the line is quiet again, and an interrupt that comes later raises it once more.
 */
abstract class LineInterrupts extends LinuxInterrupts {
  #masked = false;

  override rearm(): void {
    if (!this.#masked) return;
    this.#masked = false;
    if (this.fired.length > 0) this.unmask();
  }

  protected pending(): number {
    const count = this.count();
    if (count > 0) this.#masked = true;
    return count;
  }

  protected abstract count(): number;
  protected abstract unmask(): void;
}

/** Through uio_pci_generic, which masks with the INTx-disable bit of the command register. */
class UioInterrupts extends LineInterrupts {
  readonly #fd: number;

  constructor(host: InterruptHost, fd: number) {
    super(1, host);
    this.#fd = fd;
  }

  protected connect(): void {
    deviceAddon().takeUio(this.#fd); // what came before does not count
    this.host.watch(this.#fd, 0);
    this.host.setLine(true);
  }

  protected disconnect(): void {
    this.host.setLine(false);
    attempt(() => this.host.unwatch(this.#fd));
  }

  protected count(): number {
    return deviceAddon().takeUio(this.#fd) ? 1 : 0; // the first one masked the line
  }

  protected unmask(): void {
    this.host.setLine(true);
  }
}

/** Through VFIO, which masks by itself. */
class VfioLineInterrupts extends LineInterrupts {
  readonly #device: number;
  #eventfd = -1;

  constructor(host: InterruptHost, device: number) {
    super(1, host);
    this.#device = device;
  }

  protected connect(): void {
    this.#eventfd = shm().eventfd();
    this.host.watch(this.#eventfd, 0);
    deviceAddon().vfioSetTriggers(this.#device, VfioIrq.intx, [this.#eventfd]);
    this.host.setLine(true);
  }

  protected disconnect(): void {
    this.host.setLine(false);
    attempt(() => deviceAddon().vfioSetTriggers(this.#device, VfioIrq.intx, []));
    attempt(() => this.host.unwatch(this.#eventfd));
    attempt(() => shm().close(this.#eventfd));
    this.#eventfd = -1;
  }

  protected count(): number {
    return shm().eventfdTake(this.#eventfd);
  }

  protected unmask(): void {
    attempt(() => deviceAddon().vfioUnmaskLine(this.#device));
  }
}

export function interruptsOf(source: InterruptSource, host: InterruptHost): LinuxInterrupts {
  if (source.kind === 'none') return new NoInterrupts(0, host);
  if (source.kind === 'uio') return new UioInterrupts(host, source.fd);
  if (source.index === VfioIrq.intx) return new VfioLineInterrupts(host, source.device);
  return new MessageInterrupts(source.count, host, source.device, source.index);
}
