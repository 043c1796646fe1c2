/**
 * The `device` addon: registers, pages that stay where they are, VFIO. For `hw` alone; this file is its only loader.
 *
 * Every function checks its arguments and throws (TypeError, RangeError, or an Error with `code` such as 'EACCES' and `syscall`); none aborts.
 */
import { createRequire } from 'node:module';

export interface DeviceAddon {
  /**
   * Maps `bytes` of registers at `offset` (a multiple of 16) of the file, and returns the number by which they are reached. `hidden`: start and end of at
   * most two parts that no access reaches. At most 256 mappings, which end with their thread. An access outside, misaligned or in a hidden part throws a
   * RangeError.
   */
  mapRegisters(fd: number, offset: number, bytes: number, hidden: readonly number[]): number;
  unmapRegisters(id: number): void;
  /** Unmaps them as well, but the number stays: what is read there is all ones from now on, and what is written vanishes. */
  abandonRegisters(id: number): void;
  /** Whether the kernel took the mapping away under an access: the device is gone. That access and all that follow read all ones, or vanish. */
  registersFaulted(id: number): boolean;
  read8(id: number, offset: number): number;
  read16(id: number, offset: number): number;
  read32(id: number, offset: number): number;
  read64(id: number, offset: number): bigint;
  /** Posted. After memory that was written before. */
  write8(id: number, offset: number, value: number): void;
  write16(id: number, offset: number, value: number): void;
  write32(id: number, offset: number, value: number): void;
  write64(id: number, offset: number, value: bigint): void;

  /**
   * Pins the first `bytes` (a multiple of 4096) of a memory file, then writes the physical address of each page of 4096 bytes into `low` and `high`. `pagemap`
   * is /proc/self/pagemap. Returns a descriptor that holds the pin. Fails with `syscall` 'io_uring_setup' (ENOSYS, EPERM, EACCES: there is no io_uring for
   * this process), 'io_uring_register' (ENOMEM: RLIMIT_MEMLOCK), 'pagemap' (EPERM: no CAP_SYS_ADMIN; EFAULT: somebody took a page out of the file).
   */
  pinPages(fd: number, bytes: number, pagemap: number, low: Uint32Array, high: Uint32Array): number;
  /** Lets go of the pages and closes the descriptor. */
  unpinPages(ring: number): void;
  /** Physical addresses of a mapping as it is now, to compare with those of its pins. Nothing else keeps them from changing. Fails likewise. */
  locatePages(buffer: ArrayBuffer, pagemap: number, low: Uint32Array, high: Uint32Array): void;

  /** Puts a group into a container, with an IOMMU of `type`. EBUSY: another device of the group has another driver. */
  vfioAttachGroup(container: number, group: number, type: number): void;
  vfioOpenDevice(group: number, address: string): number;
  /** The kernel's structures, capabilities included, cut to the length of `into`. Return how many bytes there are. */
  vfioDeviceInfo(device: number, into: Uint8Array): number;
  vfioRegionInfo(device: number, index: number, into: Uint8Array): number;
  vfioIrqInfo(device: number, index: number, into: Uint8Array): number;
  vfioIommuInfo(container: number, into: Uint8Array): number;
  /** Interrupt v of this kind signals `eventfds[v]`, from now on; none: the kind is disabled. */
  vfioSetTriggers(device: number, index: number, eventfds: readonly number[]): void;
  /** INTx may fire again. */
  vfioUnmaskLine(device: number): void;
  /** The device reaches the memory of `buffer` at `address` of its bus. The kernel pins it. ENOMEM: RLIMIT_MEMLOCK. */
  vfioMapDma(container: number, buffer: ArrayBuffer, address: number): void;
  vfioUnmapDma(container: number, address: number, bytes: number): void;

  /** Begins a reset: of a VFIO device, or by writing to its file `reset` in sysfs. Returns the number to ask by. */
  beginReset(fd: number, vfio: boolean): number;
  /** Whether it has ended; throws what it failed with. Once it has said so, the number is used up. */
  resetEnded(id: number): boolean;
  /** Nobody asks any more: the number is used up, and the reset goes on. */
  leaveReset(id: number): void;

  /** Starts what `stopAtEnd` needs, while this process may still start others. */
  watchEnd(): void;
  /**
   * However this process ends, the function whose configuration space begins at `offset` of the file is stopped (no decode, no bus mastering) before its memory
   * and its pins go: a second process, which shares both, waits for that. At most 256 functions.
   */
  stopAtEnd(fd: number, offset: number): void;
  /** Not any more: before the descriptor is closed. */
  leaveAtEnd(fd: number): void;

  /** A socket on which the kernel tells of devices that come and go. Non-blocking. */
  openUevents(): number;
  /** The next message: its length, 0 if it is not the kernel's or some were lost, -1 when there is none. */
  takeUevent(fd: number, into: Uint8Array): number;
  /** Whether a UIO device (opened non-blocking) had an interrupt since it was last asked. Fails with EIO when the device is gone. */
  takeUio(fd: number): boolean;
}

let loaded: DeviceAddon | undefined;

/** The addon, loaded on the first call. Throws an Error that says how to build it when it is not there. */
export function deviceAddon(): DeviceAddon {
  if (loaded === undefined) {
    try {
      loaded = createRequire(import.meta.url)('../../build/device.node') as DeviceAddon;
    } catch (cause) {
      throw new Error('the native addon for devices is not built for this machine: run "npm run build" (needs g++)', { cause });
    }
  }
  return loaded;
}
