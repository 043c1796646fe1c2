/** The PCI function: configuration space and BARs in front of the controller, function-level reset, removal. */
import { DOORBELLS, completionDoorbell } from '../../nvme/spec/index.js';
import { MsixEntry } from '../../pci/spec.js';
import type { Bus, RegisterTarget } from '../bus.js';
import { type ConfigShape, ConfigSpaceModel } from './config-space.js';
import { Controller } from './controller.js';
import { MsixModel } from './msix.js';
import type { Namespace } from './namespace.js';
import type { ControllerShape } from './shape.js';

/** Controller registers and doorbells. */
export const REGISTER_BAR = 0;
/** MSI-X table and pending bits, in a BAR of their own. */
export const MSIX_BAR = 4;
/** The expansion ROM, where accesses name a BAR. */
export const ROM_BAR = 6;
const LEAST_ROM_BYTES = 0x800;
const LEAST_REGISTER_BYTES = 0x4000;
const LEAST_BAR_BYTES = 0x1000;
const ONES = 0xffff_ffff;

export interface FunctionEnvironment {
  readonly shape: ControllerShape;
  readonly namespaces: readonly Namespace[];
  readonly bus: Bus;
  readonly clock: () => number;
  /** The function left the bus. */
  readonly removed: () => void;
}

/** The BARs of a controller of this shape. */
export function configShape(shape: ControllerShape): ConfigShape {
  const doorbellEnd = completionDoorbell(shape.queuePairs, shape.doorbellStride) + 4;
  const tableBytes = roundUp(shape.vectors * MsixEntry.bytes, LEAST_BAR_BYTES);
  const pendingBytes = Math.ceil(shape.vectors / 64) * 8;
  const registers = { index: REGISTER_BAR, bytes: powerOfTwo(Math.max(doorbellEnd, LEAST_REGISTER_BYTES)) };
  const msix = { index: MSIX_BAR, bytes: powerOfTwo(Math.max(tableBytes + pendingBytes, LEAST_BAR_BYTES)) };
  return {
    bars: shape.vectors === 0 ? [registers] : [registers, msix],
    vectors: shape.vectors,
    msixBar: MSIX_BAR,
    tableOffset: 0,
    pendingOffset: tableBytes,
    romBytes: shape.rom === undefined ? 0 : powerOfTwo(Math.max(shape.rom.length, LEAST_ROM_BYTES)),
  };
}

export class NvmeFunction implements RegisterTarget {
  readonly config: ConfigSpaceModel;
  readonly msix: MsixModel;
  readonly controller: Controller;
  readonly #environment: FunctionEnvironment;
  readonly #pendingOffset: number;
  #gone = false;

  constructor(environment: FunctionEnvironment) {
    const { shape, bus } = environment;
    const layout = configShape(shape);
    this.#environment = environment;
    this.#pendingOffset = layout.pendingOffset;
    this.msix = new MsixModel(bus, shape.vectors);
    this.controller = new Controller({ ...environment, msix: this.msix, remove: () => this.remove() });
    this.config = new ConfigSpaceModel(layout, {
      msixChanged: (enabled, masked) => this.msix.control(enabled, masked),
      functionLevelReset: () => this.#functionLevelReset(),
    });
    bus.registers = this;
  }

  /** Whether the function left the bus. */
  get gone(): boolean {
    return this.#gone;
  }

  /** Surprise removal: nothing answers any more, nothing is written any more. */
  remove(): void {
    if (this.#gone) return;
    this.#functionLevelReset();
    this.#gone = true;
    this.#environment.removed();
  }

  /** Offset aligned to the width, inside the space. Unsigned; all ones when the function is gone. */
  readConfig(offset: number, width: 1 | 2 | 4): number {
    return this.#gone ? ONES >>> (32 - 8 * width) : this.config.read(offset, width);
  }

  writeConfig(offset: number, width: 1 | 2 | 4, value: number): void {
    if (!this.#gone) this.config.write(offset, width, value);
  }

  /** The 32-bit word at an offset (a multiple of 4) of a BAR; all ones when the BAR is not decoded. */
  readBar(bar: number, offset: number): number {
    if (this.#gone || !this.config.memory || (bar === ROM_BAR) !== this.config.rom) return -1;
    if (bar === ROM_BAR) return this.#readRom(offset);
    if (bar === MSIX_BAR)
      return offset < this.#pendingOffset ? this.msix.readTable(offset >>> 2) : this.msix.readPending((offset - this.#pendingOffset) >>> 2);
    return offset < DOORBELLS ? this.controller.registers.read(offset) : 0;
  }

  writeBar(bar: number, offset: number, value: number): void {
    if (this.#gone || !this.config.memory || this.config.rom || bar === ROM_BAR) return;
    if (bar !== MSIX_BAR) this.controller.write(offset, value);
    else if (offset < this.#pendingOffset) this.msix.writeTable(offset >>> 2, value);
  }

  /** Does what is to be done. Without bus mastering the function cannot fetch, and waits. */
  step(now: number): number {
    return this.#gone || !this.config.busMaster ? 0 : this.controller.step(now);
  }

  // Reached by bus address: peer to peer

  decodes(low: number, high: number): boolean {
    return !this.#gone && this.config.decode(low, high) >= 0;
  }

  readBus(low: number, high: number): number {
    const offset = this.config.decode(low, high);
    return offset < 0 ? -1 : this.readBar(this.config.lastBar, offset & ~3);
  }

  writeBus(low: number, high: number, value: number): void {
    const offset = this.config.decode(low, high);
    if (offset >= 0) this.writeBar(this.config.lastBar, offset & ~3, value);
  }

  /** Behind its content the ROM reads as erased. */
  #readRom(offset: number): number {
    const { rom } = this.#environment.shape;
    let word = 0;
    for (let byte = 3; byte >= 0; byte--) word = (word << 8) | (rom?.[offset + byte] ?? 0xff);
    return word;
  }

  #functionLevelReset(): void {
    this.controller.reset();
    this.controller.registers.clear();
    this.msix.reset();
    this.config.reset();
  }
}

function roundUp(bytes: number, unit: number): number {
  return Math.ceil(bytes / unit) * unit;
}

function powerOfTwo(bytes: number): number {
  return 2 ** Math.ceil(Math.log2(bytes));
}
