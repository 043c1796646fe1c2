/** What the engine's side of the backing needs of the machine, wherever that runs. */
import type { Task } from '../task.js';
import type { ControlRequest } from './device.js';

/** Memory that is to be attached: its slot, its file, this thread's mapping, its addresses. */
export interface LinkMemory {
  readonly slot: number;
  readonly fd: number;
  readonly buffer: ArrayBuffer;
  readonly pageLow: Uint32Array;
  readonly pageHigh: Uint32Array;
  readonly owner: string;
}

export interface Link {
  /** Why the machine does not run any more; undefined while it does. */
  readonly failure: string | undefined;
  readConfig(offset: number, width: 1 | 2 | 4): Task<number>;
  writeConfig(offset: number, width: 1 | 2 | 4, value: number): Task<void>;
  /** The 32-bit word at an offset that is a multiple of 4, unsigned. */
  readBar(bar: number, offset: number): Task<number>;
  /** Posted; `high` counts for width 8 only. */
  writeBar(bar: number, offset: number, width: 1 | 2 | 4 | 8, low: number, high: number): void;
  attach(memory: LinkMemory): Task<void>;
  /** Returns when the machine cannot reach the memory any more. What failed can be asked for again, before anything else is attached in the slot. */
  detach(slot: number): Task<void>;
  control(request: ControlRequest): Task<unknown>;
  /** Steps the machine, or looks at what it did. Returns how much was done. */
  poll(): number;
  /** How often each vector's message arrived; wraps. */
  readonly counters: Int32Array;
  /** Whether the function left the bus and the slot told so. */
  readonly removed: boolean;
  /** Lets go. Never throws. */
  dispose(): void;
}
