/** MSI: the capability (PCI Local Bus 3.0, 6.8.1). Only the server programs it (R07). One message here: more of them share an address and are not used. */
import type { ConfigSpace } from '../backing.js';
import type { Task } from '../task.js';
import { findCapability } from './capabilities.js';
import type { Message } from './msix.js';
import { CapabilityId, Msi, MsiControl } from './spec.js';

/** What sends the messages of a function: its MSI-X table, or its MSI capability. */
export interface MessageInterrupts {
  /** Programs so many messages, and switches them on. */
  enable(messages: readonly Message[]): Task<void>;
  /** Nothing is sent after it. */
  disable(): Task<void>;
}

/** The function's MSI capability; undefined if it has none. */
export function* findMsi(config: ConfigSpace): Task<MsiCapability | undefined> {
  const offset = yield* findCapability(config, CapabilityId.msi);
  return offset === undefined ? undefined : new MsiCapability(offset, config);
}

export class MsiCapability implements MessageInterrupts {
  readonly #offset: number;
  readonly #config: ConfigSpace;

  constructor(offset: number, config: ConfigSpace) {
    this.#offset = offset;
    this.#config = config;
  }

  /** @throws RangeError unless it is one message, with data of 16 bits, to an address that the capability can hold. */
  *enable(messages: readonly Message[]): Task<void> {
    const [message] = messages;
    const control = yield* this.#config.read16(this.#offset + Msi.control);
    const is64 = (control & MsiControl.is64) !== 0;
    const fits = messages.length === 1 && message.data <= 0xffff && (is64 || message.addressHigh === 0);
    if (!fits) throw new RangeError('MSI sends one message of 16 bits');
    yield* this.#config.write16(this.#offset + Msi.control, control & ~(MsiControl.enable | MsiControl.enabledMask));
    yield* this.#config.write32(this.#offset + Msi.address, message.addressLow);
    if (is64) yield* this.#config.write32(this.#offset + Msi.addressHigh, message.addressHigh);
    yield* this.#config.write16(this.#offset + (is64 ? Msi.data64 : Msi.data32), message.data);
    if ((control & MsiControl.maskable) !== 0) yield* this.#config.write32(this.#offset + (is64 ? Msi.mask64 : Msi.mask32), 0);
    yield* this.#config.write16(this.#offset + Msi.control, (control & ~MsiControl.enabledMask) | MsiControl.enable);
  }

  *disable(): Task<void> {
    const control = yield* this.#config.read16(this.#offset + Msi.control);
    if ((control & MsiControl.enable) !== 0) yield* this.#config.write16(this.#offset + Msi.control, control & ~MsiControl.enable);
  }
}
