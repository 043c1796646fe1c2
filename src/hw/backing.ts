/**
 * The one interface between a driver and a world that has a device in it: the embedded model, QEMU's device models, a real function.
 *
 * A backing stands for one PCI function. It is used by one thread, the I/O engine of that device. Everything that may take time is a
 * {@link Task}; posted writes and `poll` return at once. The hot path uses `write32` (doorbells), memory, and `poll` only: it never reads a
 * register.
 */
import type { RomShadow } from './pci/rom.js';
import type { Task } from './task.js';

export type Width = 1 | 2 | 4 | 8;

/** A base address register as it was found (PCI Local Bus 3.0, 6.2.5.1). */
export interface BarInfo {
  /** Index of its (first) register, 0 to 5. */
  readonly index: number;
  readonly kind: 'memory' | 'io';
  readonly bytes: number;
  readonly is64: boolean;
  readonly prefetchable: boolean;
}

/**
 * Mapped registers. Offsets are in bytes from the start of the BAR, aligned to the width; an access that does not lie inside the BAR
 * throws a RangeError (R16) before anything reaches the device. Values are unsigned.
 */
export interface Bar {
  readonly info: BarInfo;
  read8(offset: number): Task<number>;
  read16(offset: number): Task<number>;
  read32(offset: number): Task<number>;
  read64(offset: number): Task<bigint>;
  /** Posted: ordered with the other writes of this backing, and with memory written before it; may reach the device later. */
  write8(offset: number, value: number): void;
  write16(offset: number, value: number): void;
  write32(offset: number, value: number): void;
  write64(offset: number, value: bigint): void;
}

/** Configuration space of the function: 256 bytes, or 4096 with PCI Express. Same rules as {@link Bar}; width up to 4. */
export interface ConfigSpace {
  readonly bytes: number;
  read8(offset: number): Task<number>;
  read16(offset: number): Task<number>;
  read32(offset: number): Task<number>;
  write8(offset: number, value: number): Task<void>;
  write16(offset: number, value: number): Task<void>;
  write32(offset: number, value: number): Task<void>;
}

/**
 * A file of memory that the device can reach. `pageLow[i]` and `pageHigh[i]` are the two halves of the bus address of its i-th page of
 * 4096 bytes; neighbouring pages need not be neighbours on the bus unless `contiguous` was asked for. Only `hw/dma` reads them.
 */
export interface DmaMemory {
  readonly bytes: number;
  /** This thread's mapping of the file. Detached (length 0) after `detach`. */
  readonly buffer: ArrayBuffer;
  readonly pageLow: Uint32Array;
  readonly pageHigh: Uint32Array;
}

export interface AttachOptions {
  /** All pages follow each other on the bus. Needed for queues where the controller asks for it (NVMe CAP.CQR). */
  readonly contiguous?: boolean;
  /** Who the memory belongs to, for the DMA audit of the embedded model. */
  readonly owner?: string;
}

export interface Interrupts {
  /** Vectors that the function offers (size of its MSI-X table). 0: none, the driver polls. */
  readonly available: number;
  /** How often each vector fired since it was enabled, counted by `poll`; counters wrap at 2^32. Length is the number enabled. */
  readonly fired: Uint32Array;
  /** How often any of them fired, counted likewise and never started again: as long as it stays the same, so does `fired` (but for `enable` and `disable`). */
  readonly total: number;
  /** Enables vectors 0 to `count` - 1, all at once and before the controller is enabled. */
  enable(count: number): Task<void>;
  /** Masks all, then disables. Nothing fires after it. Safe to call twice. */
  disable(): Task<void>;
}

export interface Backing {
  /** `emulated`, `qemu`, ... */
  readonly kind: string;
  /** What an operator should know, for `status` (R33): is there an IOMMU, who is the device model. */
  readonly description: string;
  readonly config: ConfigSpace;
  readonly interrupts: Interrupts;
  /** Undefined while all is well; else why the device is gone. Set once. */
  readonly lost: string | undefined;
  /**
   * Descriptors to wait on with epoll (EPOLLIN, level-triggered) when there is nothing to do. `poll` makes them quiet again.
   */
  readonly descriptors: readonly number[];
  /**
   * Which memory files have to be of huge pages (see `createMemoryFile`): those of a `contiguous` memory of more than 4096 bytes. Left out where any file will do.
   */
  readonly hugePages?: 'contiguous' | undefined;
  /** Memories that can be attached at a time; left out where nothing but their bytes counts. */
  readonly memorySlots?: number;

  /**
   * Claims the function exclusively (R18), sizes and maps every BAR (R17), enables memory decode and bus mastering. Fails as a whole, and
   * then everything taken is given back in reverse order (R15).
   */
  claim(): Task<void>;
  /** Bus mastering and decode off, BARs given back. Safe to call twice. */
  release(): Task<void>;
  /** The BARs, after `claim`. */
  readonly bars: readonly BarInfo[];
  bar(index: number): Bar;
  /** The expansion ROM, read once by the first `claim` (R19); left out where there is none. */
  readonly rom?: RomShadow | undefined;

  /**
   * Makes a memory file of `bytes` (a multiple of 4096; the server made it and nobody else ever writes its size) reachable for the device,
   * and maps it. The descriptor stays the caller's. Throws `exhausted` when addresses or slots run out, `unpinned` where its pages cannot be held in place.
   */
  attach(fd: number, bytes: number, options?: AttachOptions): Task<DmaMemory>;
  /** Takes it away and unmaps it. Returns only when the device can no longer write there. The caller has made sure that no request uses it. */
  detach(memory: DmaMemory): Task<void>;

  /** Resets the function (function-level reset or what comes nearest). Configuration and BARs are restored; queues and interrupts are gone. */
  reset(): Task<void>;

  /** Moves things along without waiting: steps a model, reads answers, counts interrupts. Returns how much was done (0: nothing). */
  poll(): number;

  /** Gives up everything at once, for the end of the process or a lost device. Never throws. */
  dispose(): void;
}

/**
 * What the main thread prepares for an engine thread: processes started, threads started, descriptors opened. `handle` survives a
 * structured clone; the engine thread turns it into a {@link Backing}.
 */
export interface PreparedBacking<Handle> {
  readonly handle: Handle;
  /** Resolves with the reason when the world behind the backing ends by itself (a process died). */
  readonly ended: Promise<string>;
  /** Ends what was started. The engine has let go before. */
  dispose(): Promise<void>;
}
