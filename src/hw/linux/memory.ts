/**
 * Memory that a real function can reach. Without an IOMMU its bus has physical addresses, so every page is pinned before its address is read and until
 * it is detached; with one, the kernel pins the pages and the IOMMU lets the device reach them, and nothing else.
 */
import { fstatSync } from 'node:fs';
import { PAGE_BYTES } from '../../protocol/index.js';
import { deviceAddon } from '../../native/device.js';
import { shm } from '../../native/shm.js';
import type { AttachOptions, DmaMemory } from '../backing.js';
import { HardwareError } from '../task.js';
import { BusAddresses } from './bus-addresses.js';
import { attempt, pinError } from './errors.js';
import type { MemorySource } from './handle.js';

/** What holds the pages of one memory. */
interface Hold {
  readonly low: Uint32Array;
  readonly high: Uint32Array;
  /** Lets go of the pages. */
  release(): void;
}

interface World {
  readonly hugePages: 'contiguous' | undefined;
  hold(fd: number, buffer: ArrayBuffer): Hold;
}

export class LinuxMemory {
  readonly hugePages: 'contiguous' | undefined;
  readonly #world: World;
  readonly #holds = new Map<DmaMemory, Hold>();
  #orphaned = false;

  constructor(source: MemorySource) {
    this.#world = source.kind === 'iommu' ? iommuWorld(source.container, source.ranges) : physicalWorld(source.pagemap);
    this.hugePages = this.#world.hugePages;
  }

  /** As {@link Backing.attach}. */
  attach(fd: number, bytes: number, { contiguous = false }: AttachOptions = {}): DmaMemory {
    const allowed = Number.isSafeInteger(bytes) && bytes > 0 && bytes % PAGE_BYTES === 0;
    if (!allowed) throw new RangeError(`${bytes} is not a positive multiple of ${PAGE_BYTES} bytes`);
    if (fstatSync(fd).size < bytes) throw new RangeError(`the file does not have ${bytes} bytes`);
    const buffer = shm().map(fd, 0, bytes, true);
    let hold: Hold | undefined;
    try {
      hold = this.#world.hold(fd, buffer);
      if (contiguous && !followEachOther(hold)) throw new HardwareError('exhausted', `${bytes} bytes do not lie in one piece: ${HUGE_PAGES_ADVICE}`);
    } catch (error) {
      hold?.release();
      shm().unmap(buffer);
      throw pinError(error, bytes);
    }
    const memory: DmaMemory = { bytes, buffer, pageLow: hold.low, pageHigh: hold.high };
    this.#holds.set(memory, hold);
    return memory;
  }

  /** As {@link Backing.detach}. */
  detach(memory: DmaMemory): void {
    const hold = this.#holds.get(memory);
    if (hold === undefined) throw new RangeError('this memory is not attached');
    this.#holds.delete(memory);
    if (!this.#orphaned) hold.release();
    shm().unmap(memory.buffer);
  }

  /** The device may still write, and nobody can stop it: no page is ever let go by this process. */
  orphan(): void {
    this.#orphaned = true;
  }

  /** Lets go of everything. */
  dispose(): void {
    for (const memory of [...this.#holds.keys()]) attempt(() => this.detach(memory));
  }
}

/** What the operator does when there are no huge pages. */
const HUGE_PAGES_ADVICE = 'reserve huge pages ("echo 16 > /proc/sys/vm/nr_hugepages")';

function physicalWorld(pagemap: number): World {
  const addon = deviceAddon();
  return {
    hugePages: 'contiguous',
    hold(fd, { byteLength }) {
      const [low, high] = [new Uint32Array(byteLength / PAGE_BYTES), new Uint32Array(byteLength / PAGE_BYTES)];
      const ring = addon.pinPages(fd, byteLength, pagemap, low, high);
      return { low, high, release: () => addon.unpinPages(ring) };
    },
  };
}

function iommuWorld(container: number, ranges: readonly { start: number; end: number }[]): World {
  const addon = deviceAddon();
  const addresses = new BusAddresses(ranges);
  return {
    hugePages: undefined,
    hold(_fd, buffer) {
      const bytes = buffer.byteLength;
      const start = addresses.take(bytes);
      try {
        addon.vfioMapDma(container, buffer, start);
      } catch (error) {
        addresses.release(start);
        throw error;
      }
      const low = Uint32Array.from({ length: bytes / PAGE_BYTES }, (_, page) => start + page * PAGE_BYTES); // modulo 2^32
      const high = Uint32Array.from({ length: bytes / PAGE_BYTES }, (_, page) => Math.floor((start + page * PAGE_BYTES) / 2 ** 32));
      const release = (): void => {
        addon.vfioUnmapDma(container, start, bytes);
        addresses.release(start);
      };
      return { low, high, release };
    },
  };
}

function followEachOther({ low, high }: Hold): boolean {
  for (let page = 1; page < low.length; page++) {
    const carry = low[page] === 0 ? 1 : 0;
    if (low[page] !== (low[page - 1] + PAGE_BYTES) >>> 0 || high[page] !== high[page - 1] + carry) return false;
  }
  return true;
}
