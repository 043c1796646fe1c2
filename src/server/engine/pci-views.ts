/**
 * The PCI function as each lease sees it: a configuration space of its own, made when the lease first asks, and the registers that the driver lets it read.
 *
 * Tenants that read the function wait for each other (R20), and for control work at large: nothing of it is on the way of a request.
 */
import type { Backing } from '../../hw/backing.js';
import { areaOf, describeRegions, takeSnapshot, VirtualConfig, type ConfigRefusal, type DriverRegions, type PciRegion } from '../../hw/pci/index.js';
import { HardwareError, type Task } from '../../hw/task.js';
import type { CodeName } from '../../protocol/index.js';
import { Refusal } from './api.js';
import type { Device } from './device.js';
import type { Lease } from './lease.js';
import { Mutex } from './tasks.js';

interface View {
  readonly config: VirtualConfig;
  readonly regions: readonly PciRegion[];
  readonly rom: Uint8Array | undefined;
}

const CODE_OF: { readonly [Reason in ConfigRefusal]: readonly [code: CodeName, field: string] } = {
  width: ['outOfRange', 'width'],
  value: ['outOfRange', 'value'],
  misaligned: ['accessMisaligned', 'offset'],
  outside: ['outsideConfig', 'offset'],
};

export class PciViews {
  readonly #device: Device;
  readonly #backing: Backing;
  readonly #driver: DriverRegions;
  /** Gone with their leases. */
  readonly #views = new WeakMap<Lease, View>();
  readonly #mutex = new Mutex();

  constructor(device: Device, backing: Backing, driver: DriverRegions) {
    this.#device = device;
    this.#backing = backing;
    this.#driver = driver;
  }

  *readConfig(lease: Lease, offset: number, width: number): Task<number> {
    const { config } = yield* this.#viewOf(lease);
    const value = config.read(offset, width);
    if (typeof value === 'string') throw refusalOf(value, { offset, width, value: 0 });
    return value;
  }

  /** True when the write asks for a reset of the function. */
  *writeConfig(lease: Lease, offset: number, width: number, value: number): Task<boolean> {
    const { config } = yield* this.#viewOf(lease);
    const outcome = config.write(offset, width, value);
    if (outcome !== 'written' && outcome !== 'resetAsked') throw refusalOf(outcome, { offset, width, value });
    return outcome === 'resetAsked';
  }

  *regions(lease: Lease): Task<readonly PciRegion[]> {
    return (yield* this.#viewOf(lease)).regions;
  }

  *readRegister(lease: Lease, bar: number, offset: number, width: number): Task<number> {
    const { regions } = yield* this.#viewOf(lease);
    const region = regions.find(({ index, kind }) => index === bar && kind !== 'rom');
    if (region === undefined) throw new Refusal('unknownBar', 'bar', bar);
    if (areaOf(region, offset, width) === undefined) throw new Refusal('notReadable', 'offset', offset);
    return yield* this.#alone(lease, () => this.#read(bar, offset, width));
  }

  *readRom(lease: Lease, offset: number, length: number): Task<Uint8Array> {
    const { config, rom } = yield* this.#viewOf(lease);
    if (rom === undefined) throw new Refusal('noRom');
    if (!config.romEnabled) throw new Refusal('romDisabled');
    if (!(offset >= 0 && length >= 0 && length <= rom.length - offset)) throw new Refusal('outsideRom', 'offset', offset);
    return rom.slice(offset, offset + length);
  }

  /** What the administrator may want to know of a lease's view; undefined where it never asked for one. */
  inspect(lease: Lease): unknown {
    const view = this.#views.get(lease);
    if (view === undefined) return undefined;
    const { resetsAsked, romEnabled, hidden } = view.config;
    return { resetsAsked, romEnabled, hidden: hidden.map(({ offset, name, why }) => `${name} at 0x${offset.toString(16)}: ${why}`) };
  }

  *#viewOf(lease: Lease): Task<View> {
    checkOpen(lease);
    return this.#views.get(lease) ?? (yield* this.#alone(lease, () => this.#make(lease)));
  }

  *#make(lease: Lease): Task<View> {
    const made = this.#views.get(lease);
    if (made !== undefined) return made;
    const { config, bars, rom } = this.#backing;
    const snapshot = yield* takeSnapshot(config, bars, rom);
    const view = { config: new VirtualConfig(snapshot), regions: describeRegions(snapshot, this.#driver), rom: rom?.image };
    this.#views.set(lease, view);
    return view;
  }

  *#read(bar: number, offset: number, width: number): Task<number> {
    const registers = this.#backing.bar(bar);
    if (width === 1) return yield* registers.read8(offset);
    return yield* width === 2 ? registers.read16(offset) : registers.read32(offset);
  }

  /** Work with the function, which is there. What goes wrong with it is for the lease alone: a tenant that looks causes no reset. */
  *#alone<T>(lease: Lease, work: () => Task<T>): Task<T> {
    return yield* this.#mutex.run(() => this.#asked(lease, work));
  }

  *#asked<T>(lease: Lease, work: () => Task<T>): Task<T> {
    const { state } = this.#device;
    // Others may have been before it, and the lease may have ended meanwhile.
    checkOpen(lease);
    if (state === 'lost') throw new Refusal('deviceLost', 'lease', lease.handle);
    if (state !== 'open') throw new Refusal('leaseNotActive', 'lease', lease.handle);
    try {
      return yield* work();
    } catch (error) {
      // A RangeError: the function was given back, or is another one, since the lease looked at it.
      if (error instanceof HardwareError || error instanceof RangeError) throw new Refusal('deviceLost', 'lease', lease.handle);
      throw error;
    }
  }
}

function checkOpen(lease: Lease): void {
  if (lease.closing) throw new Refusal('leaseNotActive', 'lease', lease.handle);
}

function refusalOf(reason: ConfigRefusal, given: { readonly offset: number; readonly width: number; readonly value: number }): Refusal {
  const [code, field] = CODE_OF[reason];
  return new Refusal(code, field, given[field as keyof typeof given]);
}
