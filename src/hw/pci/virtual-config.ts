/**
 * The configuration space that one tenant sees (R25): made once from what the function is, and from then on without it. It is plain memory: no read asks the
 * function, and no write reaches it.
 */
import { type HiddenCapability, extendedTreatment, hiddenCapability } from './hidden-capabilities.js';
import type { Capability, FunctionSnapshot } from './snapshot.js';
import { CONFIG_BYTES, EXTENDED_CAPABILITIES, Header, ROM_ENABLE, StatusBit } from './spec.js';
import { HEADER_REGISTERS, SHOWN_CAPABILITIES, barRegisters, commandRegister, romRegister, type VirtualRegister } from './virtual-registers.js';

/** Why an access is refused: no such width, not aligned, not inside the space, a value that the width does not hold. */
export type ConfigRefusal = 'width' | 'misaligned' | 'outside' | 'value';

type Hidden = Capability & HiddenCapability;

export class VirtualConfig {
  readonly bytes: number;
  /** Capabilities of the function that are not shown, for the administrator. */
  readonly hidden: readonly Hidden[];
  /** How often the tenant asked for a reset of the function by writing the bit for it. */
  resetsAsked = 0;
  /** What is read at the start, and after a reset. */
  readonly #start: Uint8Array;
  readonly #values: Uint8Array;
  /** Bits that can be written. */
  readonly #written: Uint8Array;
  /** Bits that ask for a reset when they are written as one. */
  readonly #reset: Uint8Array;

  constructor(snapshot: FunctionSnapshot) {
    this.bytes = snapshot.bytes;
    this.#start = new Uint8Array(this.bytes);
    this.#written = new Uint8Array(this.bytes);
    this.#reset = new Uint8Array(this.bytes);
    this.#header(snapshot);
    this.hidden = [...this.#capabilities(snapshot), ...this.#extended(snapshot)];
    this.#values = Uint8Array.from(this.#start);
  }

  /** The tenant has switched its ROM on: it may read the shadow (R19). */
  get romEnabled(): boolean {
    return (this.#values[Header.expansionRom] & ROM_ENABLE) !== 0;
  }

  /** An unsigned value of `width` bytes, little-endian; total: every other access gets a refusal. */
  read(offset: number, width: number): number | ConfigRefusal {
    const refusal = this.#check(offset, width);
    if (refusal !== undefined) return refusal;
    let value = 0;
    for (let byte = width - 1; byte >= 0; byte--) value = value * 256 + this.#values[offset + byte];
    return value;
  }

  /** Total, as {@link read}. `resetAsked` when the write asked for a reset: everything written before is gone then, as after one. */
  write(offset: number, width: number, value: number): 'written' | 'resetAsked' | ConfigRefusal {
    const refusal = this.#check(offset, width);
    if (refusal !== undefined) return refusal;
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * width)) return 'value';
    let asked = 0;
    for (let byte = 0; byte < width; byte++) {
      const at = offset + byte;
      const given = (value >>> (8 * byte)) & 0xff;
      asked |= given & this.#reset[at];
      this.#values[at] = (this.#values[at] & ~this.#written[at]) | (given & this.#written[at]);
    }
    if (asked === 0) return 'written';
    this.resetsAsked++;
    this.#values.set(this.#start);
    return 'resetAsked';
  }

  #check(offset: number, width: number): ConfigRefusal | undefined {
    if (width !== 1 && width !== 2 && width !== 4) return 'width';
    // Aligned and starting inside, an access is inside as a whole.
    if (!Number.isInteger(offset) || offset < 0 || offset >= this.bytes) return 'outside';
    return offset % width === 0 ? undefined : 'misaligned';
  }

  #header({ content, bars, rom }: FunctionSnapshot): void {
    this.#place(HEADER_REGISTERS, 0, content);
    this.#place([commandRegister(bars), ...bars.flatMap(barRegisters)], 0, content);
    if (rom !== undefined) this.#place([romRegister(rom.decodedBytes)], 0, content);
  }

  /** Those that have a table stay where they are, in a list without the others. Returns what is hidden. */
  #capabilities({ content, capabilities }: FunctionSnapshot): Hidden[] {
    const hidden: Hidden[] = [];
    const taken = new Uint8Array(CONFIG_BYTES);
    let link: number = Header.capabilities;
    for (const { id, offset } of capabilities) {
      const table = SHOWN_CAPABILITIES.get(id);
      const control = content[offset + 2] | (content[offset + 3] << 8);
      const end = offset + (table?.bytes(control) ?? 0);
      if (table === undefined) hidden.push({ id, offset, ...hiddenCapability(id) });
      else if (end > CONFIG_BYTES || taken.subarray(offset, end).includes(1)) hidden.push({ id, offset, name: table.name, why: 'it has no room' });
      else {
        taken.fill(1, offset, end);
        this.#place(table.registers(control), offset, content);
        this.#start[offset] = id;
        this.#start[link] = offset;
        link = offset + 1;
      }
    }
    if (link !== Header.capabilities) this.#start[Header.status] |= StatusBit.capabilities;
    return hidden;
  }

  /** Those that are shown are heads without registers. A list whose first one is hidden starts with a head that has no id (7.9.1). */
  #extended({ extended }: FunctionSnapshot): Hidden[] {
    const hidden: Hidden[] = [];
    const view = new DataView(this.#start.buffer);
    let last = EXTENDED_CAPABILITIES;
    for (const { id, version, offset } of extended) {
      const { treatment, name, why } = extendedTreatment(id);
      if (treatment === 'hidden') hidden.push({ id, offset, name, why });
      else {
        if (offset !== EXTENDED_CAPABILITIES) view.setUint32(last, (view.getUint32(last, true) | (offset << 20)) >>> 0, true);
        view.setUint32(offset, (id | (version << 16)) >>> 0, true);
        last = offset;
      }
    }
    return hidden;
  }

  #place(registers: readonly VirtualRegister[], base: number, content: Uint8Array): void {
    for (const { offset, width, shown = 0, fixed = 0, written = 0, reset = 0 } of registers) {
      for (let byte = 0; byte < width; byte++) {
        const at = base + offset + byte;
        const part = (bits: number): number => (bits >>> (8 * byte)) & 0xff;
        this.#start[at] = (content[at] & part(shown)) | part(fixed);
        this.#written[at] = part(written);
        this.#reset[at] = part(reset);
      }
    }
  }
}
