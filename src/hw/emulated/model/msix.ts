/** MSI-X (PCI Local Bus 3.0, 6.8.2): table, pending bits, masks. A message is a write of four bytes to whatever address the table holds. */
import { MSIX_ENTRY_MASKED, MsixEntry } from '../../pci/spec.js';
import type { Bus } from '../bus.js';

const ENTRY_WORDS = MsixEntry.bytes / 4;
const LOW = MsixEntry.addressLow / 4;
const HIGH = MsixEntry.addressHigh / 4;
const DATA = MsixEntry.data / 4;
const CONTROL = MsixEntry.control / 4;

export class MsixModel {
  readonly vectors: number;
  readonly #bus: Bus;
  readonly #table: Int32Array;
  readonly #pending: Int32Array;
  readonly #message = new Int32Array(1);
  #enabled = false;
  #masked = false;
  #pendingCount = 0;

  constructor(bus: Bus, vectors: number) {
    this.vectors = vectors;
    this.#bus = bus;
    this.#table = new Int32Array(vectors * ENTRY_WORDS);
    this.#pending = new Int32Array(Math.ceil(vectors / 32));
    this.reset();
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  reset(): void {
    this.#table.fill(0);
    for (let vector = 0; vector < this.vectors; vector++) this.#table[vector * ENTRY_WORDS + CONTROL] = MSIX_ENTRY_MASKED;
    this.clearPending();
    this.#enabled = false;
    this.#masked = false;
  }

  clearPending(): void {
    this.#pending.fill(0);
    this.#pendingCount = 0;
  }

  /** Message control changed. */
  control(enabled: boolean, masked: boolean): void {
    this.#enabled = enabled;
    this.#masked = masked;
    this.#deliver();
  }

  /** Sends the vector's message, or notes it as pending while it is masked. Nothing while MSI-X is off. */
  raise(vector: number): void {
    if (!this.#enabled || vector >= this.vectors) return;
    const at = vector * ENTRY_WORDS;
    if (this.#masked || (this.#table[at + CONTROL] & MSIX_ENTRY_MASKED) !== 0) {
      const bit = 1 << (vector & 31);
      if ((this.#pending[vector >>> 5] & bit) === 0) this.#pendingCount++;
      this.#pending[vector >>> 5] |= bit;
      return;
    }
    this.#message[0] = this.#table[at + DATA];
    this.#bus.writeWords(this.#table[at + LOW] & ~3, this.#table[at + HIGH], this.#message, 1);
  }

  /** Table registers: word `index` of the table, 0 beyond it. */
  readTable(index: number): number {
    return index < this.#table.length ? this.#table[index] : 0;
  }

  writeTable(index: number, value: number): void {
    if (index >= this.#table.length) return;
    const control = index % ENTRY_WORDS === CONTROL;
    this.#table[index] = control ? value & MSIX_ENTRY_MASKED : value;
    if (control) this.#deliver();
  }

  /** Pending-bit array: word `index`. Software may only read it. */
  readPending(index: number): number {
    return index < this.#pending.length ? this.#pending[index] : 0;
  }

  /** Sends what is pending and not masked any more. */
  #deliver(): void {
    if (this.#pendingCount === 0 || !this.#enabled || this.#masked) return;
    for (let vector = 0; vector < this.vectors; vector++) {
      const bit = 1 << (vector & 31);
      if ((this.#pending[vector >>> 5] & bit) === 0) continue;
      if ((this.#table[vector * ENTRY_WORDS + CONTROL] & MSIX_ENTRY_MASKED) !== 0) continue;
      this.#pending[vector >>> 5] &= ~bit;
      this.#pendingCount--;
      this.raise(vector);
    }
  }
}
