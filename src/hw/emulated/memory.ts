/** Attached memory, from the engine's side: mapped here, given bus addresses, made known to the machine. */
import { shm } from '../../native/shm.js';
import type { AttachOptions, DmaMemory } from '../backing.js';
import { HardwareError, type Task } from '../task.js';
import { AddressSpace } from './addresses.js';
import { MAX_ATTACH_BYTES } from './bus.js';
import type { Link } from './link.js';
import type { EmulatedShape } from './options.js';

const PAGE = 4096;

class AttachedMemory implements DmaMemory {
  readonly slot: number;
  readonly bytes: number;
  readonly buffer: ArrayBuffer;
  readonly pageLow: Uint32Array;
  readonly pageHigh: Uint32Array;

  constructor(slot: number, buffer: ArrayBuffer, pageLow: Uint32Array, pageHigh: Uint32Array) {
    this.slot = slot;
    this.bytes = buffer.byteLength;
    this.buffer = buffer;
    this.pageLow = pageLow;
    this.pageHigh = pageHigh;
  }
}

export class MemoryTable {
  readonly #link: Link;
  readonly #addresses: AddressSpace;
  readonly #attached = new Set<DmaMemory>();
  readonly #leaving = new Set<DmaMemory>();
  readonly #freeSlots: number[] = [];
  #nextSlot = 0;

  constructor(link: Link, shape: EmulatedShape) {
    this.#link = link;
    this.#addresses = new AddressSpace(shape.seed, shape.busPages);
  }

  /** Pages that are attached. */
  get pages(): number {
    return this.#addresses.used;
  }

  *attach(fd: number, bytes: number, options: AttachOptions): Task<DmaMemory> {
    const allowed = Number.isSafeInteger(bytes) && bytes >= PAGE && bytes <= MAX_ATTACH_BYTES && bytes % PAGE === 0;
    if (!allowed) throw new RangeError(`memory of ${bytes} bytes: it must have whole pages of ${PAGE} bytes, up to ${MAX_ATTACH_BYTES} bytes`);
    const pageLow = new Uint32Array(bytes / PAGE);
    const pageHigh = new Uint32Array(bytes / PAGE);
    const buffer = mapFile(fd, bytes);
    const slot = this.#freeSlots.pop() ?? this.#nextSlot++;
    const memory = new AttachedMemory(slot, buffer, pageLow, pageHigh);
    let hasAddresses = false;
    let attached = false;
    try {
      this.#addresses.take(pageLow, pageHigh, options.contiguous ?? false);
      hasAddresses = true;
      yield* this.#link.attach({ slot, fd, buffer, pageLow, pageHigh, owner: options.owner ?? '' });
      attached = true;
      this.#attached.add(memory);
      return memory;
    } finally {
      // Also when the task is given up.
      if (!attached && hasAddresses) this.#addresses.giveBack(pageLow, pageHigh);
      if (!attached) this.#unmap(memory);
    }
  }

  /** As {@link Backing.detach}. Until the machine has let go the memory stays as it is: what failed, or was given up, can be asked for again. */
  *detach(memory: DmaMemory): Task<void> {
    if (!(memory instanceof AttachedMemory) || !this.#attached.has(memory)) throw new HardwareError('protocol', 'the memory is not attached here');
    // Two at a time could take away what is attached in the slot next.
    if (this.#leaving.has(memory)) throw new HardwareError('busy', 'the memory is being detached');
    this.#leaving.add(memory);
    try {
      yield* this.#link.detach(memory.slot);
    } finally {
      this.#leaving.delete(memory);
    }
    this.#attached.delete(memory);
    this.#addresses.giveBack(memory.pageLow, memory.pageHigh);
    this.#unmap(memory);
  }

  /** Unmaps everything here; the machine is let go of by its link. */
  dispose(): void {
    for (const memory of this.#attached) shm().unmap(memory.buffer);
    this.#attached.clear();
  }

  #unmap({ slot, buffer }: AttachedMemory): void {
    shm().unmap(buffer);
    this.#freeSlots.push(slot);
  }
}

function mapFile(fd: number, bytes: number): ArrayBuffer {
  try {
    return shm().map(fd, 0, bytes, true);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOMEM') {
      throw new HardwareError('exhausted', `no address space for a mapping of ${bytes} bytes`);
    }
    throw error;
  }
}
