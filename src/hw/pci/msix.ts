/** MSI-X: the capability, and the table in a BAR (PCI Local Bus 3.0, 6.8.2). Only the server programs it (R07, R31). */
import type { Bar, BarInfo, ConfigSpace } from '../backing.js';
import { HardwareError, type Task } from '../task.js';
import { findCapability } from './capabilities.js';
import type { MessageInterrupts } from './msi.js';
import { CapabilityId, MSIX_BIR_MASK, MSIX_ENTRY_MASKED, Msix, MsixControl, MsixEntry } from './spec.js';

/** Entries that are programmed without waiting for the device. */
const SETTLE_ENTRIES = 64;

/** Where a message goes: a write of `data` to the address. */
export interface Message {
  readonly addressLow: number;
  readonly addressHigh: number;
  readonly data: number;
}

/** A part of a BAR. */
export interface BarRange {
  readonly bar: number;
  readonly offset: number;
  readonly bytes: number;
}

export interface MsixCapability {
  /** Offset of the capability in configuration space. */
  readonly offset: number;
  /** Entries of the table, 1 to 2048. */
  readonly entries: number;
  readonly table: BarRange;
  readonly pendingBits: BarRange;
}

/**
 * The function's MSI-X capability; undefined if it has none.
 * @throws HardwareError `protocol` if table or pending bits lie outside the function's BARs.
 */
export function* readMsix(config: ConfigSpace, bars: readonly BarInfo[]): Task<MsixCapability | undefined> {
  const offset = yield* findCapability(config, CapabilityId.msix);
  return offset === undefined ? undefined : yield* readMsixAt(config, bars, offset);
}

/** Likewise, of the capability at `offset`. */
export function* readMsixAt(config: ConfigSpace, bars: readonly BarInfo[], offset: number): Task<MsixCapability> {
  const entries = ((yield* config.read16(offset + Msix.control)) & MsixControl.sizeMask) + 1;
  const table = rangeOf(bars, yield* config.read32(offset + Msix.table), entries * MsixEntry.bytes);
  const pendingBits = rangeOf(bars, yield* config.read32(offset + Msix.pendingBits), Math.ceil(entries / 64) * 8);
  return { offset, entries, table, pendingBits };
}

function rangeOf(bars: readonly BarInfo[], register: number, bytes: number): BarRange {
  const index = register & MSIX_BIR_MASK;
  const offset = (register & ~MSIX_BIR_MASK) >>> 0;
  const bar = bars.find((candidate) => candidate.index === index && candidate.kind === 'memory');
  const inside = bar !== undefined && bytes <= bar.bytes && offset <= bar.bytes - bytes;
  if (!inside) throw new HardwareError('protocol', `the MSI-X structure at ${offset} of BAR ${index} lies outside of the BARs`);
  return { bar: index, offset, bytes };
}

export class MsixTable implements MessageInterrupts {
  readonly capability: MsixCapability;
  readonly #config: ConfigSpace;
  readonly #bar: Bar;

  /** `bar` is the one that the capability names. */
  constructor(capability: MsixCapability, config: ConfigSpace, bar: Bar) {
    this.capability = capability;
    this.#config = config;
    this.#bar = bar;
  }

  /** Programs entries 0 to `messages.length` - 1, masks all others, and enables MSI-X. Nothing fires before all of it is done. */
  *enable(messages: readonly Message[]): Task<void> {
    const { offset, entries } = this.capability;
    if (messages.length > entries) throw new RangeError(`${messages.length} messages for ${entries} entries`);
    // The table may only be reached for sure, and entries changed safely, while the function is enabled as a whole but masked (6.8.3.5).
    yield* this.#config.write16(offset + Msix.control, MsixControl.enable | MsixControl.functionMask);
    yield* this.#programAll(messages);
    yield* this.#config.write16(offset + Msix.control, MsixControl.enable);
  }

  /** Masks every entry, then disables MSI-X. Returns when the device has seen it. */
  *disable(): Task<void> {
    const { offset } = this.capability;
    const control = yield* this.#config.read16(offset + Msix.control);
    if ((control & MsixControl.enable) === 0) return;
    yield* this.#config.write16(offset + Msix.control, MsixControl.enable | MsixControl.functionMask);
    yield* this.#programAll([]);
    yield* this.#config.write16(offset + Msix.control, 0);
  }

  *#programAll(messages: readonly Message[]): Task<void> {
    for (let entry = 0; entry < this.capability.entries; entry++) {
      this.#program(entry, messages[entry]);
      if (entry % SETTLE_ENTRIES === 0) yield* this.#settle(); // a backing holds a limited number of posted writes
    }
    yield* this.#settle();
  }

  /** An entry without a message is masked, and aims at nothing. */
  #program(entry: number, message: Message | undefined): void {
    const at = this.capability.table.offset + entry * MsixEntry.bytes;
    this.#bar.write32(at + MsixEntry.control, MSIX_ENTRY_MASKED);
    this.#bar.write32(at + MsixEntry.addressLow, message?.addressLow ?? 0);
    this.#bar.write32(at + MsixEntry.addressHigh, message?.addressHigh ?? 0);
    this.#bar.write32(at + MsixEntry.data, message?.data ?? 0);
    if (message !== undefined) this.#bar.write32(at + MsixEntry.control, 0);
  }

  /** A read pushes the posted writes before it out to the device (PCI Local Bus 3.0, 3.2.5). */
  *#settle(): Task<void> {
    yield* this.#bar.read32(this.capability.table.offset + MsixEntry.control);
  }
}
